"""No secret that a server is given, makes or is sent stands where somebody could find it.

A server of its own process is sent good and bad requests with marked secrets; its upstream repeats
the key that it was sent in every error. Then every file that the server has written, its database,
its log, and every answer and page is searched. The marks look like nobody's keys, so that the log's
scrubber cannot know them by their form.
"""

import socket
import sqlite3
import time
from contextlib import closing

import httpx
import pytest
from echo_upstream import echo
from simulated_upstream import SimulatedUpstream

from tests.support.oidc_provider import CLIENT_ID, CLIENT_SECRET, SimulatedOidcProvider
from tests.support.server import RunningServer

MARKS = {
    "PROVIDER_KEY": "zqprovider5d1xv",
    "APP_KEY": "zqapp77c0xv",
    "ADMIN_KEY": "zqadmin91e4xv",
    "OIDC_SECRET": CLIENT_SECRET,
}
PASSWORD = "zqpassword3b8xv"
IN_THE_FILE = "zqplain0c3xv"
CONFIG = """
version: 1
upstreams:
  up:
    kind: openai
    base_url: "{upstream}"
    api_key: "{key}"
    timeouts: {{connect: 1s, first_byte: 400ms, idle: 400ms, total: 2s}}
    breaker: {{failures: 0}}
  gone: {{kind: openai, base_url: "http://127.0.0.1:1/v1", api_key: "${{PROVIDER_KEY}}"}}
routes:
  bot: {{control: {{upstream: up, model: m}}, content: {{store: full}}}}
  gone-bot: {{control: {{upstream: gone, model: m}}, content: {{store: full}}}}
keys:
  app: {{key: "${{APP_KEY}}"}}
  boss: {{key: "${{ADMIN_KEY}}", role: admin}}
web:
  oidc: {{issuer: "{issuer}", client_id: {client}, client_secret: "${{OIDC_SECRET}}", default_role: reviewer}}
default_upstream: up
"""
WAYS = (
    *("well", "error 400", "error 401", "error 403", "error 429", "error 500", "html"),
    *("error in 200", "other error", "dies", "hangs", "error event", "no end"),
)
CHAT = "/v1/chat/completions"


class Repeating(SimulatedUpstream):
    """Says in every error what key it was sent; `keys` are those that came."""

    def __init__(self):
        self.keys = set()
        super().__init__(self.say)

    async def say(self, got, client):
        sent = got.headers.get("authorization", "")
        self.keys.add(sent)
        way = got.headers.get("x-client-request-id", "well")
        if way != "well":
            key = sent.partition(" ")[2]
            got.body += f'{{"authorization": "{sent}", "code": "{key}"}}'.encode()
            if way == "error 429":
                error = {"message": sent, "type": key, "param": key, "code": key}
                await client.answer({"error": error}, status=429)
                return
        await echo(got, client)


def config(upstream, provider, key="${PROVIDER_KEY}"):
    return CONFIG.format(
        upstream=upstream.base_url, issuer=provider.origin, client=CLIENT_ID, key=key
    )


def bearer(key):
    return {"authorization": f"Bearer {key}"}


def cookie(token):
    return {"cookie": f"llm_canary_session={token}"}


def drive_gateway(client):
    """Send what is well, what goes wrong upstream, and keys that are wrong in every way."""
    app = MARKS["APP_KEY"]
    answers = []

    def ask(path=CHAT, *, model="bot", stream=False, **headers):
        body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "stream": stream}
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            answers.append(client.post(path, json=body, headers=sent))
        except httpx.HTTPError:
            return None
        return answers[-1]

    for way in WAYS:
        for stream in (False, True):
            ask(stream=stream, x_client_request_id=way, **bearer(app))
        # What succeeds at an endpoint that the gateway does not know stays byte for byte.
        if way.startswith(("error 4", "error 5", "other")):
            ask("/v1/moderations", x_client_request_id=way, **bearer(app))
    ask(model="gone-bot", **bearer(app))
    ask(model="nobody", **bearer(app))
    for wrong in (f"{app}x", app[:-1], app * 500, app.upper(), f" {app} {app}", f"{app}\tx"):
        assert ask(**bearer(wrong)) is None or answers[-1].status_code in (200, 401, 431)
        client.get("/api/v1/keys", headers=bearer(wrong))
    ask(authorization=f"Basic {app}")
    ask(authorization=app)
    ask(f"{CHAT}?api_key={app}")
    ask(x_api_key=app)
    ask(cookie=f"llm_canary_session={app}")
    token = ask(**bearer(app)).headers["x-canary-feedback-url"].partition("?")[2].partition("=")[2]
    for each in (token, token[:-1], f"{token}A", token * 40):
        body = {"token": each, "metric": "thumbs", "value": True}
        answers.append(client.post("/v1/feedback", json=body))
        answers.append(client.post(f"/v1/feedback?token={each}", json={"value": True}))
    return answers, token


def send_broken(server):
    """Send heads that no parser takes, with a key in them, and one that never ends."""
    key = MARKS["APP_KEY"]
    for head in (
        f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-length: x\r\n\r\n",
        f"GET /\x00{key} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n\r\n",
        f"Bearer {key}\r\n\r\n",
        f"GET / HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key * 9_000}\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
            connection.sendall(head.encode())
            connection.settimeout(2)
            try:
                yield connection.recv(65_536).decode("latin-1")
            except OSError:
                yield ""


def log_in(client, **form):
    return client.post("/login", data=form, headers={"origin": str(client.base_url).rstrip("/")})


def drive_pages(client, provider):
    """Log in rightly and wrongly, by password, key and provider; return answers and tokens."""
    answers, tokens = [], []
    for form in (
        {"name": "rita", "password": PASSWORD},
        {"name": "rita", "password": f"{PASSWORD}x"},
        {"name": "nobody", "password": PASSWORD * 20},
        {"key": MARKS["ADMIN_KEY"]},
        {"key": MARKS["ADMIN_KEY"][:-1]},
    ):
        answer = log_in(client, **form)
        answers.append(answer)
        tokens += [value for name, value in answer.cookies.items() if "session" in name]
        client.cookies.clear()
    for refuses in (None, "access_denied"):
        provider.refuses = refuses
        answers.append(client.get("/login/oidc", follow_redirects=True))
        tokens += [value for name, value in client.cookies.items() if name.endswith("session")]
        client.cookies.clear()
    answers.append(client.get("/", headers=cookie(f"{tokens[0]}x")))
    return answers, tokens


def read_pages(client, token):
    pages = ("/", "/settings", "/access", "/access/keys", "/access/audit", "/access/audit.csv")
    pages += ("/samples", "/history", "/alerts", "/calibration", "/review", "/nothing-here")
    return [client.get(path, headers=cookie(token)) for path in pages]


def read_api(client):
    paths = client.get("/openapi.json").json()["paths"]
    gets = [path for path, methods in paths.items() if "get" in methods and "{" not in path]
    gets += ["/openapi.json", "/metrics", "/readyz", "/healthz", "/v1/models"]
    return [client.get(path, headers=bearer(MARKS["ADMIN_KEY"])) for path in gets]


def crash(server, token):
    """Make handlers fail: what they read is not what can be there."""
    asked = [("/api/v1/keys", bearer(MARKS["ADMIN_KEY"])), ("/access/keys", cookie(token))]
    limits = """'{"requests_per_minute": "many"}'"""
    database = sqlite3.connect(server.directory / "llm_canary.db", timeout=10, isolation_level=None)
    with closing(database):
        database.execute(f"UPDATE api_key SET limits = {limits}")
        crashed = [httpx.get(f"{server.url}{path}", headers=headers) for path, headers in asked]
        database.execute("UPDATE api_key SET limits = NULL")
    assert [each.status_code for each in crashed] == [500, 500]
    return crashed


def reload_broken(server, upstream, provider):
    """Put files in place that cannot be used, one with a secret in plain text."""
    whole = config(upstream, provider)
    for broken in (
        config(upstream, provider, key=IN_THE_FILE),
        whole.replace("http://127.0.0.1:1/v1", f"http://user:{IN_THE_FILE}@127.0.0.1/v1"),
        whole.replace("role: admin", f"role: {IN_THE_FILE}"),
        f"{whole}\n{IN_THE_FILE}: [",
    ):
        before = server.log().count("refused")
        server.config_path.write_text(broken)
        ends = time.monotonic() + 20
        while server.log().count("refused") == before:
            assert time.monotonic() < ends, server.log()
            time.sleep(0.1)
    server.config_path.write_text(whole)


def written(directory):
    return [
        (str(path.relative_to(directory)), path.read_bytes().decode("latin-1"))
        for path in directory.rglob("*")
        if path.is_file() and path.name != "canary.yaml"
    ]


def found(marks, texts):
    """Return the places of marks; of what was cut off its beginning is enough."""
    begins = {mark[:12] for mark in marks}
    return sorted(
        {(where, mark) for where, text in texts for mark in begins if mark.lower() in text.lower()}
    )


@pytest.fixture
def upstream():
    simulated = Repeating().start()
    yield simulated
    simulated.stop()


@pytest.mark.slow
def test_no_secret_is_found_in_anything_that_a_server_writes_or_says(tmp_path, upstream):
    with SimulatedOidcProvider() as provider:
        server = RunningServer(tmp_path, config(upstream, provider), **MARKS)
        account = [*("accounts", "create", "rita", "--role", "reviewer", "--password-stdin")]
        assert server.cli("db", "migrate").returncode == 0
        assert server.cli(*account, stdin=PASSWORD).returncode == 0
        with server, httpx.Client(base_url=server.url, timeout=10) as client:
            made = client.post(
                "/api/v1/keys", json={"name": "made"}, headers=bearer(MARKS["ADMIN_KEY"])
            ).json()["key"]
            answers, feedback = drive_gateway(client)
            broken = list(send_broken(server))
            logins, sessions = drive_pages(client, provider)
            answers += logins
            answers += read_pages(client, sessions[1]) + read_api(client)
            answers += crash(server, sessions[1])
            reload_broken(server, upstream, provider)
            answers += read_pages(client, sessions[1]) + read_api(client)
            shown = [server.cli("config", "export").stdout, server.cli("config", "check").stdout]
    texts = written(tmp_path)
    texts += [(f"{each.request.method} {each.request.url.path}", each.text) for each in answers]
    texts += [("broken", text) for text in broken] + [("command", text) for text in shown]
    marks = [*MARKS.values(), PASSWORD, IN_THE_FILE, made.rpartition("_")[2], feedback, *sessions]

    assert found(marks, texts) == []
    assert len(sessions) == 3
    assert {each.status_code for each in answers} >= {200, 202, 400, 401, 429, 500, 502}
    assert upstream.keys == {f"Bearer {MARKS['PROVIDER_KEY']}"}
    assert any("zqprov" not in text and "(hidden)" in text for _, text in texts)
    assert "Traceback" in server.log()
