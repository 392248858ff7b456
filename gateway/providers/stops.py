"""Stop sequences out of a stream: servers that leave them in the text send them in pieces."""

from collections.abc import Sequence


class StopTrimmer:
    """Holds back what may be the beginning of a stop sequence until it is known to be none."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""

    def feed(self, text: str) -> str:
        """The part of the stream so far that is certainly text."""
        held = self._held + text
        keep = max((self._overlap(held, stop) for stop in self._stops), default=0)
        self._held = held[len(held) - keep :]
        return held[: len(held) - keep]

    def end(self, *, stopped: bool) -> str:
        """The rest; without the stop sequence, if one is what ended the stream."""
        held, self._held = self._held, ""
        return without_stop(held, self._stops) if stopped else held

    @staticmethod
    def _overlap(text: str, stop: str) -> int:
        """Characters at the end of `text` that `stop` begins with."""
        longest = min(len(text), len(stop))
        return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)


def without_stop(text: str, stops: Sequence[str]) -> str:
    """`text` without the stop sequence it ends with; the longest, where several fit."""
    ended = max((stop for stop in stops if text.endswith(stop)), key=len, default="")
    return text.removesuffix(ended)
