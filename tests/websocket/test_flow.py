"""Flow control: a slow reader gets fewer documents, a dead one is let go, a greedy one is stopped."""

from __future__ import annotations

from immortus_channels.access.limits import Limits
from immortus_channels.websocket.flow import MAX_AGE, NO_PONG, TOO_SLOW, Flow

LIMITS = Limits()
HOUR = 3600.0


def flow(**limits):
    return Flow(Limits(**limits), now=0.0, age=4 * HOUR)


def test_a_ping_goes_out_every_twenty_seconds():
    socket = flow()
    assert not socket.needs_ping(19.9)
    assert socket.next_at() == 20.0
    assert socket.needs_ping(20.0)
    socket.pinged(20.0)
    assert not socket.needs_ping(39.9)
    assert socket.needs_ping(40.0)


def test_silence_ends_the_socket_and_any_frame_is_a_sign_of_life():
    socket = flow()
    assert socket.verdict(29.9) is None
    assert socket.verdict(30.0) == NO_PONG
    socket.heard(29.0)
    assert socket.verdict(58.9) is None
    assert socket.verdict(59.0) == NO_PONG


def test_after_a_window_of_unread_bytes_nothing_but_one_ping_is_sent():
    socket = flow()
    socket.sent(LIMITS.window - 1, now=1.0)
    assert not socket.is_choked
    socket.sent(1, now=1.0)
    assert socket.is_choked
    assert socket.needs_ping(1.0)
    socket.pinged(1.0)
    assert not socket.needs_ping(25.0)
    socket.ponged()
    assert not socket.is_choked


def test_a_pong_acknowledges_what_was_sent_before_its_ping_and_no_more():
    socket = flow()
    socket.pinged(0.0)
    socket.sent(LIMITS.window, now=1.0)
    socket.pinged(1.0)
    socket.ponged()
    assert socket.is_choked, "the older ping was answered"
    socket.ponged()
    assert not socket.is_choked


def test_a_pong_nobody_asked_for_acknowledges_nothing():
    socket = flow()
    socket.sent(LIMITS.window, now=1.0)
    socket.ponged()
    assert socket.is_choked


def test_whoever_does_not_read_for_forty_seconds_is_too_slow_not_silent():
    socket = flow()
    socket.sent(LIMITS.window, now=5.0)
    socket.pinged(5.0)
    assert socket.verdict(44.9) is None
    assert socket.next_at() == 45.0
    assert socket.verdict(45.0) == TOO_SLOW


def test_no_socket_lives_for_ever():
    socket = flow()
    socket.heard(4 * HOUR)
    assert socket.verdict(4 * HOUR - 1) is None
    assert socket.verdict(4 * HOUR) == MAX_AGE
    assert socket.next_at() <= 4 * HOUR


def test_a_burst_is_allowed_a_flood_is_not():
    socket = flow(frames_at_once=10, frames_per_second=2.0)
    assert all(socket.heard(0.0) for _ in range(10))
    assert not socket.heard(0.0)
    assert socket.heard(1.0), "two a second are earned"


def test_asking_again_in_time_always_has_a_reason():
    socket, now = flow(), 0.0
    while now < 200.0 and socket.verdict(now) is None:
        if socket.needs_ping(now):
            socket.pinged(now)
            socket.heard(now)
            socket.ponged()
        assert socket.next_at() > now
        now = socket.next_at()


def test_bytes_are_counted_like_frames():
    socket = flow(bytes_at_once=1000, bytes_per_second=100.0)
    assert socket.heard(0.0, 900)
    assert not socket.heard(0.0, 200)
    assert socket.heard(1.0, 200), "a hundred a second are earned"
