"""The authorisation matrix: the page is the rules', and a running server does what the page says."""

import re
from pathlib import Path

import httpx
import pytest

from llm_canary.auth import AccessRole
from llm_canary.documents.reference import renewed
from tests.support.matrix import BEGIN, END, PAGE, Rule, api, data_plane, pages, tables
from tests.support.server import RunningServer, free_port

CONFIG = """
version: 1
upstreams:
  nowhere: {{kind: openai, base_url: "http://127.0.0.1:{port}/v1"}}
routes:
  bot:
    control: {{upstream: nowhere, model: m}}
keys:
  app: {{key: "${{APP_KEY}}"}}
  reviewer: {{key: "${{REVIEWER_KEY}}", role: reviewer}}
  operator: {{key: "${{OPERATOR_KEY}}", role: operator}}
  admin: {{key: "${{ADMIN_KEY}}", role: admin}}
"""
PASSES = [None, *AccessRole]
ENDS = ("/logout",)  # would end the session that the next requests need; tried last
REFUSES = "which may not"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory):
    folder: Path = tmp_path_factory.mktemp("matrix")
    keys = {f"{role.upper()}_KEY": f"key-of-{role}" for role in AccessRole}
    with RunningServer(folder, CONFIG.format(port=free_port()), **keys) as server:
        yield server.url


def ask(client: httpx.Client, rule: Rule) -> httpx.Response:
    """Ask for nothing that exists: who may is told so, who may not must not even learn that."""
    path = re.sub(r"\{[^}]*\}", "none", rule.path)
    if rule.path.startswith(("/v1", "/api")) and rule.method != "GET":
        return client.request(rule.method, path, json={})
    return client.request(rule.method, path)


def by_key(url: str, role: AccessRole | None) -> httpx.Client:
    headers = {} if role is None else {"authorization": f"Bearer key-of-{role}"}
    return httpx.Client(base_url=url, headers=headers)


def is_refused(answer: httpx.Response, role: AccessRole | None) -> bool:
    if role is None:
        return answer.status_code == 401
    return answer.status_code == 403 and REFUSES in answer.text


def test_the_page_has_the_rules_in_force() -> None:
    page = PAGE.read_text()

    assert renewed(page, BEGIN, END, tables()) == page, "run `make docs`"


@pytest.mark.parametrize("role", PASSES)
@pytest.mark.parametrize("rules", [data_plane, api])
def test_keys_open_what_the_matrix_says(url: str, rules, role: AccessRole | None) -> None:
    with by_key(url, role) as client:
        wrong = [
            (rule, answer.status_code, answer.text[:200])
            for rule in rules()
            if is_refused(answer := ask(client, rule), role) is rule.lets(role)
        ]

    assert not wrong


@pytest.mark.parametrize("role", PASSES)
def test_sessions_open_what_the_matrix_says(url: str, role: AccessRole | None) -> None:
    """A form without its token is refused only after the role was: nothing is changed here."""
    rules = sorted(pages(), key=lambda rule: rule.path in ENDS)
    with httpx.Client(base_url=url) as client:
        if role is not None:
            answer = client.post("/login", data={"key": f"key-of-{role}"})
            assert answer.status_code == (403 if role is AccessRole.APP else 303)
        wrong = []
        for rule in rules:
            if rule.path == "/login" or rule.path.startswith("/login/"):
                assert rule.needs is None
                continue
            answer = ask(client, rule)
            to_login = answer.status_code == 303 and answer.headers["location"].startswith(
                "/login?"
            )
            is_out = to_login or is_refused(answer, role)
            if is_out is rule.lets(role):
                wrong.append((rule, answer.status_code, answer.text[-300:]))

    assert not wrong


def test_keys_are_no_session_and_sessions_no_key(url: str) -> None:
    """A cookie opens no operation of the API, which has no protection against other sites."""
    with httpx.Client(base_url=url) as client:
        client.post("/login", data={"key": "key-of-admin"})
        assert client.get("/").status_code == 200

        assert client.get("/api/v1/keys").status_code == 401
        assert client.get("/v1/models").status_code == 401
    with by_key(url, AccessRole.ADMIN) as client:
        assert client.get("/").status_code == 303
