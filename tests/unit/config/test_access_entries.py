"""`web.oidc` and `keys.NAME.routes`: what is refused, in words that help."""

import pytest

from tests.unit.config.texts import MINIMAL

OIDC = """
web:
  oidc:
    issuer: https://id.example.com
    client_id: llm-canary
    client_secret: "${OIDC_SECRET}"
    roles: {admins: admin}
"""


@pytest.fixture(autouse=True)
def secret(monkeypatch):
    monkeypatch.setenv("OIDC_SECRET", "s3cret")
    monkeypatch.setenv("APP_KEY", "k3y")


def test_a_provider_and_a_limited_key_load(loads):
    route = next(iter(loads(MINIMAL).routes))
    loaded = loads(
        MINIMAL + OIDC + f"keys:\n  app: {{key: '${{APP_KEY}}', routes: ['{route}'], pin: true}}\n"
    )

    assert loaded.file.web.oidc.roles == {"admins": "admin"}
    (key,) = loaded.keys
    assert (key.routes, key.may_pin) == ((route,), True)
    assert "s3cret" not in repr(loaded)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("https://id", "http://id", "begins with https://"),
        ("https://id", "ftp://id", "begins with https://"),
        ("https://id", "https://user:pw@id", "begins with https://"),
        ('"${OIDC_SECRET}"', "in-plain-text", "a reference"),
        ('"${OIDC_SECRET}"', '"${NOT_SET}"', "NOT_SET is not set"),
        ("{admins: admin}", "{admins: app}", "reviewer, operator or admin"),
        ("{admins: admin}", "{}", "nobody could log in"),
        ("client_id: llm-canary", "client: x", "client"),
        ("client_id: llm-canary", "client_id: a\n    scopes: profile", "`openid` among them"),
    ],
)
def test_a_provider_that_cannot_be_used_is_refused(refuses, old, new, says):
    problems = refuses(MINIMAL + OIDC.replace(old, new))

    assert any(says in problem for problem in problems), problems
    assert "in-plain-text" not in str(problems)


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("{key: '${APP_KEY}', routes: [nowhere]}", "there is no route 'nowhere'"),
        ("{key: '${APP_KEY}', routes: []}", "routes"),
        ("{key: '${APP_KEY}', role: operator, routes: [ROUTE]}", "sees every rollout"),
    ],
)
def test_a_key_that_cannot_be_limited_so_is_refused(loads, refuses, key, says):
    route = next(iter(loads(MINIMAL).routes))

    problems = refuses(f"{MINIMAL}keys:\n  app: {key.replace('ROUTE', route)}\n")

    assert any(says in problem for problem in problems), problems
