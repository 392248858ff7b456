"""A file system of a few megabytes, which a test can fill."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.services import short_directory


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of a few megabytes."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    with short_directory() as directory:
        mount = ["mount", "-t", "tmpfs", "-o", "size=6m,mode=0777", "tmpfs", str(directory)]
        mounted = subprocess.run(mount, check=False, capture_output=True, text=True)
        if mounted.returncode != 0:
            pytest.skip(f"cannot mount a small file system here: {mounted.stderr.strip()}")
        try:
            yield directory
        finally:
            subprocess.run(["umount", str(directory)], check=True)


def fill(directory: Path) -> Path:
    """Leave no byte free; again, where somebody has removed something since."""
    filler = directory / "filler"
    with filler.open("ab", buffering=0) as file:
        while shutil.disk_usage(directory).free:
            with suppress(OSError):
                file.write(bytes(4096))
    return filler
