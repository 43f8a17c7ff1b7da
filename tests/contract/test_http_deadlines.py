"""However slowly a client sends, and whatever it leaves out, its time is limited."""

import time

import pytest
from echo_server import (
    CHUNKED,
    GET,
    POST,
    connected,
    drip,
    read_answer,
    read_to_end,
    refusal,
    served,
)

from llm_canary.server import http_protocol
from llm_canary.server.http_protocol import HttpProtocol


@pytest.fixture(scope="module")
def server():
    with served() as echo:
        yield echo


@pytest.fixture
def echo(server):
    server.asked.clear()
    server.left.clear()
    server.go_on.clear()
    yield server
    server.go_on.set()


@pytest.mark.parametrize(
    ("begin", "drop"),
    [
        pytest.param(b"GET /", b"a", id="request-line"),
        pytest.param(GET, b"x: y\r\n", id="header"),
        pytest.param(b"\r\n", b"\r\n", id="empty-lines"),
    ],
)
def test_a_header_has_a_total_deadline_however_it_drips(echo, monkeypatch, begin, drop):
    monkeypatch.setattr(http_protocol, "HEADER_TIMEOUT_S", 0.3)
    with connected(echo, begin) as connection:
        began = time.monotonic()
        assert refusal(drip(connection, drop)) == (408, "request_timeout")
        assert 0.2 < time.monotonic() - began < 1.0
    assert not echo.asked


@pytest.mark.parametrize(
    "head",
    [
        POST + b"content-length: 5000\r\n\r\n",
        CHUNKED,
        POST + b"content-length: 9\r\nexpect: x\r\n\r\n",
    ],
    ids=["length", "chunked", "nothing-comes"],
)
def test_a_body_has_a_total_deadline_however_it_drips(echo, monkeypatch, head):
    monkeypatch.setattr(http_protocol, "BODY_TIMEOUT_S", 0.3)
    drop = b"" if b"expect" in head else b"1\r\na\r\n"
    with connected(echo, head) as connection:
        began = time.monotonic()
        assert refusal(drip(connection, drop)) == (408, "request_timeout")
        assert 0.2 < time.monotonic() - began < 1.0
    assert echo.left.wait(2), "the application was not told"


def test_a_deadline_follows_a_long_body_by_a_short_one_for_the_header(echo, monkeypatch):
    monkeypatch.setattr(http_protocol, "HEADER_TIMEOUT_S", 0.3)
    with connected(echo, POST + b"content-length: 4\r\n\r\nab") as connection:
        time.sleep(0.05)
        connection.sendall(b"cd")
        assert read_answer(connection) == (200, b"/a=abcd")
        time.sleep(0.4)  # between requests the deadline of neither counts
        connection.sendall(b"GET")
        began = time.monotonic()
        assert refusal(read_to_end(connection)) == (408, "request_timeout")
        assert time.monotonic() - began < 1.0


def test_a_connection_that_says_nothing_is_closed_like_one_that_is_kept(echo, monkeypatch):
    original = HttpProtocol.__init__

    def impatient(self, *arguments, **options):
        original(self, *arguments, **options)
        self.timeout_keep_alive = 0.2

    monkeypatch.setattr(HttpProtocol, "__init__", impatient)
    with connected(echo) as connection:
        assert read_to_end(connection) == b""


def test_a_refused_upload_does_not_go_on_for_ever(echo, monkeypatch):
    monkeypatch.setattr(http_protocol, "BODY_TIMEOUT_S", 0.3)
    head = b"POST /early HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9000000\r\n\r\n"
    with connected(echo, head) as connection:
        assert read_answer(connection)[0] == 413
        assert drip(connection, b"x" * 100) == b"", "a second answer nobody asked for"


def test_time_for_the_next_request_does_not_run_while_one_is_answered(echo, monkeypatch):
    monkeypatch.setattr(http_protocol, "HEADER_TIMEOUT_S", 0.15)
    slow = b"GET /slow HTTP/1.1\r\nhost: localhost\r\n\r\n"
    with connected(echo, slow + b"GET /a HTTP") as connection:
        time.sleep(0.5)
        echo.go_on.set()
        assert read_answer(connection) == (200, b"/slow=")
        connection.sendall(b"/1.1\r\nhost: localhost\r\n\r\n")
        assert read_answer(connection) == (200, b"/a=")


def test_requests_in_one_piece_need_no_timer(echo, monkeypatch):
    made = []
    original = HttpProtocol._expect_within
    monkeypatch.setattr(
        HttpProtocol,
        "_expect_within",
        lambda self, seconds: (made.append(seconds), original(self, seconds)),
    )
    with connected(echo) as connection:
        for _ in range(20):
            connection.sendall(POST + b"content-length: 3\r\n\r\nabc")
            assert read_answer(connection) == (200, b"/a=abc")

    assert not made
