import asyncio
from datetime import timedelta

import pytest

from gateway.accounts import LocalGates, is_unknown
from gateway.config import Endpoint, parse
from gateway.errors import ConfigError, NoTurn, Outcome, QuotaExhausted
from gateway.limits import Gate

FILE = """
endpoints:
  - name: a
    endpoint_type: llm/v1/chat
    model: {provider: openai, name: x, config: {openai_api_key: sk-one-secret}}
    account: {concurrency: 2}
  - name: b
    endpoint_type: llm/v1/chat
    model: {provider: openai, name: y, config: {openai_api_key: sk-one-secret}}
  - name: c
    endpoint_type: llm/v1/chat
    model: {provider: openai, name: y, config: {openai_api_key: sk-another-secret}}
  - name: d
    endpoint_type: llm/v1/chat
    model: {provider: echo, name: y}
    account: shared
"""


def endpoints(text: str = FILE) -> dict[str, Endpoint]:
    return dict(parse(text, {}).endpoints)


async def passed(gate: Gate) -> None:
    if (waiting := gate.enter(0)) is not None:
        await waiting


def test_the_same_provider_address_and_key_are_one_account():
    a, b, c, d = endpoints().values()
    assert a.account == b.account
    assert a.account is not None
    assert c.account is not None
    assert d.account is not None
    assert (a.account.limits.concurrency, c.account.limited) == (2, False)
    assert a.account.id != c.account.id
    assert d.account.id == "n-shared"
    assert "secret" not in repr((a.account, c.account))


def test_one_account_cannot_have_two_limits():
    text = FILE.replace("account: shared", "account: {name: n, rpm: 1}") + (
        "  - name: e\n    endpoint_type: llm/v1/chat\n    model: {provider: echo}\n"
        "    account: {name: n, rpm: 2}\n"
    )
    with pytest.raises(ConfigError, match="`e` and `d` share an account") as caught:
        endpoints(text)
    assert caught.value.line == 20


async def test_endpoints_of_one_account_stand_before_one_gate():
    gates, known = LocalGates(), endpoints()
    a, b, c = (gates.of(known[name]) for name in "abc")
    await passed(a)
    a.leave(0, None, Outcome.OK)
    await passed(a)
    await passed(b)
    waiting = asyncio.ensure_future(passed(b))
    await asyncio.sleep(0)
    assert not waiting.done()
    await passed(c)
    a.leave(0, None, Outcome.OK)
    await waiting


async def test_a_call_given_up_before_its_account_leaves_no_place_behind():
    gates, known = LocalGates(), endpoints()
    a, b = gates.of(known["a"]), gates.of(known["b"])
    for _ in range(2):
        await passed(a)
    for _ in range(5):
        waiting = asyncio.ensure_future(passed(b))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    a.leave(0, None, Outcome.OK)
    await passed(b)


async def test_an_account_without_quota_is_left_alone_and_says_why():
    gates, known = LocalGates(), endpoints()
    a, b, c = (gates.of(known[name]) for name in "abc")
    a.shut(QuotaExhausted("pay your bill", status=429))
    for gate in (a, b):
        with pytest.raises(QuotaExhausted, match="pay your bill"):
            await passed(gate)
        assert "pay your bill" in (gate.closed or "")
    await passed(c)
    assert c.closed is None


async def test_patience_of_the_program_is_the_default_of_the_endpoint():
    known = endpoints()
    hasty, patient = LocalGates(0.5).of(known["c"]), LocalGates().of(known["c"])
    await hasty.block(timedelta(seconds=50))
    await patient.block(timedelta(seconds=0.01))
    with pytest.raises(NoTurn) as caught:
        await passed(hasty)
    assert caught.value.retry_after is not None
    assert 30 < caught.value.retry_after.total_seconds() <= 50
    await passed(patient)


def test_only_vendors_may_have_limits_that_nobody_told():
    known = endpoints()
    assert is_unknown(known["c"])
    assert not is_unknown(known["d"])
