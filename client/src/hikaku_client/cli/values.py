"""Kinds of values that options take."""

import click
from typing_extensions import override

from hikaku_client.errors import InvalidRequest
from hikaku_client.gates import Gate


class Share(click.ParamType[float]):
    """A share: 0.01 or 1%."""

    name = "share"

    @override
    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read it."""
        written = str(value).strip()
        try:
            number = float(written.removesuffix("%")) / (100 if written.endswith("%") else 1)
        except ValueError:
            number = -1.0
        if not 0 <= number <= 1:
            self.fail(f"{written!r} is no share between 0 and 1, or 0% and 100%", param, ctx)
        return number


class GateType(click.ParamType[Gate]):
    """A gate."""

    name = "gate"

    @override
    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Gate:
        """Read it."""
        try:
            return Gate.parse(str(value))
        except InvalidRequest as error:
            self.fail(error.message, param, ctx)


class Assignment(click.ParamType[tuple[str, str]]):
    """`name=value`."""

    name = "name=value"

    @override
    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Split it."""
        name, equals, rest = str(value).partition("=")
        if not equals or not name:
            self.fail(f"{value!r} is not of the form name=value", param, ctx)
        return name, rest
