import json
from pathlib import Path

import pytest
from hikaku_client.errors import HikakuError
from hikaku_client.servers import DEFAULT_URL, find


def stack(folder: Path, url: str) -> None:
    (folder / ".hikaku").mkdir()
    body = json.dumps({"urls": {"api": url}})
    (folder / ".hikaku" / "stack.json").write_text(body, encoding="utf-8")


def test_an_argument_goes_before_the_environment_and_that_before_the_stack(tmp_path):
    stack(tmp_path, "http://127.0.0.1:9001")
    environ = {"HIKAKU_URL": "http://there:2/"}
    assert find("http://here:1", None, environ=environ, folder=tmp_path).url == "http://here:1"
    assert find(None, None, environ=environ, folder=tmp_path).url == "http://there:2"
    found = find(None, None, environ={}, folder=tmp_path)
    assert (found.url, found.source) == ("http://127.0.0.1:9001", ".hikaku/stack.json")


@pytest.mark.parametrize("content", ["", "[]", '{"urls": 3}', '{"urls": {"api": null}}'])
def test_a_stack_file_that_says_nothing_leads_to_the_default(tmp_path, content):
    (tmp_path / ".hikaku").mkdir()
    (tmp_path / ".hikaku" / "stack.json").write_text(content, encoding="utf-8")
    assert find(None, None, environ={}, folder=tmp_path).url == DEFAULT_URL


def test_a_key_does_not_follow_a_stack_file_to_another_machine(tmp_path):
    stack(tmp_path, "http://elsewhere.example:8420")
    with pytest.raises(HikakuError, match="not this machine"):
        find(None, None, environ={"HIKAKU_API_KEY": "k"}, folder=tmp_path)
    assert find(None, None, environ={}, folder=tmp_path).api_key is None


def test_a_key_is_not_shown(tmp_path):
    assert "s3cret" not in repr(find(None, "s3cret", environ={}, folder=tmp_path))


@pytest.mark.parametrize("url", ["127.0.0.1:8420", "ftp://x", "http://"])
def test_what_is_no_address_is_refused(tmp_path, url):
    with pytest.raises(HikakuError, match="not an address"):
        find(url, None, environ={}, folder=tmp_path)


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://127.0.0.1:1", True),
        ("http://[::1]:1", True),
        ("http://localhost", True),
        ("http://10.0.0.1", False),
        ("https://127.0.0.1.example.com", False),
    ],
)
def test_only_loopback_is_local(tmp_path, url, local):
    assert find(url, None, environ={}, folder=tmp_path).is_local is local
