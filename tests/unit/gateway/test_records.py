"""What is noted of a call: whose it was, what came of it, and what it cost at the time."""

from decimal import Decimal

import pytest

from gateway.errors import NoTurn
from gateway.http import Reply
from gateway.tickets import Ticket
from gateway.usage import Recorder
from tests.support.gateway_wire import catalog, chat_reply, reply, sse
from tests.unit.gateway.test_course import (
    BODY,
    CHUNK,
    COUNTS,
    Kept,
    by_model,
    config,
    entry,
    made,
)


async def test_a_call_beyond_its_callers_share_is_noted_whole_or_streamed():
    kept = Kept()
    gateway, transport = made(
        config(entry("a", "limits: {per_key: {rpm: 1}}")),
        lambda _: Reply(status=200, headers={}, body=sse(CHUNK, COUNTS)),
        recorder=Recorder(kept),
    )
    ticket = Ticket(caller="one")
    async with gateway:
        assert [c async for c in gateway.stream_chat("a", BODY, ticket=ticket)]
        with pytest.raises(NoTurn):
            [c async for c in gateway.stream_chat("a", BODY, ticket=Ticket(caller="one"))]
        with pytest.raises(NoTurn):
            await gateway.chat("a", BODY, ticket=Ticket(caller="one"))
    assert len(transport.requests) == 1
    assert [(r.asked, r.caller, r.outcome, r.attempts, r.streamed) for r in kept.records] == [
        ("a", "one", "ok", 1, True),
        ("a", "one", "rate_limited", 0, True),
        ("a", "one", "rate_limited", 0, False),
    ]


async def test_a_call_is_noted_with_the_price_of_who_answered_when_it_was_made():
    price = "price: {input_usd_per_million_tokens: %s, output_usd_per_million_tokens: 0}\n"
    text = config(
        entry("a", price % 1 + "retry: {max_attempts: 1}\nfallback: [b]"), entry("b", price % 2)
    )
    script = by_model(**{
        "a-model": lambda: reply(503, {}), "b-model": lambda: chat_reply("x"),
    })  # fmt: skip
    kept = Kept()
    gateway, _ = made(text, script, recorder=Recorder(kept))
    async with gateway:
        await gateway.chat("a", BODY)
        gateway.replace(catalog(config(entry("a"), entry("b", price % 1000))))
        await gateway.chat("b", BODY)
        gateway.replace(catalog(config(entry("b", "price: {}"))))
        await gateway.chat("b", BODY)
        gateway.replace(catalog(config(entry("b"))))
    assert [(r.endpoint, r.cost_usd) for r in kept.records] == [
        ("b", Decimal("0.000006")), ("b", Decimal("0.003")), ("b", None),
    ]  # fmt: skip
    assert [r.price_source for r in kept.records[:2]] == ["gateway file"] * 2
