from pathlib import Path

import pytest
from hikaku_client.spec import load

from hikaku import templates
from hikaku.scoring import build
from hikaku.specs import JobSpec

EXAMPLES = Path(__file__).parents[3] / "examples"


def example(name: str) -> JobSpec:
    return JobSpec.model_validate(load(EXAMPLES / name).spec)


@pytest.mark.parametrize("name", ["first-job.yaml", "colours.yaml"])
def test_an_example_is_a_job_that_the_server_takes(name):
    spec = example(name)
    for scorer in spec.scorers:
        build(scorer.type, scorer.model_extra or {})


def prompts(name: str) -> list[str]:
    spec = example(name)
    messages = spec.prompt.messages or [_user(spec.prompt.template)]
    template = templates.parse([(message.role, message.content) for message in messages])
    rendered = (template.render(row, row=number) for number, row in enumerate(spec.rows or ()))
    return [messages[-1].content for messages in rendered]


def _user(content: str | None) -> templates.Message:
    assert content is not None
    return templates.Message(role="user", content=content)


def test_the_first_job_asks_in_two_languages_and_expects_an_answer_each():
    rows = example("first-job.yaml").rows or ()
    assert len(rows) >= 60
    assert sum(row["lang"] == "ja" for row in rows) * 2 == len(rows)
    assert all(row["expected"] for row in rows)
    asked = prompts("first-job.yaml")
    assert len(set(asked)) == len(asked)


def test_both_examples_ask_what_colour_an_apple_is():
    assert prompts("first-job.yaml")[0] == "りんごは何色ですか?"
    assert prompts("colours.yaml")[0] == "りんごは何色ですか?"
    assert "A ripe banana has what color?" in prompts("first-job.yaml")


def test_no_expected_answer_stands_in_its_own_question():
    for row, asked in zip(
        example("first-job.yaml").rows or (), prompts("first-job.yaml"), strict=True
    ):
        expected = row["expected"]
        for answer in expected if isinstance(expected, list) else [expected]:
            assert answer.casefold() not in asked.casefold()
