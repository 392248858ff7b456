from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from gateway.errors import Outcome as GatewayOutcome
from gateway.types import AttemptReport, Completion, Usage
from hikaku.jobs import CellAddress, CellCalls, Outcome
from hikaku.pricing import tariff
from hikaku.specs import EndpointIdentity
from workers.errors import Revoked
from workers.ledger import Ledger, keepable

ADDRESS = CellAddress(
    job_id="job_01m8028wbcff0v7qw6bswnaxz7", bucket=0, endpoint=0, row=0, repeat=0, round=0,
    shard_id=1, epoch=1,
)  # fmt: skip
ENDPOINT = EndpointIdentity(
    name="a", endpoint_type="llm/v1/chat", provider="echo", model=None, fingerprint="f",
    input_usd_per_million_tokens=Decimal(1), output_usd_per_million_tokens=Decimal(2),
)  # fmt: skip


USAGE = Usage(input_tokens=10, output_tokens=5)


class Notes:
    """Stands for the recorder: remembers what was noted, in order."""

    def __init__(self) -> None:
        self.calls: list[CellCalls] = []

    def called(self, calls: CellCalls) -> None:
        self.calls.append(calls)

    def call_ended(self, calls: CellCalls) -> None:
        self.calls.append(calls)


def ledger(notes, may_call=lambda: None):
    return Ledger(tariff(ENDPOINT), ADDRESS, notes, may_call)


def report(number=1, outcome=GatewayOutcome.OK):
    return AttemptReport(
        number=number,
        started_at=datetime.now(UTC),
        latency=timedelta(milliseconds=5),
        outcome=outcome,
    )


def completion(text="赤", finish_reason="stop", usage=USAGE):
    return Completion(
        text=text,
        finish_reason=finish_reason,
        usage=usage,
        latency=timedelta(milliseconds=5),
        model=None,
    )


def test_a_call_is_noted_before_it_is_made_and_when_it_fails():
    notes = Notes()
    account = ledger(notes)
    account.sending(1)
    account.ended(report(1, GatewayOutcome.RATE_LIMITED))
    account.sending(2)
    account.ended(report(2))
    noted = [(call.attempts[0].number, call.attempts[0].outcome.value) for call in notes.calls]
    assert noted == [(1, "unknown"), (1, "rate_limited"), (2, "unknown")]
    assert len(account.answered(completion()).attempts) == 2


def test_a_call_that_must_not_be_made_is_not_noted():
    notes = Notes()

    def refuse():
        raise Revoked

    with pytest.raises(Revoked):
        ledger(notes, refuse).sending(1)
    assert notes.calls == []


@pytest.mark.parametrize(
    ("finish_reason", "outcome"),
    [("stop", Outcome.OK), ("length", Outcome.TRUNCATED), ("st\x00op", Outcome.OK)],
)
def test_an_answer_becomes_a_record_that_postgres_can_keep(finish_reason, outcome):
    made = ledger(Notes()).answered(completion(finish_reason=finish_reason))
    assert made.outcome is outcome
    assert "\x00" not in (made.finish_reason or "")
    assert made.cost_usd == Decimal("0.00002")


@pytest.mark.parametrize("tokens", [3_000_000_000, -1])
def test_a_count_that_cannot_be_is_not_reported(tokens):
    usage = Usage(input_tokens=tokens, output_tokens=1)
    made = ledger(Notes()).answered(completion(usage=usage))
    assert (made.input_tokens, made.output_tokens, made.cost_usd) == (None, 1, None)


@pytest.mark.parametrize("text", ["a\x00b", "\ud83d"])
def test_what_is_no_text_is_malformed_and_says_so(text):
    made = keepable(ledger(Notes()).answered(completion(text=text)))
    assert (made.outcome, made.completion) == (Outcome.MALFORMED, None)
    assert "not text" in (made.error or "")
