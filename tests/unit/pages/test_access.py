"""The pages of accounts, keys and the audit log: for admins, by form and by htmx, hostile input included."""

import csv
import io
import re
from types import SimpleNamespace

import pytest

from llm_canary.auth import AccessRole
from llm_canary.pages.access_views import key_rows
from llm_canary.pages.quantity import ABSENT
from llm_canary.routing.limits import Limits
from llm_canary.routing.table import KeyRef
from llm_canary.storage.engine import read_session
from llm_canary.storage.repositories.access import audit
from tests.support.control import PASSWORD, Web

HOSTILE = "<img src=x onerror=alert(1)>"

NEW = {"act": "create", "name": "limited", "role": "app", "lives": "never"}


@pytest.fixture
def site(tmp_path):
    config = SimpleNamespace(
        keys=(KeyRef(name="from-file", secret="${X}", routes=("bot",)),),
        routes={"bot": None, "other-bot": None},
    )
    made = Web(tmp_path, config=lambda: config)
    made.log_in("mara", "admin")
    yield made
    made.close()


def acts(site):
    with read_session(site.engine) as session:
        return [(each.actor, each.action, each.target) for each in audit(session)][:-1]


def send(site, path, **form):
    return site.post(path, csrf=site.csrf(path), **form)


def new_key(answer):
    return re.search(r'<code id="new-key">(lc_[\w-]+)</code>', answer.text)[1]


@pytest.mark.parametrize("path", ["/access", "/access/keys", "/access/audit", "/access/audit.csv"])
@pytest.mark.parametrize("role", ["reviewer", "operator"])
def test_only_an_admin_comes_here(site, path, role):
    site.account("jon", role)
    site.log_in("jon")

    assert site.get(path).status_code == 403
    assert site.post("/access", csrf="x", act="disable", name="mara").status_code == 403
    site.cookie = None
    assert site.get(path).status_code == 303


def test_no_page_here_holds_what_the_policy_forbids(site):
    send(site, "/access/keys", act="create", name="bot", role="app", lives="never")
    for path in ("/access", "/access/keys", "/access/audit"):
        text = site.get(path).text
        assert not re.search(r"""\s(style|on\w+|hx-on[\w:-]*)\s*=""", text)
        assert not re.search(r"<script(?![^>]*\bsrc=)", text)
        assert 'aria-current="page">Access' in text


def test_an_account_is_made_changed_and_disabled(site):
    jon = {"name": "jon"}
    made = send(site, "/access", act="create", role="reviewer", password=PASSWORD, **jon)
    assert (made.status_code, made.headers["location"]) == (303, "/access")
    send(site, "/access", act="role", role="operator", **jon)
    send(site, "/access", act="password", password="quite another one", **jon)

    assert site.gate.accounts.check("jon", "quite another one").role == "operator"
    send(site, "/access", act="disable", **jon)
    assert site.post("/login", name="jon", password="quite another one").status_code == 401
    assert "Disabled" in site.get("/access").text
    send(site, "/access", act="enable", **jon)
    assert site.post("/login", name="jon", password="quite another one").status_code == 303
    ours = [each for each in acts(site) if each[1].startswith("account.")]
    assert ours == [
        ("mara", f"account.{act}", "jon")
        for act in ("enable", "disable", "password", "role", "create")
    ]


@pytest.mark.parametrize(
    ("form", "status", "says"),
    [
        ({"act": "disable", "name": "mara"}, 409, "your own account"),
        ({"act": "role", "name": "mara", "role": "reviewer"}, 409, "is the last admin"),
        ({"act": "create", "name": "mara", "role": "admin", "password": PASSWORD}, 409, "already"),
        ({"act": "create", "name": "x", "role": "app", "password": PASSWORD}, 400, "one of"),
        ({"act": "create", "name": "x", "role": "admin", "password": "short"}, 400, "12 to 256"),
        ({"act": "create", "name": "x\x00y", "role": "admin", "password": PASSWORD}, 400, "show"),
        ({"act": "burn", "name": "mara"}, 400, "one of create"),
        ({"act": "enable", "name": HOSTILE}, 404, "&lt;img src=x"),
        ({"act": "role"}, 400, "is empty"),
    ],
)
def test_what_cannot_be_done_to_accounts_says_why_and_changes_nothing(site, form, status, says):
    refused = send(site, "/access", **form)

    assert (refused.status_code, says in refused.text) == (status, True), refused.text
    assert "<img" not in refused.text.replace('<img src="/static/mark.svg"', "")
    assert acts(site) == []
    assert [each.role for each in site.gate.accounts.all()] == ["admin"]


def test_a_key_is_shown_once_and_opens_what_it_says(site):
    made = send(
        site,
        "/access/keys",
        act="create",
        name="support",
        role="app",
        lives="90 days",
        pin="1",
        **{"route:bot": "1"},
    )
    text = new_key(made)

    assert made.headers["cache-control"] == "no-store"
    assert text not in site.get("/access/keys").text
    (kept,) = site.site.services.keys.all()
    assert (kept.routes, kept.may_pin, kept.created_by) == (("bot",), True, "mara")
    assert (kept.expires_at - kept.created_at).days == 90
    assert site.gate.of_key(text).routes == ("bot",)
    assert acts(site) == [("mara", "key.create", "support")]
    assert text not in site.get("/access/audit").text


def test_limits_of_the_form_are_the_keys_and_stand_in_its_row(site):
    limits = {
        "requests_per_minute": " 600 ",
        "tokens_per_minute": "",
        "concurrent_streams": "20",
        "budget_usd_per_day": "0.5",
    }

    send(site, "/access/keys", **NEW, **limits)

    (kept,) = site.site.services.keys.all()
    assert kept.limits == {
        "requests_per_minute": 600,
        "concurrent_streams": 20,
        "budget_nanousd_per_day": 500_000_000,
    }
    page = site.get("/access/keys").text
    assert "600 requests/min<br>20 at once<br>$0.5/day" in page
    assert "requests_per_minute: 600" in site.get("/access/audit").text


def test_with_htmx_the_panel_comes_alone_and_problems_go_to_their_place(site):
    csrf = site.csrf("/access/keys")
    form = {"act": "create", "name": "ops", "role": "operator", "lives": "never"}

    made = site.post("/access/keys", csrf=csrf, htmx=True, **form)
    again = site.post("/access/keys", csrf=csrf, htmx=True, **form)

    assert made.text.lstrip().startswith('<div id="keys">')
    assert new_key(made)
    assert (again.status_code, again.headers["hx-retarget"]) == (409, "#problem")
    ended = site.post("/access/keys", csrf=csrf, htmx=True, act="revoke", name="ops")
    assert (ended.status_code, ended.headers["hx-redirect"]) == (204, "/access/keys")


def test_a_key_is_rotated_and_revoked_by_what_it_begins_with(site):
    old = new_key(send(site, "/access/keys", act="create", name="a", role="admin", lives="never"))
    new = new_key(send(site, "/access/keys", act="rotate", name=old[:11], overlap="none"))
    page = site.get("/access/keys").text

    assert f"in place of {old[:11]}" in page
    assert "Expired" in page
    assert site.gate.of_key(new).role is AccessRole.ADMIN
    assert send(site, "/access/keys", act="revoke", name=new[:11]).status_code == 303
    assert "Revoked" in site.get("/access/keys").text
    site.cookie = None
    assert site.post("/login", key=new).status_code == 401


def test_a_session_by_a_stored_key_ends_with_it(site):
    key = new_key(send(site, "/access/keys", act="create", name="a", role="admin", lives="never"))
    csrf, mine = site.csrf("/access"), site.cookie
    site.cookie = site.post("/login", key=key).cookies["llm_canary_session"]
    assert site.get("/access/keys").status_code == 200

    theirs, site.cookie = site.cookie, mine
    site.post("/access/keys", csrf=csrf, act="revoke", name=key[:11])
    site.cookie = theirs

    assert site.get("/access/keys").status_code == 303


@pytest.mark.parametrize(
    ("form", "status", "says"),
    [
        ({"act": "create", "name": "from-file", "role": "app", "lives": "never"}, 409, "yaml"),
        ({"act": "create", "name": "a", "role": "king", "lives": "never"}, 400, "one of app"),
        ({"act": "create", "name": "a", "role": "app", "lives": "ever"}, 400, "one of never"),
        (
            {"act": "create", "name": "a", "role": "app", "lives": "never", "route:none": "1"},
            400,
            "no route",
        ),
        (
            {"act": "create", "name": "a", "role": "admin", "lives": "never", "route:bot": "1"},
            400,
            "sees every rollout",
        ),
        (
            NEW | {"requests_per_minute": "0"},
            400,
            "`requests_per_minute` is &#39;0&#39;; input should be greater than or equal to 1",
        ),
        (NEW | {"tokens_per_minute": "1.5"}, 400, "`tokens_per_minute` is &#39;1.5&#39;"),
        (NEW | {"concurrent_streams": "many"}, 400, "`concurrent_streams` is &#39;many&#39;"),
        (NEW | {"budget_usd_per_day": "nan"}, 400, "`budget_usd_per_day` is &#39;nan&#39;"),
        (NEW | {"budget_usd_per_day": "1000001"}, 400, "less than or equal to 1000000"),
        ({"act": "rotate", "name": "nobody", "overlap": "none"}, 404, "no key that serves"),
        ({"act": "revoke", "name": "x\x00"}, 400, "show nothing"),
    ],
)
def test_what_cannot_be_done_to_keys_says_why(site, form, status, says):
    refused = send(site, "/access/keys", **form)

    assert (refused.status_code, says in refused.text) == (status, True), refused.text
    assert acts(site) == []
    assert "Try again" in refused.text


def test_a_form_without_the_sessions_token_changes_nothing(site):
    for path in ("/access", "/access/keys"):
        assert site.post(path, act="create", name="x", role="admin").status_code == 403
    assert acts(site) == []


def note(site, count, **entry):
    from llm_canary.access.audit import Audit
    from llm_canary.auth import LOCAL, Principal

    who = LOCAL if "actor" not in entry else Principal(
        name=entry["actor"], role=LOCAL.role, kind=LOCAL.kind
    )  # fmt: skip
    log = Audit(site.engine, site.clock, via="api")
    for number in range(count):
        log.note(who, entry.get("action", "rollout.hold"), f"r-{number}", entry.get("detail"))


def test_an_older_page_of_the_audit_offers_all_of_it_as_a_file(site):
    note(site, 120, actor="jon")
    older = re.search(r'href="([^"]*before=[^"]*)"', site.get("/access/audit?actor=jon").text)[1]

    offered = re.search(
        r'href="(/access/audit\.csv[^"]*)"', site.get(older.replace("&amp;", "&")).text
    )[1]

    assert "actor=jon" in offered
    assert "before" not in offered


def test_the_audit_is_filtered_and_paged_to_its_end(site):
    note(site, 120, actor="jon")
    note(site, 3, action="key.revoke")

    seen, path = [], "/access/audit?actor=jon"
    while path:
        text = site.get(path).text
        seen += re.findall(r'data-label="On" class="long">([^<]*)<', text)
        older = re.search(r'href="([^"]*before=[^"]*)">Older', text)
        path = older and older[1].replace("&amp;", "&")

    # Ids of one millisecond have no order among them; none is lost or shown twice.
    assert sorted(seen) == sorted(f"r-{number}" for number in range(120))
    text = site.get("/access/audit?action=key.").text
    assert len(re.findall(r'data-label="On"', text)) == 3
    assert "Nothing like this was done" in site.get("/access/audit?actor=nobody").text
    assert site.get("/access/audit?actor=%00").status_code == 400
    assert site.get("/access/audit?action=%25' OR 1=1").status_code == 200


def test_what_people_wrote_stays_text_on_the_page_and_in_a_spreadsheet(site):
    note(site, 1, actor="=1+1", detail={"reason": f"{HOSTILE}\x07\n@now"})

    page = site.get("/access/audit").text
    answer = site.get("/access/audit.csv")
    rows = list(csv.reader(io.StringIO(answer.text)))

    assert "<img src=x" not in page
    assert "alert(1)&gt;\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}@now" in page
    assert answer.headers["content-type"].startswith("text/csv")
    assert "attachment" in answer.headers["content-disposition"]
    assert rows[0] == ["id", "at", "actor", "role", "via", "action", "target", "detail"]
    assert rows[1][2] == "'=1+1"
    assert acts(site)[0] == ("mara", "audit.export", "csv")


def test_without_accounts_the_first_one_ends_the_open_house(tmp_path):
    site = Web(tmp_path, config=lambda: SimpleNamespace(keys=(), routes={}))
    assert "Nobody has an account" in site.get("/access").text
    assert "Only this machine may call" in site.get("/access/keys").text

    form = {"act": "create", "name": "mara", "role": "admin", "password": PASSWORD}
    assert site.post("/access", csrf=site.csrf("/access"), **form).status_code == 303

    assert site.get("/access").status_code == 303
    site.close()


def test_the_page_of_keys_shows_limits_and_what_today_has_cost():
    limits = Limits(requests_per_minute=600, budget_nanousd_per_day=2_500_000_000)
    of_file = [KeyRef(name="bot", secret="${K}", limits=limits), KeyRef(name="free", secret="${F}")]

    limited, free = key_rows([], of_file, 0.0, {"bot": 1_230_000_000})

    assert limited.limits == ("600 requests/min", "$2.5/day")
    assert (limited.spent, free.spent, free.limits) == ("$1.2300", ABSENT, ())
