"""Weights from several sources: what does not fit its checksum is never kept."""

import hashlib

import pytest

from stack.errors import StackError
from stack.models.fetch import cached, fetch, verified
from stack.models.registry import HuggingFaceFile, LocalFile, Model

CONTENT = b"weights" * 1000


def model(*sources, content: bytes = CONTENT) -> Model:
    return Model(
        id="tiny",
        title="Tiny",
        file_name="tiny.gguf",
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        licence="Apache-2.0",
        context_tokens=64,
        sources=sources,
    )


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    folder = tmp_path / "shelf"
    folder.mkdir()
    monkeypatch.setenv("HIKAKU_MODELS_FROM", str(folder))
    return folder


def test_a_local_file_is_copied_checked_and_cached(tmp_path, shelf):
    (shelf / "tiny.gguf").write_bytes(CONTENT)
    seen: list[int] = []
    path = fetch(model(LocalFile()), tmp_path / "cache", progress=seen.append)
    assert path.read_bytes() == CONTENT
    assert seen[-1] == len(CONTENT)
    assert cached(model(), tmp_path / "cache") == path
    assert verified(path, model())


def test_a_file_with_another_checksum_is_thrown_away(tmp_path, shelf):
    (shelf / "tiny.gguf").write_bytes(CONTENT[:-1] + b"!")
    with pytest.raises(StackError, match="sha256"):
        fetch(model(LocalFile()), tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("tiny.gguf"))
    assert not list((tmp_path / "cache").glob("*.part"))


def test_a_failed_source_is_named_and_the_next_is_tried(tmp_path, shelf, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    (shelf / "tiny.gguf").write_bytes(CONTENT)
    hub = HuggingFaceFile(repository="a/b", revision="c" * 40, path="tiny.gguf")
    assert fetch(model(hub, LocalFile()), tmp_path / "cache").read_bytes() == CONTENT


def test_when_every_source_fails_all_the_reasons_are_given(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.delenv("HIKAKU_MODELS_FROM", raising=False)
    hub = HuggingFaceFile(repository="a/b", revision="c" * 40, path="tiny.gguf")
    with pytest.raises(StackError, match=r"Hugging Face a/b.*HIKAKU_MODELS_FROM is not set"):
        fetch(model(hub, LocalFile()), tmp_path / "cache")


def test_a_file_of_another_size_is_not_in_the_cache(tmp_path):
    (tmp_path / "tiny.gguf").write_bytes(CONTENT[:-1])
    assert cached(model(), tmp_path) is None
