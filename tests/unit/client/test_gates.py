import pytest
from hikaku_client.errors import InvalidRequest
from hikaku_client.gates import Gate

from tests.unit.client.fake import comparison, estimate


@pytest.mark.parametrize(
    ("gate", "broken"),
    [
        ("score.contains>=0.2", []),
        ("score.contains.mean >= 0.3", ["smollm2-135m-instruct"]),
        ("score.contains.low>0.2", ["smollm2-135m-instruct"]),
        ("score.contains<0.1", ["smollm2-135m-instruct", "qwen2.5-coder-0.5b-instruct"]),
        ("delta.contains>=0.2", []),
        ("delta.contains.low >= 0.2", ["qwen2.5-coder-0.5b-instruct"]),
        ("delta.contains.high<=-0.5", ["qwen2.5-coder-0.5b-instruct"]),
        ("score.nothing>=0", ["smollm2-135m-instruct", "qwen2.5-coder-0.5b-instruct"]),
    ],
)
def test_a_gate_names_the_endpoints_that_do_not_hold_it(gate, broken):
    told = list(Gate.parse(gate).violations(comparison()))
    assert [line.split(": ")[1].split(" is ")[0] for line in told] == broken


def test_a_value_that_is_not_known_holds_no_gate():
    answer = comparison()
    answer["columns"][0]["scores"]["contains"] = estimate(None, None, None, 0)
    (told,) = Gate.parse("score.contains>=0").violations(answer)
    assert told.endswith("smollm2-135m-instruct is not known")


def test_a_difference_with_nothing_to_compare_holds_no_gate():
    answer = comparison()
    del answer["columns"][1]
    (told,) = Gate.parse("delta.contains>=-1").violations(answer)
    assert told == "gate delta.contains>=-1 does not hold: nothing to compare with"
    assert list(Gate.parse("score.contains>=0").violations(answer)) == []


@pytest.mark.parametrize("gate", ["", "score.x", "score.x>=", "latency.x<3", "score.x>=1.2.3"])
def test_what_is_no_gate_is_refused(gate):
    with pytest.raises(InvalidRequest, match="cannot read the gate"):
        Gate.parse(gate)
