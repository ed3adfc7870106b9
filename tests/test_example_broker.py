"""The example's folder as a broker."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from queue import Empty

import pytest
from kombu import Connection

FILE = Path(__file__).parent.parent / "example" / "config" / "broker.py"


@pytest.fixture
def channel(tmp_path, monkeypatch):
    """A channel of the broker; the example's project itself would become Celery's app here."""
    spec = importlib.util.spec_from_file_location("example_broker", FILE)
    broker = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, broker)
    spec.loader.exec_module(broker)
    folders = dict.fromkeys(("data_folder_in", "data_folder_out"), str(tmp_path))
    with Connection(
        "folder://", transport_options=folders | {"control_folder": str(tmp_path / "control")}
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
