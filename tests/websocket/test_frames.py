"""Frames: whatever a client sends is a command or nothing, and never an exception."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immortus_channels.websocket import frames
from immortus_channels.websocket.frames import Pong, Unwatch, Watch, decode

HOSTILE = [
    None,
    b"{}",
    "",
    " ",
    "pong",
    "[]",
    "null",
    "3",
    '"pong"',
    "{",
    "{}",
    '{"type": null}',
    '{"type": ["watch"]}',
    '{"type": "watch"}',
    '{"type": "subscribe", "job_id": "a"}',
    '{"type": "watch", "job_id": ""}',
    '{"type": "watch", "job_id": 7}',
    '{"type": "watch", "job_id": null}',
    '{"type": "watch", "job_id": ["a"]}',
    '{"type": "watch", "job_id": "a\\u0000"}',
    '{"type": "watch", "job_id": "\\ud800"}',
    json.dumps({"type": "watch", "job_id": "a" * 256}),
    '{"type": "watch", "job_id": "a", "version": "1"}',
    '{"type": "watch", "job_id": "a", "version": 1.5}',
    '{"type": "watch", "job_id": "a", "version": true}',
    '{"type": "watch", "job_id": "a", "version": null}',
    '{"type": "watch", "job_id": "a", "version": -1}',
    '{"type": "watch", "job_id": "a", "version": 9007199254740992}',
    '{"type": "watch", "job_id": "a", "version": NaN}',
    '{"type": "watch", "job_id": "a", "version": 1e400}',
    '{"type": "watch", "job_id": "a", "token": 7}',
    '{"type": "watch", "job_id": "a", "token": ["x"]}',
    '{"type": "pong", "x": Infinity}',
    '{"type": "pong", "type": "pong"}',
    '{"type": "pong", "x": {"__proto__": 1, "__proto__": 2}}',
    '{"type": "pong", "x": 9007199254740993}',
    '{"type": "pong", "x": -1e999}',
    '{"type": "pong", "x": ' + "[" * 8 + "]" * 8 + "}",
    json.dumps({"type": "pong", **{str(n): n for n in range(64)}}),
    '{"type": "watch", "job_id": "a", "version": ' + "9" * 5000 + "}",
    "[" * 16_000,
    '{"a":' * 3_000,
    '{"type": "pong", "x": "' + "x" * frames.MAX_FRAME + '"}',
    '{"type": "pong", "x": "' + "é" * (frames.MAX_FRAME // 2) + '"}',
    "\ud800",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_not_of_the_protocol_is_nothing(text):
    assert decode(text) is None


@given(
    st.text()
    | st.recursive(st.none() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)).map(json.dumps)
)
def test_no_text_raises(text):
    decode(text)


def test_the_commands():
    assert decode('{"type": "pong"}') == Pong()
    assert decode('{"type": "watch", "job_id": "a/b é"}') == Watch("a/b é", 0)
    assert decode('{"type": "watch", "job_id": "a", "version": 7, "unknown": {}}') == Watch("a", 7)
    assert decode('{"type": "unwatch", "job_id": "a"}') == Unwatch("a")


def test_a_watch_may_bring_a_token_which_is_not_shown():
    watch = decode('{"type": "watch", "job_id": "a", "token": "immortus.secret"}')
    assert watch == Watch("a", 0, "immortus.secret")
    assert "secret" not in repr(watch)


def test_a_size_is_counted_in_bytes():
    assert [frames.size(text) for text in ("ab", "é", "🦄", "\ud800")] == [2, 2, 4, 3]
