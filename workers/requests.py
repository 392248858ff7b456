"""Asks with the whole request of a row, and keeps the whole answer."""

import msgspec
from msgspec.structs import replace

from gateway.errors import GatewayError
from gateway.surfaces.relay import Relayer, WholeRequest, refusal
from gateway.tickets import Ticket
from hikaku.errors import InvalidInput
from hikaku.jobs import CellRecord, CellResponse, is_text
from hikaku.specs import BODY_COLUMN, RequestPath, Snapshot
from hikaku.storage.work import Work
from hikaku.templates import NOTHING, Template, parse
from workers.ledger import Ledger

_OK = 200


def template_of(snapshot: Snapshot) -> Template:
    """Give the template of a job; one that renders nothing when its rows are whole requests."""
    messages = [(message.role, message.content) for message in snapshot.prompt.messages]
    return parse(messages) if messages else NOTHING


def text_of(request: WholeRequest) -> str:
    """Give all that a request says: what it costs to read is bound by that."""
    return msgspec.json.encode(request.body).decode()


def request_of(work: Work, path: RequestPath, endpoint: str) -> WholeRequest:
    """Take the request out of a row.

    Raises:
        InvalidInput: The row holds none.
    """
    body = work.variables.get(BODY_COLUMN)
    if not isinstance(body, dict):
        found = "nothing" if body is None else type(body).__name__
        raise InvalidInput(f"row {work.row}: `{BODY_COLUMN}` must be a JSON object, not {found}")
    return WholeRequest(endpoint=endpoint, path=path.value, body=body)


async def relayed(relay: Relayer, request: WholeRequest, ledger: Ledger) -> CellRecord:
    """Ask, and make the record of what came; a failure keeps the words a client would have read."""
    ticket = Ticket()
    try:
        answer = await relay.ask(request, ticket=ticket, observer=ledger)
    except GatewayError as error:
        status, body = refusal(error)
        return _with_response(ledger.failed(error), status, ticket, body)
    record = ledger.answered(answer.completion)
    return _with_response(record, _OK, ticket, answer.body)


def _with_response(record: CellRecord, status: int, ticket: Ticket, body: str) -> CellRecord:
    # In the body U+0000 is escaped; the text beside it is for reading.
    text = record.completion
    if text is not None and not is_text(text):
        legible = text.encode(errors="backslashreplace").decode().replace("\0", "\\0")
        record = replace(record, completion=legible)
    response = CellResponse(status=status, request_id=ticket.request_id, body=body)
    return replace(record, response=response)
