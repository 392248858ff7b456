"""What routes ask for by type."""

from typing import Annotated, cast

from fastapi import Depends, Request

from api.context import Context


def _context(request: Request) -> Context:
    return cast("Context", request.app.state.context)


ContextDep = Annotated[Context, Depends(_context)]
