"""No secret that a server keeps in memory shows when what holds it is shown."""

from __future__ import annotations

import asyncio
import logging

import httpx
import psycopg
import pytest

from llm_canary.config.load import load
from llm_canary.config.secrets import resolve
from llm_canary.config.settings import Settings
from llm_canary.errors import StorageError
from llm_canary.judging.models import ChatJudge
from llm_canary.opaque import Opaque
from llm_canary.providers.litellm_bridge import LiteLlmWire
from llm_canary.providers.model_calls import Target
from llm_canary.routing.table import Upstream
from llm_canary.rubric.load import rubric_of
from llm_canary.rubric.schema import JudgeEntry
from llm_canary.server.run import create_app
from llm_canary.storage.engine import make_engine
from llm_canary.storage.migrate import upgrade
from llm_canary.storage.repositories.installation import KEY_SECRET, UNIT_SECRET, WEB_SECRET
from tests.support.reachable import shown
from tests.support.upstream import SimulatedUpstream

MARK = "zqsecretxv"
SECRETS = {
    name: f"{MARK}-{name.lower()}"
    for name in ("PROVIDER_KEY", "APP_KEY", "OIDC_SECRET", "JUDGE_KEY")
}
CONFIG = """
version: 1
upstreams:
  up: {{kind: openai, base_url: "{base_url}", api_key: "${{PROVIDER_KEY}}"}}
routes:
  bot: {{control: {{upstream: up, model: good}}}}
keys:
  app: {{key: "${{APP_KEY}}"}}
web:
  oidc: {{issuer: "https://id.example", client_id: c, client_secret: "${{OIDC_SECRET}}", default_role: reviewer}}
"""
JUDGE = {"backend": "chat", "model": "openai/m", "api_key": "${JUDGE_KEY}"}


@pytest.fixture
def environment(tmp_path, monkeypatch, postgresql_url):
    """A server's environment, with a password in the URL of its database."""
    url = postgresql_url.replace("postgres:@", f"postgres:{MARK}-database@")
    assert MARK in url
    for name, secret in SECRETS.items():
        monkeypatch.setenv(name, secret)
    monkeypatch.setenv("LLM_CANARY_CONFIG", str(tmp_path / "canary.yaml"))
    monkeypatch.setenv("LLM_CANARY_DATABASE_URL", url)
    monkeypatch.setenv("LLM_CANARY_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("LLM_CANARY_API_KEY", f"{MARK}-api")
    factory = logging.getLogRecordFactory()
    yield url
    logging.setLogRecordFactory(factory)


async def ask(app):
    """Send what makes the server keep everything that it ever keeps."""
    transport = httpx.ASGITransport(app=app, client=("127.0.0.1", 1))
    bearer = {"authorization": f"Bearer {SECRETS['APP_KEY']}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        body = {"model": "bot", "messages": [{"role": "user", "content": "Hi"}]}
        answer = await client.post("/v1/chat/completions", json=body, headers=bearer)
        assert answer.status_code == 200, answer.text
        await client.get("/login/oidc/callback", params={"state": "s", "code": "c"})


async def seen_in_a_running_server(database_url):
    """Return what is shown of everything in a server that has served, and its own secrets."""
    app = create_app()
    messages = iter([{"type": "lifespan.startup"}])
    ended, begun = asyncio.Event(), asyncio.Event()

    async def receive():
        for message in messages:
            return message
        await ended.wait()
        return {"type": "lifespan.shutdown"}

    async def send(message):
        assert "failed" not in message["type"], message
        begun.set()

    life = asyncio.create_task(app({"type": "lifespan"}, receive, send))
    await begun.wait()
    try:
        await ask(app)
        with psycopg.connect(database_url) as connection:
            rows = connection.execute("SELECT key, value FROM installation").fetchall()
        return list(shown([app, Settings(), Settings().model_dump()])), dict(rows)
    finally:
        ended.set()
        await life


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # some attributes of libraries warn
def test_nothing_in_a_running_server_shows_a_secret(tmp_path, environment):
    engine = make_engine(environment)
    upgrade(engine)
    engine.dispose()
    with SimulatedUpstream() as upstream:
        (tmp_path / "canary.yaml").write_text(CONFIG.format(base_url=upstream.base_url))
        seen, own = asyncio.run(seen_in_a_running_server(environment))
    assert own.keys() >= {KEY_SECRET, UNIT_SECRET, WEB_SECRET}
    needles = [MARK, *own.values(), *(repr(bytes.fromhex(value))[2:-1] for value in own.values())]

    found = {where for where, text in seen for needle in needles if needle in text}

    assert found == set()
    places = " ".join(where for where, _ in seen)
    # What holds them was looked at.
    for holder in (".api_key", "._heads", ".unit_secret", ".stored.secret", ".client_secret"):
        assert holder in places, holder


def test_judges_translated_upstreams_and_a_loaded_file_show_no_secret(tmp_path, environment):
    config = CONFIG.format(base_url="http://127.0.0.1:9/v1")
    (tmp_path / "canary.yaml").write_text(config)
    rubric = rubric_of("helpfulness", tmp_path)
    entry = JudgeEntry.model_validate(JUDGE)

    key = resolve(entry.api_key)
    wire = LiteLlmWire(Upstream(name="c", kind="litellm", base_url=""), key)

    seen = list(shown([ChatJudge(entry, rubric, key), wire, load(tmp_path / "canary.yaml")]))

    assert [where for where, text in seen if MARK in text] == []
    assert {"root 1.api_key", "root 0._target"} <= {where for where, _ in seen}


def test_the_search_finds_what_is_shown():
    plain = Target("m", None, SECRETS["JUDGE_KEY"])  # a text, as no caller gives it

    assert any(MARK in text for _, text in shown([{"judge": (lambda: plain)}]))


def test_a_secret_says_nothing_where_it_is_shown_and_cannot_be_formatted():
    secret = Opaque(b"sk-1")

    assert (repr(secret), str(secret), str([secret])) == ("(hidden)", "(hidden)", "[(hidden)]")
    with pytest.raises(TypeError, match="cannot be formatted"):
        f"{secret}"
    assert (secret.decode(), b"Bearer %b" % secret) == ("sk-1", b"Bearer sk-1")


@pytest.mark.parametrize("url", ["postgresql://u:zq@h/d", "postgresql://h/d?user=u&password=zq"])
def test_a_password_in_a_database_url_is_not_shown(url):
    engine = make_engine(url)

    assert "zq" not in f"{engine!r}{engine.url!r}{engine.url!s}"
    assert engine.url.password == "zq"


def test_a_password_that_would_be_shown_is_refused_without_showing_it():
    with pytest.raises(StorageError, match="sslpassword in its query") as caught:
        make_engine("postgresql://u@h/d?sslpassword=zq")

    assert "zq" not in str(caught.value)
