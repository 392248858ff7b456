"""What processes tell each other of an endpoint, and what a new one asks for."""

from contextlib import suppress

import msgspec

from gateway.closure import CLOSED_SECONDS
from gateway.shared import scripts
from gateway.shared.hub import AwayError, Hub, News
from gateway.shared.terms import Terms

_LONGEST_REASON = 500
"""Characters of a provider's message that are passed on."""


async def look(hub: Hub, terms: Terms) -> News | None:
    """What the others know already; None when nobody can be asked."""
    try:
        keys = [terms.told, terms.account]
        blocked, calls, tokens, shut, why, borne = await hub.run(scripts.LOOK, keys, [])
    except AwayError:
        return None
    return News(
        terms.told,
        blocked=int(blocked) / 1000,
        requests=float(calls),
        tokens=float(tokens),
        shut=int(shut) / 1000,
        why=why.decode("utf-8", "replace"),
        borne=float(borne) * 60,
    )


async def tell(hub: Hub, news: News) -> None:
    """Have it remembered, and heard by all."""
    arguments = [
        int(news.blocked * 1000), news.requests, news.tokens, msgspec.json.encode(news),
    ]  # fmt: skip
    with suppress(AwayError):
        await hub.run(scripts.TELL, [news.key, hub.channel], arguments)


async def tell_shut(hub: Hub, account: str, message: str) -> None:
    """Let all know that an account has no quota left."""
    news = News(account, shut=CLOSED_SECONDS, why=message[:_LONGEST_REASON])
    arguments = [int(CLOSED_SECONDS * 1000), news.why, msgspec.json.encode(news)]
    with suppress(AwayError):
        await hub.run(scripts.SHUT, [account, hub.channel], arguments)
