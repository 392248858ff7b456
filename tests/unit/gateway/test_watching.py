"""What is told of a configuration, and when."""

from datetime import datetime
from pathlib import Path

import pytest
from typing_extensions import override

from gateway.client import Gateway
from gateway.config import Catalog
from gateway.lines import Lines
from gateway.watching import ConfigFile, Watcher
from tests.support.gateway_wire import ScriptedTransport, chat_reply

ECHO = "  - {name: %s, endpoint_type: llm/v1/chat, model: {provider: echo, name: m}}\n"


def watched(folder: Path, kind: type[Gateway]) -> tuple[Path, Gateway, Watcher]:
    """A gateway of one endpoint, and who looks at its file when told to."""
    path = folder / "gateway.yaml"
    path.write_text("endpoints:\n" + ECHO % "a", encoding="utf-8")
    file = ConfigFile(path, {}, sleep=lambda _: None)
    gateway = kind(file.first(), ScriptedTransport(lambda _: chat_reply("x")))
    return path, gateway, Watcher(gateway, file, every=60)


async def test_a_new_configuration_is_told_of_when_calls_go_by_it_and_not_before(tmp_path):
    told: list[datetime | None] = []

    class Looked(Gateway):
        @override
        def prepared(self, catalog: Catalog) -> Lines:
            told.append(watcher.status.loaded_at)
            return super().prepared(catalog)

    path, gateway, watcher = watched(tmp_path, Looked)
    first = watcher.status.loaded_at
    async with gateway:
        path.write_text("endpoints:\n" + ECHO % "a" + ECHO % "b", encoding="utf-8")
        assert (await watcher.reload()).loaded_at != first
        assert told[-1] == first
        path.write_text("endpoints:\n" + ECHO % "a" + "    modle: x\n", encoding="utf-8")
        assert "line 3" in ((await watcher.reload()).error or "")


async def test_a_configuration_that_could_not_be_put_in_use_is_not_told_of_and_tried_again(
    tmp_path,
):
    broken = True

    class Failing(Gateway):
        @override
        def prepared(self, catalog: Catalog) -> Lines:
            if broken and "b" in catalog.endpoints:
                raise RuntimeError("no memory left")
            return super().prepared(catalog)

    path, gateway, watcher = watched(tmp_path, Failing)
    first = watcher.status.loaded_at
    async with gateway:
        path.write_text("endpoints:\n" + ECHO % "a" + ECHO % "b", encoding="utf-8")
        with pytest.raises(RuntimeError):
            await watcher.reload()
        await watcher._look(force=False)
        assert watcher.status.loaded_at == first
        broken = False
        assert (await watcher.reload()).loaded_at != first
        assert "b" in gateway.catalog.endpoints
