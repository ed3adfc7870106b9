"""The golden messages of `tests/protocol`, which the browser client's tests read as well, are what the server says."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from immortus_channels.jobs.job import DOCUMENT_KEYS, Error, Job, State
from immortus_channels.push.messages import Push
from immortus_channels.websocket import frames

FOLDER = Path(__file__).parent / "protocol"


def golden(kind: str) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = json.loads((FOLDER / f"{kind}.json").read_text())
    return messages


def named(kind: str) -> list[Any]:
    return [pytest.param(one["message"], id=one["name"]) for one in golden(kind)]


def microseconds(text: str | None) -> int | None:
    return None if text is None else round(datetime.fromisoformat(text).timestamp() * 1_000_000)


def job_of(document: dict[str, Any]) -> Job:
    """The job that shows as this document."""
    given = None if document["total"] else document["percentage"]
    return Job(
        job_id=document["job_id"],
        job_class=document["job_class"],
        state=State(document["state"]),
        version=document["version"],
        attempt=document["attempt"],
        current=document["current"],
        total=document["total"],
        given_percentage=given,
        message=document["message"],
        error=Error(**document["error"]) if document["error"] else None,
        result=document["result"],
        cancel_requested=document["cancel_requested"],
        stalled=document["stalled"],
        enqueued_at=microseconds(document["enqueued_at"]),
        started_at=microseconds(document["started_at"]),
        finished_at=microseconds(document["finished_at"]),
        meta={key: value for key, value in document.items() if key not in DOCUMENT_KEYS},
    )


@pytest.mark.parametrize("document", named("documents"))
def test_each_golden_document_is_what_its_job_shows_key_for_key(document: dict[str, Any]) -> None:
    shown = json.loads(job_of(document).text)
    assert shown == document
    assert [key for key in shown if key in DOCUMENT_KEYS] == [key for key in document if key in DOCUMENT_KEYS]


@pytest.mark.parametrize("frame", named("server_frames"))
def test_each_golden_frame_is_one_that_the_server_says(frame: dict[str, Any]) -> None:
    assert any(same_shape(frame, one) for one in said_by_server(frame))


def said_by_server(frame: dict[str, Any]) -> list[dict[str, Any]]:
    texts = [frames.hello(20.0), frames.PING, frames.BAD_MESSAGE, frames.bye(4010, 1.0), frames.current("x", 1)]
    texts += [frames.TOKEN_EXPIRED, frames.token_expired("x")]
    for authenticated in (True, False):
        texts += [
            frames.unknown_job("x", authenticated=authenticated),
            frames.too_many_jobs("x", authenticated=authenticated),
        ]
    if frame["type"] == "job":
        document = frames.Document(Push.of(job_of(frame["job"])))
        texts += [document.snapshot, document.frame]
    return [json.loads(text) for text in texts]


def same_shape(golden: dict[str, Any], said: dict[str, Any]) -> bool:
    """The same type with the same keys, and for a job the same document."""
    return (
        golden["type"] == said["type"]
        and golden.get("job") == said.get("job")
        and set(golden) - {"authenticated"} == set(said) - {"authenticated"}
    )


@pytest.mark.parametrize("frame", named("client_frames"))
def test_each_golden_command_is_understood(frame: dict[str, Any]) -> None:
    assert frames.decode(json.dumps(frame)) is not None


@pytest.mark.parametrize("text", named("bad_messages"))
def test_each_bad_message_is_refused(text: str) -> None:
    assert frames.decode(text) is None
