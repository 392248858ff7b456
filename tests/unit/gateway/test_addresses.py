import pytest

from gateway.config import parse
from gateway.errors import EndpointUnavailable
from gateway.http.addresses import address_of, head_of
from gateway.surfaces.openapi import paths


@pytest.mark.parametrize("end", ["\r\nX-Evil: 1", "\nX-Evil: 1", "\rX-Evil: 1", "\0"])
@pytest.mark.parametrize("place", ["name", "value"])
def test_what_would_end_a_header_is_never_sent_and_is_no_fault_of_the_caller(end, place):
    address = address_of("http://127.0.0.1:1/v1")
    assert address is not None
    header = {"X-Key" + end: "k"} if place == "name" else {"X-Key": "k" + end}
    with pytest.raises(EndpointUnavailable, match="no header may") as caught:
        head_of("POST", address, header, 0)
    assert "Evil: 1" not in str(caught.value) or place == "name"


@pytest.mark.parametrize(
    "url",
    [
        "http://host/a b", "http://host/\r\nX: 1", "http://host/é", "http://host/../a",
        "http://user@host/", "http://host:0/", "http://host:70000/", "ftp://host/", "http:///",
    ],
)  # fmt: skip
def test_addresses_that_are_not_plain_are_not_written_as_they_are(url):
    assert address_of(url) is None


def test_no_two_endpoints_share_an_operation_of_the_document():
    names = ("a.b", "a_b", "a-b", "質問")
    entry = "{name: %s, endpoint_type: llm/v1/chat, model: {provider: echo}}"
    catalog = parse(f"endpoints: [{', '.join(entry % name for name in names)}]", {})
    ids = [op["operationId"] for path in paths(catalog).values() for op in path.values()]
    assert len(ids) == len(set(ids)) > len(names)
