"""What `hikaku up` prints: each part as it gets ready, where everything is, what fell since."""

import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click

from stack.models.fetch import cached, default_cache
from stack.models.registry import MODELS
from stack.plan import Plan
from stack.supervisor import Event, Happening

_MEGABYTE = 1_000_000
_WIDTH = 11


class Screen:
    """Lines for a person; a terminal gets colours, a file none."""

    def __init__(
        self,
        write: Callable[[str], None],
        plan: Plan,
        *,
        folder: Path,
        version: str,
        began: float,
        color: bool,
    ) -> None:
        self._write = write
        self._plan = plan
        self._folder = folder
        self._version = version
        self._began = began
        self._color = color
        self._is_ready = False

    def open(self) -> None:
        """Say what is about to start."""
        self._write(f"{self._bold('Hikaku')} {self._version} in {self._folder}")

    def show(self, event: Event) -> None:
        """Say what happened."""
        match event.what:
            case Happening.READY | Happening.DONE:
                self._ready(event)
            case Happening.FELL:
                self._line(
                    event.name,
                    f"{_how_it_ended(event.status)}, starts again in {event.restart_seconds:g} s "
                    f"(see {self._log(event.name)})",
                    color="yellow",
                )
            case Happening.GAVE_UP:
                self._line(
                    event.name,
                    f"{_how_it_ended(event.status)}; giving up. Last lines of "
                    f"{self._log(event.name)}:\n{_tail(self._log(event.name))}",
                    color="red",
                )
            case Happening.STOPPED:
                self._line(event.name, "stopped")
            case Happening.STARTED:
                pass

    def _ready(self, event: Event) -> None:
        seconds = time.monotonic() - self._began
        word = "done" if event.what is Happening.DONE else "ready"
        self._line(event.name, f"{word:<6}{seconds:6.1f} s", color="green")
        if event.name == "api" and not self._is_ready:
            self._is_ready = True
            self._write(self._where(seconds))

    def _where(self, seconds: float) -> str:
        urls = self._plan.urls
        started = {program.name for program in self._plan.programs}
        lines = ["", self._bold(f"Ready in {seconds:.1f} s"), f"  API        {urls['api']}"]
        lines.append(f"  API docs   {urls['api']}/docs")
        if "mlflow" in urls:
            later = "  (starts now, some seconds more)" if "mlflow" in started else ""
            lines.append(f"  MLflow     {urls['mlflow']}{later}")
        lines += [f"  {line}" for line in self._models()] if "models" in started else []
        lines.append(f"  Endpoints  {self._plan.gateway_config}")
        lines.append(f"  Logs       {self._folder / 'logs'}")
        stops = "Ctrl-C" if sys.stdin.isatty() else "`hikaku down`"
        lines += [f"Stop with {stops}.", ""]
        return "\n".join(lines)

    def _models(self) -> list[str]:
        cache, lines = default_cache(), []
        for model in MODELS.values():
            there = cached(model, cache) is not None
            size = f"{model.size_bytes / _MEGABYTE:.0f} MB"
            state = "" if there else f"  (downloading {size}; `hikaku models list` shows how far)"
            lines.append(f"Model      {model.id}{state}")
        return lines

    def _line(self, name: str, text: str, *, color: str | None = None) -> None:
        shown = click.style(text, fg=color) if self._color and color else text
        self._write(f"  {name:<{_WIDTH}}{shown}")

    def _bold(self, text: str) -> str:
        return click.style(text, bold=True) if self._color else text

    def _log(self, name: str) -> Path:
        return self._folder / "logs" / f"{name}.log"


def _how_it_ended(status: int | None) -> str:
    if status is None:
        return "ended"
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"ended with status {status}"


def _tail(path: Path, lines: int = 15) -> str:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])
