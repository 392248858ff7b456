"""How many may stand in line at an endpoint's limits: as many as keep it busy, and no more."""

import pytest

from gateway.shared import Hub, SharedGates
from tests.support.gateway_wire import catalog

CONFIG = """
endpoints:
  - name: chat
    endpoint_type: llm/v1/chat
    model: {{provider: openai-compatible, name: m, config: {{api_base: 'http://127.0.0.1:1/v1'}}}}
    limits: {{{limits}}}
"""


@pytest.mark.parametrize(
    ("limits", "processes", "room"),
    [
        ("", 1, 16),
        ("concurrency: 400", 1, 16),
        ("concurrency: 32", 1, 8),
        ("concurrency: 32", 4, 2),
        ("concurrency: 4", 1, 1),
        ("concurrency: 1", 9, 1),
        ("rpm: 60000", 4, 16),
        ("rpm: 600", 1, 10),
        ("rpm: 600", 4, 2),
        ("rpm: 10", 1, 1),
        ("rpm: 600, concurrency: 4", 1, 1),
        ("tpm: 60", 1, 1),
    ],
)
def test_as_many_wait_as_end_soon_or_may_go_within_a_second(limits, processes, room):
    hub = Hub("redis://127.0.0.1:1")
    hub.processes = processes
    endpoint = catalog(CONFIG.format(limits=limits)).endpoints["chat"]
    assert SharedGates(hub, job=True).of(endpoint).waiting_room == room
