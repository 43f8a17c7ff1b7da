"""Login at a provider, which is simulated: a real server on loopback with real signatures."""

from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc.jwk import RSAKey

from llm_canary.access.oidc import OidcLogin
from llm_canary.auth import AccessRole
from llm_canary.clock import SystemClock
from llm_canary.config.web_entries import OidcEntry
from llm_canary.pages.visit import COOKIE
from llm_canary.storage.engine import read_session
from llm_canary.storage.repositories.access import audit
from tests.support.control import PASSWORD, Web
from tests.support.oidc_provider import CLIENT_ID, CLIENT_SECRET, SimulatedOidcProvider

HOST = "http://testserver"


class MovableClock(SystemClock):
    ahead_s = 0.0

    def now_s(self):
        return super().now_s() + self.ahead_s


class OidcWeb(Web):
    """The pages with a login at a provider."""

    def __init__(self, folder, entry):
        self.entry = entry
        self.web_url = None
        clock = MovableClock()
        super().__init__(
            folder,
            clock=clock,
            oidc=OidcLogin(lambda: self.entry, clock, lambda: b"a secret of the installation"),
            web_url=lambda: self.web_url,
        )

    def begin(self, target="/"):
        """Go to the provider and return what it sends back, and the cookie of the login."""
        start = self.get(f"/login/oidc?next={target}")
        assert start.status_code == 303, start.text
        answer = httpx.get(start.headers["location"], trust_env=False)
        back = urlsplit(answer.headers["location"])
        return f"{back.path}?{back.query}", start.cookies["llm_canary_oidc"]

    def finish(self, back, cookie):
        return self.client.get(back, headers={"cookie": f"llm_canary_oidc={cookie}"})

    def log_in_at_provider(self, target="/"):
        return self.finish(*self.begin(target))

    def acts(self):
        with read_session(self.engine) as session:
            return [(each.actor, each.action, each.target) for each in audit(session)]


@pytest.fixture
def provider():
    with SimulatedOidcProvider() as running:
        yield running


@pytest.fixture
def site(tmp_path, provider, monkeypatch):
    monkeypatch.setenv("OIDC_SECRET", CLIENT_SECRET)
    entry = OidcEntry(
        issuer=provider.issuer,
        client_id=CLIENT_ID,
        client_secret="${OIDC_SECRET}",
        name="Example ID",
        role_claim="groups",
        roles={"canary-admins": "admin", "canary-ops": "operator", "graders": "reviewer"},
    )
    made = OidcWeb(tmp_path, entry)
    provider.person["groups"] = ["graders", "canary-ops"]
    yield made
    made.close()


def test_a_person_logs_in_with_the_greatest_role_and_comes_to_where_they_wanted(site, provider):
    answer = site.log_in_at_provider("/history")

    assert (answer.status_code, answer.headers["location"]) == (303, "/history")
    site.cookie = answer.cookies[COOKIE]
    assert ">mara</summary>" in site.get("/").text
    assert ">operator</p>" in site.get("/").text
    (asked,) = provider.asked
    assert asked["code_challenge_method"] == "S256"
    assert asked["redirect_uri"] == f"{HOST}/login/oidc/callback"
    assert len(asked["state"]) >= 32
    assert site.acts() == [("mara", "login", "mara")]


def test_the_role_follows_the_claim_at_each_login_and_the_account_stays_the_same(site, provider):
    site.log_in_at_provider()
    (before,) = site.gate.accounts.all()
    provider.person |= {"groups": "canary-admins", "preferred_username": "mara.new"}

    site.log_in_at_provider()

    (after,) = site.gate.accounts.all()
    assert (after.id, after.name, after.role) == (before.id, "mara", "admin")
    assert (after.issuer, after.subject, after.password_hash) == (provider.issuer, "u-1", None)


def test_a_name_that_is_taken_by_another_account_is_not_taken_over(site, provider):
    site.account("mara", "admin")
    provider.person["email"] = "mara@example.com"

    answer = site.log_in_at_provider()

    assert answer.status_code == 303
    assert [(each.name, each.role) for each in site.gate.accounts.all()] == [
        ("mara", "admin"),
        ("mara@example.com", "operator"),
    ]


def test_who_has_no_role_is_refused_and_loses_their_sessions(site, provider):
    site.cookie = site.log_in_at_provider().cookies[COOKIE]
    assert site.get("/").status_code == 200
    provider.person["groups"] = ["others"]

    refused = site.log_in_at_provider()

    assert refused.status_code == 403
    assert "has no role here" in refused.text
    assert COOKIE not in refused.cookies
    assert site.get("/").status_code == 303
    site.entry = site.entry.model_copy(update={"default_role": AccessRole.REVIEWER})
    assert site.log_in_at_provider().status_code == 303


def test_a_claim_inside_an_object_gives_the_role(site, provider):
    site.entry = site.entry.model_copy(update={"role_claim": "realm_access.roles"})
    provider.person["realm_access"] = {"roles": ["canary-admins"]}

    site.log_in_at_provider()

    assert site.gate.accounts.all()[0].role == "admin"


def test_a_disabled_account_stays_out(site, provider):
    site.account("ann", "admin")
    site.log_in_at_provider()
    site.gate.accounts.set_disabled("mara", is_disabled=True)

    refused = site.log_in_at_provider()

    assert (refused.status_code, COOKIE in refused.cookies) == (401, False)
    assert "is disabled" in refused.text


@pytest.mark.parametrize(
    ("claims", "says"),
    [
        pytest.param({"nonce": "another"}, "ID token is refused", id="wrong-nonce"),
        pytest.param({"nonce": None}, "ID token is refused", id="no-nonce"),
        pytest.param({"exp": 1_700_000_000}, "ID token is refused", id="expired"),
        pytest.param({"aud": "another-client"}, "ID token is refused", id="wrong-audience"),
        pytest.param({"iss": "https://evil.example"}, "ID token is refused", id="wrong-issuer"),
        pytest.param({"azp": "another-client"}, "ID token is refused", id="another-party"),
        pytest.param({"sub": ""}, "ID token is refused", id="nobody"),
    ],
)
def test_a_token_that_is_not_for_this_login_opens_nothing(site, provider, claims, says):
    provider.claims = claims

    refused = site.log_in_at_provider()

    assert refused.status_code == 401
    assert says in refused.text
    assert COOKIE not in refused.cookies
    assert site.gate.accounts.all() == []
    assert site.acts() == [("-", "login.failed", "oidc")]


def test_a_signature_of_another_key_opens_nothing(site, provider):
    provider.signing_key = RSAKey.generate_key(2048, {"kid": "first"})

    assert site.log_in_at_provider().status_code == 401


def test_new_keys_of_the_provider_are_fetched_when_a_token_needs_them(site, provider):
    assert site.log_in_at_provider().status_code == 303
    provider.key = RSAKey.generate_key(2048, {"use": "sig", "kid": "first"})
    assert site.log_in_at_provider().status_code == 401, "asked again at most once a minute"

    site.clock.ahead_s = 61.0

    assert site.log_in_at_provider().status_code == 303
    assert provider.discoveries == 1


def test_a_login_that_was_begun_elsewhere_is_not_finished_here(site):
    back, cookie = site.begin()
    _, of_another = site.begin()

    for wrong in (of_another, "", "e30.00", cookie[:-1], cookie.replace(".", "x.", 1)):
        refused = site.finish(back, wrong)
        assert (refused.status_code, COOKIE in refused.cookies) == (401, False)
    assert site.finish(back.replace("state=", "state=x"), cookie).status_code == 401


def test_a_code_is_good_once(site):
    back, cookie = site.begin()
    assert site.finish(back, cookie).status_code == 303

    again = site.finish(back, cookie)

    assert again.status_code == 401
    assert "no more" in again.text


def test_a_login_takes_ten_minutes_at_most(site):
    back, cookie = site.begin()
    site.clock.ahead_s = 601.0

    assert "longer than ten minutes" in site.finish(back, cookie).text


def test_what_the_provider_refuses_is_said_and_never_quoted(site, provider):
    provider.refuses = "access_denied"
    assert "access_denied" in site.log_in_at_provider().text

    provider.refuses = "<script>alert(1)</script>"
    refused = site.log_in_at_provider()

    assert refused.status_code == 401
    assert "alert(1)" not in refused.text


def test_an_answer_of_another_provider_is_refused(site):
    back, cookie = site.begin()
    names = parse_qs(urlsplit(back).query)

    refused = site.finish(back.replace("iss=", "iss=https%3A%2F%2Fevil.example&x="), cookie)

    assert "iss" in names
    assert "another provider" in refused.text


@pytest.mark.parametrize(
    "discovery",
    [
        {"issuer": "https://evil.example"},
        {"token_endpoint": "http://169.254.169.254/token"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"id_token_signing_alg_values_supported": ["HS256", "none"]},
    ],
)
def test_a_provider_that_says_odd_things_of_itself_is_refused(site, provider, discovery):
    provider.discovery = discovery

    refused = site.get("/login/oidc")

    assert refused.status_code == 502
    assert "Example ID" in refused.text
    assert "set-cookie" not in refused.headers


def test_a_provider_that_is_down_is_said_and_passwords_still_work(site, provider):
    back, cookie = site.begin()
    site.account("ann", "admin")
    site.entry = site.entry.model_copy(update={"issuer": "http://127.0.0.1:9"})

    for answer in (site.get("/login/oidc"), site.finish(back, cookie)):
        assert answer.status_code == 502
        assert "cannot be reached" in answer.text
        assert 'name="password"' in answer.text
    assert site.post("/login", name="ann", password=PASSWORD).status_code == 303


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example", "/\\evil.example"])
def test_a_login_at_the_provider_leads_nowhere_else(site, target):
    assert site.log_in_at_provider(target).headers["location"] == "/"


def test_behind_a_proxy_the_configured_address_is_what_the_provider_is_told(site, provider):
    site.web_url = "https://canary.example.com/"

    site.get("/login/oidc")
    address = parse_qs(urlsplit(site.get("/login/oidc").headers["location"]).query)

    assert address["redirect_uri"] == ["https://canary.example.com/login/oidc/callback"]


@pytest.mark.parametrize("url", ["https://canary.example.com", None])
def test_behind_a_proxy_that_ends_tls_each_cookie_is_for_https_only(site, provider, url):
    """The proxy asks by http; that browsers come by https is known from `web.url`."""
    site.web_url = url
    site.account("ann", "admin")

    begun = site.get("/login/oidc")
    back, state = site.begin()
    ended = site.finish(back, state)
    by_name = site.post("/login", name="ann", password=PASSWORD)

    cookies = [each.headers["set-cookie"] for each in (begun, ended, by_name)]
    assert [("; Secure" in each) for each in cookies] == [url is not None] * 3, cookies
    name = "__Host-llm_canary_session" if url else "llm_canary_session"
    token = by_name.cookies[name]
    assert site.client.get("/access", headers={"cookie": f"{name}={token}"}).status_code == 200
    other = "llm_canary_session" if url else "__Host-llm_canary_session"
    assert site.client.get("/access", headers={"cookie": f"{other}={token}"}).status_code == 303


def test_the_login_page_offers_the_provider_only_where_there_is_one(site):
    site.account("ann", "admin")
    assert "Log in with Example ID" in site.get("/login?next=/history").text
    assert "/login/oidc?next=/history" in site.get("/login?next=/history").text

    site.entry = None

    assert "Example ID" not in site.get("/login").text
    assert site.get("/login/oidc").status_code == 404
    assert site.get("/login/oidc/callback").status_code == 404
