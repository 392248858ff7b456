"""A prompt template as one text and as JSON."""

import json
from collections.abc import Sequence

from hikaku.specs import BODY_COLUMN, Snapshot


def written(messages: Sequence[tuple[str, str]]) -> str:
    """Write messages (role, content) as one text; a single user message as it is."""
    match messages:
        case [("user", content)]:
            return content
        case _:
            return "\n\n".join(f"[{role}]\n{content}" for role, content in messages)


def template_text(snapshot: Snapshot) -> str:
    """Write the whole prompt template as one text; of whole requests, where they go."""
    if (path := snapshot.prompt.request) is not None:
        return f"POST {path} with the `{BODY_COLUMN}` of each row"
    return written([(message.role, message.content) for message in snapshot.prompt.messages])


def template_json(snapshot: Snapshot) -> str:
    """Write the messages of the prompt template as JSON."""
    messages = [message.model_dump() for message in snapshot.prompt.messages]
    return json.dumps(messages, ensure_ascii=False, indent=2) + "\n"
