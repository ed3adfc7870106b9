"""The folder as a broker, of the example and of the tutorial."""

from __future__ import annotations

import sys
from pathlib import Path
from queue import Empty
from types import ModuleType

import pytest
from kombu import Connection

from tests.pages_of_docs import page

EXAMPLE = (Path(__file__).parent.parent / "example" / "config" / "broker.py").read_text()
(TUTORIAL,) = (one.text for one in page("tutorial/first-bar.md").samples if one.title == "studio/broker.py")


@pytest.fixture(params=[EXAMPLE, TUTORIAL], ids=["example", "tutorial"])
def channel(request, tmp_path, monkeypatch):
    """A channel of the broker; the project itself would become Celery's app here."""
    broker = ModuleType("folder_broker")
    monkeypatch.setitem(sys.modules, broker.__name__, broker)
    exec(request.param, vars(broker))
    folders = dict.fromkeys(("data_folder_in", "data_folder_out"), str(tmp_path))
    with Connection(
        transport=broker.Transport, transport_options=folders | {"control_folder": str(tmp_path / "control")}
    ) as connection:
        yield connection.default_channel


def test_a_message_is_there_only_when_it_is_whole(channel, monkeypatch):
    write, found = Path.write_text, []

    def look_and_write(path, text):
        path.touch()
        with pytest.raises(Empty):
            channel._get("q")
        found.append(path.name)
        return write(path, text)

    monkeypatch.setattr(Path, "write_text", look_and_write)
    channel._put("q", {"n": 1})
    assert found
    assert channel._get("q") == {"n": 1}
