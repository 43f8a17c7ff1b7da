"""HTTP by hand: what no client library would send is refused, and never misread."""

import time

import pytest
from echo_server import (
    CHUNKED,
    GET,
    POST,
    connected,
    read_answer,
    read_to_end,
    refusal,
    served,
)
from support.server import RunningServer

HIDDEN = b"GET /hidden HTTP/1.1\r\nhost: localhost\r\n\r\n"
CONFIG = """
version: 1
upstreams:
  up: {kind: openai, base_url: "http://127.0.0.1:9/v1"}
routes:
  bot:
    control: {upstream: up, model: model-a}
"""


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
    "data",
    [
        pytest.param(
            POST + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            id="both-lengths",
        ),
        pytest.param(
            POST + b"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
            id="both-lengths-the-other-way",
        ),
        pytest.param(
            POST + b"content-length: 5\r\ncontent-length: 0\r\n\r\n", id="two-content-lengths"
        ),
        pytest.param(POST + b"content-length: 5, 0\r\n\r\n", id="a-list-of-content-lengths"),
        pytest.param(POST + b"content-length: +5\r\n\r\n", id="plus"),
        pytest.param(POST + b"content-length: -5\r\n\r\n", id="minus"),
        pytest.param(POST + b"content-length: 1_0\r\n\r\n", id="underscore"),
        pytest.param(POST + b"content-length: 0x5\r\n\r\n", id="hexadecimal"),
        pytest.param(POST + b"content-length:\r\n\r\n", id="empty-content-length"),
        pytest.param(POST + b"content-length: " + b"9" * 30 + b"\r\n\r\n", id="overflow"),
        pytest.param(POST + b"content-length: \x0b5\r\n\r\n", id="vertical-tab"),
        pytest.param(CHUNKED + b"xyz\r\nabc\r\n0\r\n\r\n", id="chunk-size-no-number"),
        pytest.param(CHUNKED + b"-1\r\nabc\r\n0\r\n\r\n", id="chunk-size-minus"),
        pytest.param(CHUNKED + b"0x3\r\nabc\r\n0\r\n\r\n", id="chunk-size-0x"),
        pytest.param(CHUNKED + b"3 \r\nabc\r\n0\r\n\r\n", id="chunk-size-space"),
        pytest.param(CHUNKED + b"f" * 18 + b"\r\nabc\r\n0\r\n\r\n", id="chunk-size-overflow"),
        pytest.param(CHUNKED + b"3\nabc\r\n0\r\n\r\n", id="chunk-size-bare-lf"),
        pytest.param(CHUNKED + b"3\r\nabc\n0\r\n\r\n", id="chunk-end-bare-lf"),
        pytest.param(CHUNKED + b"3\r\nabc0\r\n\r\n", id="chunk-without-end"),
        pytest.param(CHUNKED + b"3;a\nb\r\nabc\r\n0\r\n\r\n", id="chunk-extension-lf"),
        pytest.param(CHUNKED + b"0\r\ncontent-length: 7\r\n\r\n", id="length-in-the-trailer"),
        pytest.param(
            POST + b"transfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n", id="chunked-not-last"
        ),
        pytest.param(
            POST + b"transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n",
            id="two-transfer-codings",
        ),
        pytest.param(
            POST + b"transfer-encoding : chunked\r\n\r\n0\r\n\r\n", id="space-before-colon"
        ),
        pytest.param(
            POST + b"transfer-encoding\t: chunked\r\n\r\n0\r\n\r\n", id="tab-before-colon"
        ),
        pytest.param(POST + b"transfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n", id="folded"),
        pytest.param(
            b"POST /a HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", id="chunked-in-1.0"
        ),
        pytest.param(b"GET /a HTTP/1.1\nhost: localhost\n\n", id="bare-lf"),
        pytest.param(GET + b"x: y\n\r\n", id="bare-lf-in-the-header"),
        pytest.param(b"GET /a HTTP/1.1\r\nhost: localhost\rx: y\r\n\r\n", id="bare-cr"),
        pytest.param(GET + b"x: a\r\n b\r\n\r\n", id="obs-fold"),
        pytest.param(b"GET /a HTTP/1.1\r\n host: localhost\r\n\r\n", id="fold-first"),
        pytest.param(GET + b"x y: z\r\n\r\n", id="space-in-a-name"),
        pytest.param(GET + b": z\r\n\r\n", id="no-name"),
        pytest.param(GET + b"x: a\x00b\r\n\r\n", id="nul"),
        pytest.param(GET + b"host: other\r\n\r\n", id="two-hosts"),
        pytest.param(b"GET /a HTTP/1.1\r\n\r\n", id="no-host"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="http-2"),
        pytest.param(b"CONNECT other:1 HTTP/1.1\r\nhost: localhost\r\n\r\n", id="connect"),
        pytest.param(bytes.fromhex("16030100c8010000c40303"), id="tls"),
    ],
)
def test_a_request_that_two_servers_could_read_differently_is_refused(echo, data):
    with connected(echo, data + HIDDEN) as connection:
        assert refusal(read_to_end(connection)) in ((400, "invalid_http"), (400, "invalid_host"))
    assert not echo.asked


@pytest.mark.parametrize("coding", [b"gzip, chunked", b"gzip", b"identity", b"xchunked"])
def test_other_transfer_codings_are_not_passed_on_undecoded(echo, coding):
    data = POST + b"transfer-encoding: %b\r\n\r\n3\r\nabc\r\n0\r\n\r\n" % coding

    with connected(echo, data + HIDDEN) as connection:
        assert refusal(read_to_end(connection)) == (501, "transfer_encoding")
    assert not echo.asked


@pytest.mark.parametrize(
    ("length", "body"),
    [
        (b"content-length: %d" % len(HIDDEN), HIDDEN),
        (b"transfer-encoding: chunked", b"%x\r\n%b\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN)),
    ],
    ids=["length", "chunked"],
)
@pytest.mark.parametrize("pause_s", [0, 0.05])
@pytest.mark.parametrize("offer", [b"h2c", b"websocket"])
def test_a_body_after_an_offered_upgrade_is_no_second_request(echo, length, body, pause_s, offer):
    # Java's HttpClient offers h2c with every first request.
    head = POST + b"connection: upgrade, http2-settings\r\nupgrade: %b\r\n%b\r\n\r\n"
    with connected(echo, head % (offer, length)) as connection:
        time.sleep(pause_s)
        connection.sendall(body)
        assert read_answer(connection) == (200, b"/a=" + HIDDEN)
        connection.sendall(GET + b"\r\n")
        assert read_answer(connection) == (200, b"/a=")

    assert [(method, path, body) for method, path, _, body in echo.asked] == [
        ("POST", "/a", HIDDEN),
        ("GET", "/a", b""),
    ]


def test_many_offered_upgrades_in_one_piece_are_each_a_request(echo):
    one = GET + b"connection: upgrade\r\nupgrade: h2c\r\n\r\n"
    with connected(echo, one * 300) as connection:
        for _ in range(300):
            connection.settimeout(5)
            assert connection.recv(len(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n/a="))
    assert len(echo.asked) == 300


def test_trailers_stay_out_of_the_header(echo):
    with connected(echo, CHUNKED + b"3\r\nabc\r\n0\r\nauthorization: x\r\n\r\n") as connection:
        assert read_answer(connection) == (200, b"/a=abc")

    assert set(echo.asked[0][2]) == {b"host", b"transfer-encoding"}


@pytest.mark.parametrize(
    ("data", "body"),
    [
        pytest.param(b"GET /a HTTP/1.0\r\n\r\n", b"/a=", id="http-1.0-without-host"),
        pytest.param(b"\r\n\r\n" + GET + b"\r\n", b"/a=", id="empty-lines-first"),
        pytest.param(CHUNKED + b"3;name=value\r\nabc\r\n0\r\n\r\n", b"/a=abc", id="extension"),
        pytest.param(
            POST + b"Transfer-Encoding: ChUnKeD\r\n\r\n3\r\nabc\r\n0\r\n\r\n", b"/a=abc", id="case"
        ),
        pytest.param(POST + b"content-length: 3  \r\n\r\nabc", b"/a=abc", id="trailing-space"),
        pytest.param(GET + b"content-length: 3\r\n\r\nabc", b"/a=abc", id="get-with-a-body"),
        pytest.param(GET + b"x: \xff\r\n\r\n", b"/a=", id="eight-bits"),
        pytest.param(GET + b"x: " + b"a" * 60_000 + b"\r\n\r\n", b"/a=", id="60-kB"),
    ],
)
def test_what_is_odd_but_clear_is_served(echo, data, body):
    with connected(echo, data) as connection:
        assert read_answer(connection) == (200, body)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_request_in_small_pieces_is_the_same_request(echo, size):
    data = POST + b"content-length: 4\r\n\r\nabcd" + CHUNKED + b"3\r\nabc\r\n0\r\n\r\n"
    with connected(echo) as connection:
        for start in range(0, len(data), size):
            connection.sendall(data[start : start + size])
            time.sleep(0.001)
        seen = b""
        while not seen.endswith(b"/a=abc"):
            seen += connection.recv(65536)
    assert [asked[3] for asked in echo.asked] == [b"abcd", b"abc"]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(GET + b"x: " + b"a" * 70_000 + b"\r\n\r\n", id="one-field"),
        pytest.param(GET + b"x: a\r\n" * 12_000 + b"\r\n", id="many-fields"),
        pytest.param(b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n", id="target"),
        pytest.param(GET + b"x: " + b"a" * 3_000_000, id="a-field-without-end"),
        pytest.param(GET + b"a" * 3_000_000, id="a-name-without-end"),
        pytest.param(b"\r\n" * 100_000, id="nothing-but-empty-lines"),
        pytest.param(CHUNKED + b"0\r\nx: " + b"a" * 3_000_000, id="trailer"),
    ],
)
def test_a_header_over_64_kib_is_a_431_that_arrives(echo, data):
    with connected(echo) as connection:
        try:
            for start in range(0, len(data), 16_384):
                connection.sendall(data[start : start + 16_384])
                time.sleep(0.001)
        except OSError:
            pytest.fail("the connection was closed under the client's hands")
        assert refusal(read_to_end(connection)) == (431, "header_too_large")
    assert not echo.asked


def test_who_answers_learns_that_the_client_left_also_before_a_pipelined_request(echo):
    with connected(echo, b"GET /wait HTTP/1.1\r\nhost: localhost\r\n\r\n" + GET + b"\r\n"):
        time.sleep(0.05)

    assert echo.left.wait(2)


def test_nonsense_behind_a_request_never_ends_up_in_its_answer(echo):
    slow = b"GET /slow HTTP/1.1\r\nhost: localhost\r\n\r\n"
    with connected(echo, slow + b"nonsense\r\n\r\n") as connection:
        assert read_to_end(connection) == b""


def test_the_server_that_users_start_speaks_this_protocol(tmp_path):
    data = POST + b"content-length: +5\r\n\r\n"
    with RunningServer(tmp_path, CONFIG) as server, connected(server, data) as connection:
        assert refusal(read_to_end(connection)) == (400, "invalid_http")
