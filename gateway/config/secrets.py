"""Where a configured value is kept: the environment, another file, or the file itself."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_DOLLAR = re.compile(r"\$(\w+)\Z")
_LONGEST_PATH = 4096


class MissingSecretError(Exception):
    """A variable or file that a value refers to is not there; the message names it."""


@dataclass(frozen=True, slots=True)
class Resolver:
    """Resolves references against one environment and one folder."""

    environ: Mapping[str, str]
    folder: Path
    """Relative `file:` references start here: the folder of the configuration."""
    files: list[Path] = field(default_factory=list[Path])
    """Every file that was read, or looked for."""

    def text(self, value: str) -> str:
        """A plain setting: `$NAME` and `env:NAME` are looked up, the rest is as it stands."""
        if match := _DOLLAR.match(value):
            return self._variable(match[1])
        if value.startswith("env:"):
            return self._variable(value.removeprefix("env:").strip())
        return value

    def secret(self, value: str) -> str:
        """A secret: also `file:PATH` and, as MLflow reads it, the bare path of a file."""
        if value.startswith("file:"):
            return self._content(self.folder / value.removeprefix("file:").strip())
        resolved = self.text(value)
        if resolved == value and self._is_file(value):
            return self._content(Path(value))
        return resolved

    def _variable(self, name: str) -> str:
        if value := self.environ.get(name, ""):
            return value
        raise MissingSecretError(f"the environment variable {name} is not set")

    @staticmethod
    def _is_file(value: str) -> bool:
        try:
            return 0 < len(value) < _LONGEST_PATH and Path(value).is_file()
        except (OSError, ValueError):
            return False

    def _content(self, path: Path) -> str:
        self.files.append(path)
        try:
            content = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise MissingSecretError(f"the secret file {path} cannot be read") from error
        if not content:
            raise MissingSecretError(f"the secret file {path} is empty")
        return content
