"""What MLflow's gateways take: the checks their schemas make, with the faults as they word them."""

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.errors import InvalidRequest
from gateway.types import JSON, EndpointType


class Unprocessable(InvalidRequest):
    """A request that MLflow's own gateway refuses with 422."""

    def __init__(self, detail: JSON) -> None:
        super().__init__(detail if isinstance(detail, str) else str(detail), status=422)
        self.detail = detail


@dataclass(frozen=True, slots=True)
class _Number:
    """A numeric field: its bounds, both inclusive."""

    low: float | None
    high: float | None
    whole: bool = False


_COMMON = {"max_tokens": _Number(1, None, whole=True)}
_OLD_NUMBERS = _COMMON | {
    "temperature": _Number(0, 1),
    "candidate_count": _Number(1, 5, whole=True),
}
_NEW_NUMBERS = _COMMON | {
    "max_completion_tokens": _Number(1, None, whole=True),
    "n": _Number(1, None, whole=True),
    "top_k": _Number(1, None, whole=True),
    "temperature": _Number(0, 2),
    "top_p": _Number(0, 1),
    "presence_penalty": _Number(-2, 2),
    "frequency_penalty": _Number(-2, 2),
}


_TOKEN_LISTS = ("list[int]", "list[list[int]]")
"""What the later generation takes besides texts."""


def check_request(kind: EndpointType, request: dict[str, JSON], *, old: bool) -> None:
    """Refuse what the original refuses; numbers written as texts become numbers, as there.

    Args:
        kind: What the endpoint does.
        request: The body; a field that is null counts as absent.
        old: Whether by the rules of MLflow 2.8 rather than of 2.9 and later.

    Raises:
        Unprocessable: All faults, as a list in Pydantic's form.
    """
    faults = [*_subject(kind, request, old=old)]
    if kind is not EndpointType.EMBEDDINGS:
        numbers = _OLD_NUMBERS if old else _NEW_NUMBERS
        for name, number in numbers.items():
            if (value := request.get(name)) is not None:
                found = _number(name, value, number)
                if isinstance(found, int | float):
                    request[name] = found
                else:
                    faults.append(found)
        faults += _stop(request.get("stop"))
    if faults:
        raise Unprocessable(faults)


def fault(
    kind: str, place: tuple[str | int, ...], message: str, given: JSON, **context: JSON
) -> dict[str, JSON]:
    """One fault as FastAPI lists it."""
    found: dict[str, JSON] = {
        "type": kind, "loc": ["body", *place], "msg": message, "input": given,
    }  # fmt: skip
    return found | {"ctx": context} if context else found


def _subject(kind: EndpointType, request: Mapping[str, JSON], *, old: bool) -> list[JSON]:
    match kind:
        case EndpointType.CHAT:
            return _messages(request, old=old)
        case EndpointType.COMPLETIONS:
            return _text("prompt", request)
        case EndpointType.EMBEDDINGS:
            return _texts("text", request, ()) if old else _texts("input", request, _TOKEN_LISTS)


def _messages(request: Mapping[str, JSON], *, old: bool) -> list[JSON]:
    messages = request.get("messages")
    if messages is None:
        return [fault("missing", ("messages",), "Field required", request)]
    if not isinstance(messages, list):
        return [fault("list_type", ("messages",), "Input should be a valid list", messages)]
    if not messages:
        return [_too_short("messages", messages)]
    faults: list[JSON] = []
    for index, message in enumerate(messages):
        faults += _message(index, message, old=old)
    return faults


def _message(index: int, message: JSON, *, old: bool) -> list[JSON]:
    place = ("messages", index)
    if not isinstance(message, dict):
        words = "Input should be a valid dictionary or object to extract fields from"
        return [fault("model_attributes_type", place, words, message)]
    faults: list[JSON] = []
    for name in ("role", "content") if old else ("role",):
        if name not in message:
            faults.append(fault("missing", (*place, name), "Field required", message))
        elif not isinstance(message[name], str):
            words = "Input should be a valid string"
            faults.append(fault("string_type", (*place, name), words, message[name]))
    return faults


def _text(name: str, request: Mapping[str, JSON]) -> list[JSON]:
    value = request.get(name)
    if value is None:
        return [fault("missing", (name,), "Field required", request)]
    if not isinstance(value, str):
        return [fault("string_type", (name,), "Input should be a valid string", value)]
    return []


def _texts(name: str, request: Mapping[str, JSON], more: tuple[str, ...]) -> list[JSON]:
    value = request.get(name)
    if value is None:
        return [fault("missing", (name,), "Field required", request)]
    if isinstance(value, str | list):
        return []
    return [
        fault("string_type", (name, "str"), "Input should be a valid string", value),
        *(
            fault("list_type", (name, form), "Input should be a valid list", value)
            for form in ("list[str]", *more)
        ),
    ]


def _stop(value: JSON) -> list[JSON]:
    if value is None:
        return []
    if not isinstance(value, list):
        return [fault("list_type", ("stop",), "Input should be a valid list", value)]
    if not value:
        return [_too_short("stop", value)]
    return [
        fault("string_type", ("stop", index), "Input should be a valid string", item)
        for index, item in enumerate(value)
        if not isinstance(item, str)
    ]


def _too_short(name: str, value: JSON) -> JSON:
    words = "List should have at least 1 item after validation, not 0"
    return fault(
        "too_short", (name,), words, value, field_type="List", min_length=1, actual_length=0
    )


def _number(name: str, value: JSON, number: _Number) -> int | float | dict[str, JSON]:
    """The number, or the fault."""
    given = value
    kind, word = ("int", "integer") if number.whole else ("float", "number")
    if isinstance(given, str):
        given = _parsed(given, whole=number.whole)
        if given is None:
            article = "an" if number.whole else "a"
            words = f"Input should be a valid {word}, unable to parse string as {article} {word}"
            return fault(f"{kind}_parsing", (name,), words, value)
    if not isinstance(given, int | float):
        return fault(f"{kind}_type", (name,), f"Input should be a valid {word}", value)
    if number.whole and given != int(given):
        words = "Input should be a valid integer, got a number with a fractional part"
        return fault("int_from_float", (name,), words, value)
    if number.low is not None and given < number.low:
        words = f"Input should be greater than or equal to {number.low:g}"
        return fault("greater_than_equal", (name,), words, value, ge=number.low)
    if number.high is not None and given > number.high:
        words = f"Input should be less than or equal to {number.high:g}"
        return fault("less_than_equal", (name,), words, value, le=number.high)
    return given


def _parsed(text: str, *, whole: bool) -> float | None:
    try:
        return int(text) if whole else float(text)
    except ValueError:
        return None
