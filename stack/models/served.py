"""A model as it is served: fetched in the background, loaded when first asked, never overfull."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from stack.errors import StackError
from stack.models.errors import NotReadyError, OverloadedError, ValidationError
from stack.models.fetch import cached, fetch
from stack.models.generation import Ended, Prompt, Sampling, Token
from stack.models.llama import LlamaModel
from stack.models.registry import Model

_FETCH_AGAIN_SECONDS = 60.0

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Counts:
    """What `/metrics` tells."""

    requests: int = 0
    successes: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    waiting: int = 0
    computing: int = 0

    def failed(self, kind: str) -> None:
        """Count a refused or broken request."""
        self.failures[kind] = self.failures.get(kind, 0) + 1


@dataclass(slots=True)
class Clock:
    """Moments of one request, from a monotonic clock, in seconds."""

    arrived: float = field(default_factory=time.perf_counter)
    validated: float = 0.0
    began: float = 0.0
    ended: float = 0.0


class ServedModel:
    """One model of the server, whatever state it is in."""

    def __init__(self, model: Model, *, cache: Path, slots: int, admitted: int) -> None:
        self.model = model
        self.slots = slots
        self.admitted = admitted
        """How many requests may be in flight, waiting ones included."""
        self.counts = Counts()
        self._cache = cache
        self._percent = 0
        self._failure: str | None = None
        self._in_flight = 0
        self._loading = asyncio.Lock()
        self._turn = asyncio.Semaphore(slots)
        self._llama: LlamaModel | None = None

    async def keep_fetching(self) -> None:
        """Get the weights into the cache, trying again every minute until they are there."""
        while cached(self.model, self._cache) is None:
            try:
                await asyncio.to_thread(fetch, self.model, self._cache, progress=self._progress)
            except (StackError, OSError) as error:
                self._failure = str(error)
                _log.warning("model missing", extra={"model": self.model.id, "reason": str(error)})
                await asyncio.sleep(_FETCH_AGAIN_SECONDS)

    def why_not(self) -> NotReadyError | None:
        """Why it cannot be asked now; None when it can."""
        if self._llama is not None or cached(self.model, self._cache) is not None:
            return None
        if self._failure is not None:
            return NotReadyError(f"the weights are missing: {self._failure}", percent=0)
        return NotReadyError(
            f"the weights are being downloaded: {self._percent} %", percent=self._percent
        )

    async def llama(self) -> LlamaModel:
        """The model in memory, loaded now if it was not yet.

        Raises:
            NotReadyError: The weights are not there.
        """
        if (reason := self.why_not()) is not None:
            raise reason
        async with self._loading:
            if self._llama is None:
                self._llama = await self._load()
        return self._llama

    async def close(self) -> None:
        """Free the memory."""
        if self._llama is not None:
            await self._llama.close()
            self._llama = None

    @asynccontextmanager
    async def admission(self) -> AsyncIterator[None]:
        """Hold one of the admitted places until the answer has been given whole.

        Raises:
            OverloadedError: All are taken.
        """
        if self._in_flight >= self.admitted:
            raise OverloadedError
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1

    def room_for(self, prompt: Prompt, wanted: int | None) -> int:
        """How many tokens to generate at most: what was asked for, else all that fit.

        Raises:
            ValidationError: The prompt, or prompt and asked-for tokens together, are too long.
        """
        total, given = self.model.context_tokens, len(prompt.tokens)
        if given == 0:
            raise ValidationError("`inputs` cannot be empty", kind="validation")
        if given > total - 1:
            raise ValidationError(
                f"`inputs` must have less than {total - 1} tokens. Given: {given}"
            )
        if wanted is not None and given + wanted > total:
            raise ValidationError(
                f"`inputs` tokens + `max_new_tokens` must be <= {total}. "
                f"Given: {given} `inputs` tokens and {wanted} `max_new_tokens`"
            )
        return total - given if wanted is None else wanted

    async def generate(
        self, prompt: Prompt, sampling: Sampling, *, max_tokens: int, clock: Clock
    ) -> AsyncGenerator[Token | Ended]:
        """Give tokens when it is this request's turn, then how it ended."""
        llama = await self.llama()
        clock.validated = time.perf_counter()
        self.counts.waiting += 1
        try:
            await self._turn.acquire()
        finally:
            self.counts.waiting -= 1
        clock.began = time.perf_counter()
        self.counts.computing += 1
        try:
            async with aclosing(llama.generate(prompt, sampling, max_tokens=max_tokens)) as pieces:
                async for piece in pieces:
                    yield piece
        finally:
            clock.ended = time.perf_counter()
            self.counts.computing -= 1
            self._turn.release()

    async def _load(self) -> LlamaModel:
        began = time.perf_counter()
        llama = await LlamaModel.load(
            self._cache / self.model.file_name,
            context_tokens=self.model.context_tokens,
            slots=self.slots,
        )
        seconds = round(time.perf_counter() - began, 2)
        _log.info("model loaded", extra={"model": self.model.id, "seconds": seconds})
        return llama

    def _progress(self, have: int) -> None:
        self._failure = None
        self._percent = min(99, 100 * have // self.model.size_bytes)
