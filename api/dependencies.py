"""What routes ask for by type."""

from typing import Annotated, cast

from fastapi import Depends, Request

from api.context import Context


def _context(request: Request) -> Context:
    return cast("Context", request.app.state.context)


ContextDep = Annotated[Context, Depends(_context)]


def _caller(request: Request) -> str | None:
    return cast("str | None", getattr(request.state, "caller", None))


CallerDep = Annotated[str | None, Depends(_caller)]
"""What the bearer of the key is called; None where there is no key."""
