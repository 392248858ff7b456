"""What a vendor says of a batch never repeats the endpoint's key."""

from datetime import timedelta

import pytest
from typing_extensions import override

from gateway.errors import GatewayError
from gateway.providers.batching import BatchAnswer, BatchLook, VendorBatches
from gateway.providers.discreet import DiscreetBatches

KEY = "sk-very-secret-key"
SAID = f"Incorrect API key provided: {KEY}."


class Talkative(VendorBatches):
    """Repeats the key in all it says."""

    max_requests, max_bytes = 7, 8

    @override
    def line(self, custom_id, body):
        raise GatewayError(SAID)

    @override
    async def find(self, mark, since, count):
        raise GatewayError(SAID)

    @override
    async def submit(self, mark, lines):
        raise GatewayError(SAID)

    @override
    async def look(self, batch_id):
        return BatchLook(ended=True, error=SAID)

    @override
    async def results(self, batch_id):
        yield BatchAnswer(custom_id="1", error=GatewayError(SAID))
        raise GatewayError(SAID)

    @override
    async def cancel(self, batch_id):
        raise GatewayError(SAID)


@pytest.fixture
def batches():
    return DiscreetBatches(Talkative(), [KEY])


async def _line(batches: VendorBatches) -> None:
    batches.line("1", {})


@pytest.mark.parametrize(
    "asked",
    [
        _line,
        lambda batches: batches.find("m", timedelta(0), 1),
        lambda batches: batches.submit("m", []),
        lambda batches: batches.cancel("b"),
    ],
    ids=["line", "find", "submit", "cancel"],
)
async def test_errors_do_not_repeat_the_key(batches, asked):
    with pytest.raises(GatewayError) as raised:
        await asked(batches)
    assert raised.value.message == "Incorrect API key provided: ***."
    assert KEY not in str(raised.value)


async def test_what_is_kept_of_a_batch_does_not_repeat_the_key(batches):
    assert (await batches.look("b")).error == "Incorrect API key provided: ***."
    said: list[str] = []
    with pytest.raises(GatewayError) as raised:  # noqa: PT012 - it ends with an error
        async for answer in batches.results("b"):
            said.append(answer.error.message)  # noqa: PERF401 - it ends with an error
    assert said == [raised.value.message] == ["Incorrect API key provided: ***."]


def test_the_limits_are_the_vendors(batches):
    assert (batches.max_requests, batches.max_bytes) == (7, 8)
