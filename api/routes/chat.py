"""One question, one answer, at once; the database is not asked."""

from typing import Any, Self

from pydantic import Field, model_validator

from api.dependencies import CallerDep, ContextDep
from api.wire import Named, Out, problems, resource, shown
from gateway.types import ChatRequest, Completion
from gateway.types import Message as Asked
from hikaku import templates
from hikaku.errors import Fault, InvalidInput
from hikaku.specs import AskedParams, Closed, Message, Params

router = resource("/chat", "chat")

_MESSAGES = {
    "endpoint": "qwen-coder",
    "messages": [{"role": "user", "content": "りんごは何色ですか?"}],
    "params": {"temperature": 0, "max_tokens": 64},
}
_TEMPLATE = {
    "endpoint": "qwen-coder",
    "template": "{{object}}は何色ですか?",
    "variables": {"object": "空"},
}


class Question(Closed):
    """What to ask whom: messages as they are, or a template with its variables."""

    endpoint: Named
    messages: tuple[Message, ...] | None = Field(default=None, min_length=1, max_length=1000)
    template: str | None = Field(default=None, description="A single user message.")
    variables: dict[str, Any] = Field(default={}, max_length=200)
    params: AskedParams = Params()

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.template is None) == (self.messages is None):
            raise ValueError("give exactly one of messages, template")
        if self.variables and self.template is None:
            raise ValueError("variables go with template; messages are sent as they are")
        return self


class UsageOut(Out):
    """Tokens; null where the provider reported nothing."""

    input_tokens: int | None
    output_tokens: int | None


class ChatAnswer(Out):
    """What the model answered."""

    endpoint: str
    completion: str = Field(examples=["赤です。"])
    outcome: str = Field(description="`ok` or `refused`.", examples=["ok"])
    finish_reason: str | None = Field(examples=["stop"])
    usage: UsageOut
    latency_ms: float = Field(description="Of the call that answered, without waits and retries.")
    model: str | None


@router.post(
    "",
    summary="Ask one endpoint, now",
    responses=problems(402, 424, 429, 502, 504),
    openapi_extra=shown(_MESSAGES, _TEMPLATE),
)
async def chat(question: Question, context: ContextDep, caller: CallerDep) -> ChatAnswer:
    """Asks through the gateway, with its limits and retries, and waits for the answer."""
    request = ChatRequest(
        endpoint=question.endpoint,
        messages=_messages(question),
        params=question.params.model_dump(mode="json", exclude_none=True),
        caller=caller,
    )
    return _answer(question.endpoint, await context.gateway.ask(request))


def _messages(question: Question) -> tuple[Asked, ...]:
    if question.messages is not None:
        return tuple(Asked(role=m.role, content=m.content) for m in question.messages)
    template = _template(question.template or "")
    try:
        rendered = template.render(question.variables, row=0)
    except InvalidInput as error:
        fault = Fault(pointer="/variables", message=str(error))
        raise InvalidInput(str(error), faults=[fault]) from error
    return tuple(Asked(role=m.role, content=m.content) for m in rendered)


def _template(text: str) -> templates.Template:
    try:
        return templates.parse([("user", text)])
    except InvalidInput as error:
        faults = [Fault(pointer="/template", message=fault.message) for fault in error.faults]
        raise InvalidInput(str(error), faults=faults) from error


def _answer(endpoint: str, completion: Completion) -> ChatAnswer:
    return ChatAnswer(
        endpoint=endpoint,
        completion=completion.text,
        outcome=completion.outcome.value,
        finish_reason=completion.finish_reason,
        usage=UsageOut(
            input_tokens=completion.usage.input_tokens,
            output_tokens=completion.usage.output_tokens,
        ),
        latency_ms=round(completion.latency.total_seconds() * 1000, 3),
        model=completion.model,
    )
