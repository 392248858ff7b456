"""What models were used for: calls, tokens and money, by endpoint, by caller or by day."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import Query
from pydantic import Field

from api.dependencies import ContextDep
from api.money_view import money
from api.wire import Out, problems, resource
from hikaku.errors import Fault, InvalidInput
from hikaku.numbers import Moment
from hikaku.storage import usage
from hikaku.storage.usage import GroupBy, Used

router = resource("/usage", "usage")

_LONGEST = timedelta(days=3_660)


class UsedOut(Out):
    """Sums of one group."""

    group: str = Field(examples=["qwen-coder"], description="Empty: calls without a key.")
    calls: int = Field(description="Questions; those that jobs reused are no calls.")
    failed: int
    provider_calls: int = Field(description="HTTP calls, repeated ones included.")
    cached: int = Field(description="Answered from the cache, or reused by a job.")
    input_tokens: int
    output_tokens: int
    cost_usd: str | None = Field(
        examples=["1.2345"],
        description="Of the calls whose cost is known; null when nothing of it is known.",
    )
    cost_unknown_calls: int = Field(description="Their price or token counts are not known.")
    of_jobs: int = Field(description="Of the calls, those that jobs made.")


class UsageOut(Out):
    """Sums over a time."""

    since: datetime
    until: datetime
    group_by: GroupBy
    data: list[UsedOut]


@router.get("", summary="Sum up what was used", responses=problems(422))
def read_usage(
    context: ContextDep,
    *,
    since: Annotated[
        Moment | None, Query(alias="from", description="Default: 30 days before `to`.")
    ] = None,
    until: Annotated[Moment | None, Query(alias="to", description="Default: now.")] = None,
    group_by: GroupBy = "endpoint",
) -> UsageOut:
    """Sums by the hour, a second or two behind.

    Questions that somebody waited for count in the hour in which they began; calls of jobs in
    that in which their shard ended, under the caller `project:NAME`.
    """
    until = (until or datetime.now(UTC)).astimezone(UTC)
    since = (since or until - timedelta(days=30)).astimezone(UTC)
    if not timedelta() < until - since <= _LONGEST:
        message = "`from` must lie before `to`, by ten years at most"
        raise InvalidInput(message, faults=[Fault(pointer="query from", message=message)])
    with context.sessions() as session:
        found = usage.used(session, _hour(since), until, group_by)
    data = [_out(one) for one in found]
    return UsageOut(since=since, until=until, group_by=group_by, data=data)


def _hour(time: datetime) -> datetime:
    return time.replace(minute=0, second=0, microsecond=0)


def _out(one: Used) -> UsedOut:
    return UsedOut(
        group=one.group,
        calls=one.calls,
        failed=one.failed,
        provider_calls=one.provider_calls,
        cached=one.cached,
        input_tokens=one.input_tokens,
        output_tokens=one.output_tokens,
        cost_usd=None if one.known_cost_usd is None else money(one.known_cost_usd),
        cost_unknown_calls=one.cost_unknown,
        of_jobs=one.of_jobs,
    )
