"""What routes ask for by type."""

from typing import Annotated, cast

from fastapi import Depends, Request

from api.context import Context


# Coroutines: FastAPI runs a plain function in a thread, which costs more than what these do.
async def _context(request: Request) -> Context:
    return cast("Context", request.app.state.context)


ContextDep = Annotated[Context, Depends(_context)]


async def _caller(request: Request) -> str | None:
    return cast("str | None", getattr(request.state, "caller", None))


CallerDep = Annotated[str | None, Depends(_caller)]
"""What the bearer of the key is called; None where there is no key."""
