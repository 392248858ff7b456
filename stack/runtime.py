"""Where a stack's Unix sockets live: paths short enough for the kernel, private to the user."""

import hashlib
import os
import tempfile
from pathlib import Path

_LONGEST_SOCKET_PATH = 103
"""Bytes; `sun_path` holds 108 with its NUL on Linux and 104 on macOS."""
_LONGEST_SOCKET_NAME = len("/.s.PGSQL.5432.lock")


def socket_directory(directory: Path) -> Path:
    """Make the directory for the sockets of the service kept in `directory`.

    It is `directory/run` where that is short enough, else one under the runtime directory of the
    user that is always the same for the same `directory`.

    Raises:
        PermissionError: The stand-in exists and belongs to somebody else.
    """
    inside = directory.absolute() / "run"
    if len(os.fsencode(inside)) + _LONGEST_SOCKET_NAME <= _LONGEST_SOCKET_PATH:
        inside.mkdir(parents=True, exist_ok=True, mode=0o700)
        return inside
    return _private(_stand_in(directory))


def _stand_in(directory: Path) -> Path:
    digest = hashlib.sha256(os.fsencode(directory.absolute())).hexdigest()[:12]
    name = f"hikaku-{os.getuid()}-{digest}"
    for root in (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp"):  # noqa: S108
        if root and len(os.fsencode(root)) + len(name) + 1 + _LONGEST_SOCKET_NAME <= (
            _LONGEST_SOCKET_PATH
        ):
            return Path(root) / name
    raise OSError(f"no directory is short enough for a Unix socket of {directory}")


def _private(directory: Path) -> Path:
    directory.mkdir(exist_ok=True, mode=0o700)
    found = directory.lstat()
    if directory.is_symlink() or found.st_uid != os.getuid():
        raise PermissionError(f"{directory} belongs to another user; remove it or set TMPDIR")
    return directory
