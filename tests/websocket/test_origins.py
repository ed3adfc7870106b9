"""Origins: exactly the pages of this site, and those that are named, may open sockets."""

from __future__ import annotations

import pytest

from immortus_channels.websocket import origins
from immortus_channels.websocket.origins import is_allowed, log_refusal


def handshake(origin=None, host="example.com", scheme="ws", **headers):
    sent = [(b"host", host.encode())] if host else []
    sent += [(b"origin", value.encode("latin-1")) for value in ([origin] if isinstance(origin, str) else origin or [])]
    sent += [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "websocket", "scheme": scheme, "headers": sent, "server": ("127.0.0.1", 8000)}


@pytest.fixture(autouse=True)
def _hosts(settings):
    settings.ALLOWED_HOSTS = ["example.com", "127.0.0.1"]


@pytest.mark.parametrize(
    ("origin", "scope", "allowed"),
    [
        ("http://example.com", {}, True),
        ("http://EXAMPLE.com", {}, True),
        ("http://example.com:80", {}, True),
        ("https://example.com", {"scheme": "wss"}, True),
        ("https://example.com:443", {"scheme": "wss"}, True),
        ("http://example.com:8000", {"host": "example.com:8000"}, True),
        ("https://example.com", {}, False),
        ("http://example.com", {"scheme": "wss"}, False),
        ("http://example.com:8080", {}, False),
        ("http://example.com", {"host": "example.com:8000"}, False),
        ("http://sub.example.com", {}, False),
        ("http://example.com.evil.org", {}, False),
        ("http://evilexample.com", {}, False),
        ("http://evil.org", {}, False),
        ("http://evil.org", {"host": "evil.org"}, False),
        ("http://example.com.", {}, False),
        ("http://xn--exmple-cua.com", {}, False),
        ("http://ex\xe4mple.com", {}, False),
        ("http://example.com@evil.org", {}, False),
        ("http://user@example.com", {}, False),
        ("http://example.com/", {}, False),
        ("http://example.com/path", {}, False),
        ("http://example.com:99999", {}, False),
        ("http://[::1", {}, False),
        ("ws://example.com", {}, False),
        ("file://", {}, False),
        ("null", {}, False),
        ("http://*.example.com", {"host": "*.example.com"}, False),
        ("", {}, False),
        (["http://example.com", "http://evil.org"], {}, False),
        (["http://example.com", "http://example.com"], {}, False),
        (None, {}, True),
        (None, {"cookie": "theme=dark"}, True),
        (None, {"cookie": "theme=dark; sessionid=abc"}, False),
        ("http://127.0.0.1:8000", {"host": None}, True),
    ],
)
def test_the_table_of_origins(origin, scope, allowed):
    assert is_allowed(handshake(origin, **scope)) is allowed


def test_named_origins_are_allowed_exactly(settings):
    settings.IMMORTUS_ALLOWED_ORIGINS = [
        "https://app.example.org",
        "http://localhost:5173",
        "*",
        "https://*.example.org",
    ]
    assert is_allowed(handshake("https://app.example.org"))
    assert is_allowed(handshake("http://localhost:5173"))
    for origin in ("http://app.example.org", "https://b.example.org", "http://localhost", "http://evil.org"):
        assert not is_allowed(handshake(origin))


SHELLS = ["capacitor://localhost", "ionic://localhost", "tauri://localhost", "app://.", "chrome-extension://abcdef"]


@pytest.mark.parametrize("shell", SHELLS)
def test_an_app_s_own_scheme_is_allowed_where_it_is_named_as_it_is_sent(settings, shell):
    assert not is_allowed(handshake(shell))
    settings.IMMORTUS_ALLOWED_ORIGINS = [shell]
    assert is_allowed(handshake(shell))
    assert is_allowed(handshake("http://example.com")), "the site's own pages as ever"
    for other in (f"{shell}.evil.org", f"{shell}:80", f"{shell}/", f"x{shell}", "https://localhost", "null", ""):
        assert not is_allowed(handshake(other)), other


def test_an_app_s_origin_is_compared_as_text_except_for_its_scheme_s_case(settings):
    settings.IMMORTUS_ALLOWED_ORIGINS = ["Capacitor://localhost", "app://Bundle:1"]
    assert is_allowed(handshake("capacitor://localhost"))
    assert not is_allowed(handshake("capacitor://LOCALHOST"))
    assert is_allowed(handshake("app://Bundle:1"))
    assert not is_allowed(handshake("app://Bundle"))


@pytest.mark.parametrize(
    "text",
    [
        *(
            "file://",
            "file:///x",
            "ws://example.com",
            "wss://example.com",
            "ftp://example.com",
            "null",
            "1app://x",
            "://x",
        ),
        *(
            "capacitor://",
            "capacitor:localhost",
            "capacitor://a@b",
            "capacitor://*",
            "capacitor://a b",
            "capacitor://a\n",
        ),
        *("capacitor://a/", "capacitor://a?b", "capacitor://a#b"),
    ],
)
def test_what_is_no_page_s_origin_is_allowed_to_nobody(settings, text):
    assert origins.parse(text) is None
    settings.IMMORTUS_ALLOWED_ORIGINS = [text]
    assert not is_allowed(handshake(text))


def test_where_any_host_is_allowed_named_origins_are_the_only_ones(settings):
    settings.ALLOWED_HOSTS = ["*"]
    assert is_allowed(handshake("http://evil.org", host="evil.org")), "nothing says which pages are ours"
    settings.IMMORTUS_ALLOWED_ORIGINS = ["https://app.example.org"]
    assert not is_allowed(handshake("http://evil.org", host="evil.org"))
    assert not is_allowed(handshake("http://example.com"))
    assert is_allowed(handshake("https://app.example.org"))


def test_a_proxy_is_believed_only_as_the_settings_say(settings):
    behind = {"host": "127.0.0.1:8000", "x_forwarded_proto": "https", "x_forwarded_host": "example.com"}
    assert not is_allowed(handshake("https://example.com", **behind))
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    assert not is_allowed(handshake("https://example.com", **behind))
    settings.USE_X_FORWARDED_HOST = True
    assert is_allowed(handshake("https://example.com", **behind))
    assert not is_allowed(handshake("http://example.com", **behind))


def test_a_header_with_an_underscore_does_not_pass_for_a_proxys(settings):
    settings.USE_X_FORWARDED_HOST = True
    scope = handshake("http://example.com", host="127.0.0.1:8000")
    scope["headers"].append((b"x_forwarded_host", b"example.com"))
    assert not is_allowed(scope)


def test_a_session_cookie_is_seen_in_any_of_several_headers():
    """HTTP/2 lets a client split them (RFC 9113, section 8.2.3)."""
    scope = handshake(cookie="theme=dark")
    scope["headers"].append((b"cookie", b"sessionid=abc"))
    assert not is_allowed(scope)


def test_a_content_type_of_any_length_changes_nothing():
    scope = handshake("http://example.com", content_type="text/html; charset=" + 20_000 * "x")
    assert is_allowed(scope)


def test_a_refusal_is_logged_once_with_its_cure(caplog):
    origins._logged.clear()
    for _ in range(3):
        log_refusal(handshake("http://evil.org"))
    assert len(caplog.records) == 1
    assert "IMMORTUS_ALLOWED_ORIGINS" in caplog.text


def test_what_a_stranger_sends_cannot_write_lines_or_colours_into_the_log(caplog):
    origins._logged.clear()
    log_refusal(handshake("http://evil.org\x85", host="a\x1b[31m\x85" + 6_000 * "b"))
    line = caplog.records[0].getMessage()
    assert line.isprintable()
    assert len(line) < 700
