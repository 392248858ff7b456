"""Notices that a client leaves while its answer is being made."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from starlette.types import Receive


class Watch:
    """Cancels a task when its client leaves.

    A task to wait for that would cost as much as all the rest of a call. What waits is driven by
    hand instead: it is known to wait for futures and to ask for no task, since it comes straight
    from the server. Behind a middleware that gives its own `receive`, there is a task.
    """

    __slots__ = ("_ended", "_steps", "_task", "_waits_for", "_watcher", "left")

    def __init__(self, receive: Receive, task: "asyncio.Task[Any]") -> None:
        self.left = False
        """Known at once when it left before the watch began: then nothing is cancelled."""
        self._ended = False
        self._task = task
        self._steps: Coroutine[Any, Any, None] = _gone(receive)
        self._waits_for: asyncio.Future[Any] | None = None
        self._watcher: asyncio.Task[None] | None = None
        if type(getattr(receive, "__self__", None)).__module__.startswith("uvicorn."):
            self.left = self._is_over()
        else:
            self._watcher = asyncio.ensure_future(self._steps)
            self._watcher.add_done_callback(self._leave)

    def end(self) -> None:
        """The answer is there, or nobody waits for it any more."""
        self._ended = True
        if self._watcher is not None:
            self._watcher.remove_done_callback(self._leave)
            self._watcher.cancel()
        elif self._waits_for is not None:
            self._waits_for.remove_done_callback(self._step)
            self._steps.close()

    def _is_over(self) -> bool:
        """Go on to the next future that is waited for; whether there is none."""
        self._waits_for = None
        try:
            waits_for = self._steps.send(None)
        except StopIteration:
            return True
        waits_for._asyncio_future_blocking = False  # noqa: SLF001 - as a task does
        waits_for.add_done_callback(self._step)
        self._waits_for = waits_for
        return False

    def _step(self, _: object) -> None:
        # What the loop has already planned to call cannot be taken back.
        if not self._ended and self._is_over():
            self._cancel()

    def _leave(self, watcher: "asyncio.Task[None]") -> None:
        if not watcher.cancelled():
            self._cancel()

    def _cancel(self) -> None:
        self.left = True
        self._task.cancel()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
