"""What is wrong with a file: all of it, where, and what to do."""

from __future__ import annotations

import pytest

from tests.unit.config.texts import EXAMPLE, MINIMAL, OWN_PLAN, ROLLOUT, SECRET

OWN = MINIMAL + ROLLOUT + OWN_PLAN


def test_every_problem_is_told_at_once_in_the_order_of_the_lines(refuses):
    text = (
        EXAMPLE.replace("base_url: https", "base_ul: https")
        .replace("${ANTHROPIC_API_KEY}", "${NOBODY_SET_THIS}")
        .replace("anonymous: conversation", "anonymous: never")
        .replace("route: support-bot", "route: support-bott")
        .replace("plan: standard ", "plan: standart ")
        .replace("preflight: [support_golden]", "preflight: [golden]")
        .replace("margin_usd: 0.0005", "margin_usd: -1")
        .replace("share: 10%", "share: 70%")
    )

    problems = refuses(text)

    assert [problem.split(": ")[1] for problem in problems] == [
        "upstreams.openai.base_url",
        "upstreams.openai.base_ul",
        "upstreams.claude.api_key",
        "routes.support-bot.anonymous",
        "rollouts.support-v13.route",
        "rollouts.support-v13.plan",
        "rollouts.support-v13.preflight[0]",
        "rollouts.support-v13.gates.net_benefit.margin_usd",
        "plans.careful.stages[2].share",
    ]


def test_one_problem_reads_as_a_whole_sentence(refuses):
    (problem,) = refuses(EXAMPLE.replace("plan: standard ", "plan: standart "))

    assert problem == (
        "canary.yaml:37: rollouts.support-v13.plan: there is no plan 'standart'; "
        "expected one of careful, standard; did you mean 'standard'?"
    )


FORM = [
    ("version: 1", "version: 2", "version", "expected 1"),
    ("version: 1\n", "", "version", "the key is missing"),
    ("mini}", "mini}\nroolouts: {}", "roolouts", "did you mean 'rollouts'?"),
    ("kind: openai", "kind: openia", "upstreams.openai.kind", "one of anthropic, litellm, openai"),
    ("    kind: openai\n", "", "upstreams.openai.kind", "missing"),
    ("https://api", "ftp://api", "upstreams.openai.base_url", "expected a URL"),
    ("https://api", "https://me:pw@api", "upstreams.openai.base_url", "without user"),
    ("api.openai.com", "${NO_SUCH}", "upstreams.openai.base_url", "NO_SUCH is not set"),
    ("api.openai.com", "${NO_SUCH", "upstreams.openai.base_url", "unfinished"),
    ("OPENAI_API_KEY", "NO_SUCH", "upstreams.openai.api_key", "variable NO_SUCH is not set"),
    ('"${OPENAI_API_KEY}"', "file:/no/such", "upstreams.openai.api_key", "file:/no/such cannot"),
    ("upstream: openai", "upstream: opnai", "routes.support-bot.control.upstream", "'openai'?"),
    ("model: gpt-5-mini", "model: 5", "routes.support-bot.control.model", "expected text"),
    (", model: gpt-5-mini", "", "routes.support-bot.control.model", "add `model:`"),
    ("mini}", "mini, params: {model: x}}", "routes.support-bot.control.params", "no model among"),
    ("mini}", "mini, params: {x: .nan}}", "routes.support-bot.control.params.x", "finite number"),
    (
        "mini}",
        'mini, params: {x: "\\ud800"}}',
        "routes.support-bot.control.params.x",
        "plain value",
    ),
    ("mini}", f"mini, prompt: {'a' * 5000}}}", "routes.support-bot.control.prompt", "too long"),
    ("mini}", "mini, params: {1: 2}}", "routes.support-bot.control.params.'1'", "in quotes"),
    (
        "mini}",
        "mini, params: !x {a: 1}, prompt: !y z}",
        "routes.support-bot.control.prompt",
        "quotes",
    ),
    (
        "mini}",
        "mini, prompt: ../../etc/passwd}",
        "routes.support-bot.control.prompt",
        "a name such",
    ),
    ("mini}", "mini, prompt: support/v14}", "routes.support-bot.control.prompt", "v14.md cannot"),
    ("mini}", "mini}\n    unit: [user]", "routes.support-bot.unit[0]", "header:NAME or body:"),
    ("mini}", "mini}\n    unit: []", "routes.support-bot.unit", "at least one"),
    ("mini}", "mini}\n    rubrics: [nope]", "routes.support-bot.rubrics[0]", "rubrics/nope.yaml"),
    ("mini}", "mini}\n    content: {store: all}", "routes.support-bot.content.store", "redacted"),
    ("mini}", "mini}\n    segments: {a: b}", "routes.support-bot.segments.a", "derive"),
    ("mini}", "mini}\nkeys: {web: {key: plain}}", "keys.web.key", "written in plain text"),
    ("mini}", "mini}\nkeys: {web: plain}", "keys.web", "expected a mapping"),
    ("mini}", "mini}\ndefault_upstream: x", "default_upstream", "no upstream 'x'"),
    ("mini}", "mini}\nlimits: {max_body_bytes: 1}", "limits.max_body_bytes", ">= 1024"),
    ("mini}", "mini}\nmetrics: {error_rate: {window: 1h}}", "metrics.error_rate", "no window"),
    ("mini}", "mini}\nmetrics: {thumbs: {window: 60}}", "metrics.thumbs.window", "with its unit"),
    ("mini}", "mini}\nversion: 1", "version", "stands twice"),
    ("mini}", "mini}\n  support-bot: {}", "routes.support-bot", "the first is on line 8"),
    ("mini}", "mini}\n<<: {a: 1}", "<<", "unknown key"),
    ("mini}", "mini}\n  ? [a]\n  : b", "routes.a collection", "is not text"),
]


@pytest.mark.parametrize(
    ("old", "new", "path", "words"), [pytest.param(*row, id=f"{row[2]}-{row[3]}") for row in FORM]
)
def test_a_fault_of_form_is_one_problem_at_its_place(refuses, old, new, path, words):
    (problem,) = refuses(MINIMAL.replace(old, new, 1))

    file, line, rest = problem.split(":", 2)
    assert file == "canary.yaml" and line.isdecimal()
    assert rest.startswith(f" {path}: ")
    assert words in rest


GATE = "{error_rate: {kind: guardrail, margin: 1pp}}"
RULES = [
    ("route: support-bot", "route: x", "rollouts.next.route", "no route 'x'"),
    ("mine", "mine\n    eligible: {a: [1]}", "rollouts.next.eligible.a[0]", "put it in quotes"),
    ("plan: mine", "plan: mien", "rollouts.next.plan", "did you mean 'mine'?"),
    ("plan: mine", "plan: mine\n    preflight: [x]", "rollouts.next.preflight[0]", "no check 'x'"),
    ("mine", "mine\n    eligible: {a: {}}", "rollouts.next.eligible.a", "or both"),
    ("mine", "mine\n    eligible: {a: {min: 2, max: 1}}", "rollouts.next.eligible.a", "<"),
    ("mine", "mine\n    eligible: {a: b}", "rollouts.next.eligible.a", "a list"),
    ("share: 10%", "share: 5%", "plans.mine.stages[1].share", "shares that rise"),
    ("share: 10%", "share: 100%", "plans.mine.stages[1].share", "below 1"),
    ("share: 10%", "share: 10", "plans.mine.stages[1].share", "5% or 0.05"),
    ("share: 10%, ", "", "plans.mine.stages[1].share", "add `share:`"),
    ("holdback: 1%", "holdback: 90%", "plans.mine.stages[2].holdback", "after 0.1"),
    ("10%, min: 1h", "10%, min: 3h", "plans.mine.stages[1].max", "min <= max"),
    ("10%, min: 1h", "10%, min: 1m", "plans.mine.stages[1].min", "full cycle of 3600 s"),
    ("10%, min: 1h", "10%, min: 1", "plans.mine.stages[1].min", "24h"),
    ("10%,", "10%, holdback: 1%,", "plans.mine.stages[1].holdback", "on full only"),
    ("10%,", "10%, min_units: 0,", "plans.mine.stages[1].min_units", ">= 1"),
    ("for: 1h", "", "plans.mine.stages[3].for", "no end"),
    ("for: 1h", "for: 1h, share: 5%", "plans.mine.stages[3].share", "only `for`"),
    ("name: two", "name: one", "plans.mine.stages", "names of their own"),
    ("      - {name: full, holdback: 1%}\n", "", "plans.mine.stages", "then full"),
    ("mine:\n", "mine:\n    extends: x\n", "plans.mine.extends", "no plan 'x'"),
    ("mine:\n", "mine:\n    extends: mine\n", "plans.mine.extends", "in a circle"),
    ("mine:\n", "mine:\n    alpha: {promote: 0.9}\n", "plans.mine.alpha.promote", "< 0.5"),
    (f"    gates: {GATE}\n", "", "rollouts.next.gates", "'one' ends up without a gate"),
    ("kind: guardrail", "kind: secondary", "rollouts.next.gates", "without a gate that decides"),
    ("kind: guardrail, ", "", "plans.mine.gates.error_rate.kind", "overrides no other"),
    (", margin: 1pp", "", "plans.mine.gates.error_rate.margin", "overrides no other"),
    ("margin: 1pp", "margin: 0", "plans.mine.gates.error_rate.margin", "above 0"),
    ("margin: 1pp", "margin: -1", "plans.mine.gates.error_rate.margin", "above 0"),
    ("margin: 1pp", "margin: 5", "plans.mine.gates.error_rate.margin", "another unit"),
    ("margin: 1pp", "margin: 1pp, tolerance: 2pp", "plans.mine.gates.error_rate.tolerance", "0.01"),
    ("margin: 1pp", "margin: 1pp, tolerance: 1%", "plans.mine.gates.error_rate.tolerance", "unit"),
    ("margin: 1pp", "margin: 1pp, margin_usd: 1", "plans.mine.gates.error_rate", "only on net"),
    ("error_rate", "eror_rate", "plans.mine.gates.eror_rate", "did you mean 'error_rate'?"),
    ("error_rate: {kind: guardrail, margin: 1pp}", "latency_p95: {kind: goal, margin: 5pp}",
     "plans.mine.gates.latency_p95.margin", "another unit"),
    ("error_rate: {kind: guardrail, margin: 1pp}", "net_benefit: {kind: goal, margin: 5pp}",
     "plans.mine.gates.net_benefit", "`margin_usd`"),
    ("error_rate: {kind: guardrail, margin: 1pp}", "'rubric:x': {kind: goal, margin: 5pp}",
     "plans.mine.gates.rubric:x", "no such rubric"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "path", "words"), [pytest.param(*row, id=f"{row[2]}-{row[3]}") for row in RULES]
)
def test_a_broken_rule_is_told_at_its_place(refuses, old, new, path, words):
    problems = [problem.split(": ", 1)[1] for problem in refuses(OWN.replace(old, new, 1))]

    assert any(problem.startswith(f"{path}: ") and words in problem for problem in problems)


def test_plans_that_extend_each_other_in_a_circle_are_refused(refuses):
    text = MINIMAL + "plans: {a: {extends: b}, b: {extends: c}, c: {extends: a}}\n"

    assert all("in a circle" in problem for problem in refuses(text))


def test_a_plan_that_nobody_uses_must_have_gates_too(refuses):
    text = OWN.replace("    plan: mine\n", "").replace(f"    gates: {GATE}\n", "")

    (problem,) = refuses(text)

    assert "plans.mine.gates: stage 'one' ends up without a gate that decides" in problem


@pytest.mark.parametrize("name", ["prompts/support/v12.md", "datasets/support.jsonl"])
def test_a_file_that_is_referred_to_must_be_there(refuses, project, name):
    (project / name).unlink()

    assert any(name in problem for problem in refuses(EXAMPLE))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(MINIMAL.replace("${OPENAI_API_KEY}", SECRET), id="as the api_key"),
        pytest.param(MINIMAL.replace("https://api", f"https://{SECRET}@api"), id="in the URL"),
        pytest.param(
            MINIMAL.replace("https://api.openai.com/v1", "${OPENAI_API_KEY}"), id="by reference"
        ),
        pytest.param(MINIMAL.replace("kind: openai", f"kind: {SECRET}"), id="as another value"),
        pytest.param(MINIMAL.replace("kind: openai", f"{SECRET}: openai"), id="as a key"),
        pytest.param(MINIMAL.replace('"${OPENAI_API_KEY}"', f"[{SECRET}]"), id="in a list"),
        pytest.param(MINIMAL.replace('"${OPENAI_API_KEY}"', f"*{SECRET}"), id="as an alias"),
        pytest.param(MINIMAL.replace('"${OPENAI_API_KEY}"', f"'{SECRET}"), id="in a broken quote"),
        pytest.param(MINIMAL.replace('"${OPENAI_API_KEY}"', f"!{SECRET} x"), id="as a tag"),
        pytest.param(MINIMAL + f"keys: {{web: {{key: '{SECRET}'}}}}\n", id="as a key of an app"),
        pytest.param(MINIMAL + f"keys: {{web: {SECRET}}}\n", id="instead of a key's entry"),
    ],
)
def test_a_secret_in_the_wrong_place_is_refused_without_repeating_it(refuses, text):
    problems = "\n".join(refuses(text))

    assert SECRET not in problems and SECRET[3:] not in problems


@pytest.mark.parametrize("text", ["api_key: {x: hunter2}", "api_key: 12345", "api_key: [hunter2]"])
def test_what_stands_where_a_secret_belongs_is_never_repeated(refuses, text):
    problems = refuses(MINIMAL.replace('api_key: "${OPENAI_API_KEY}"', text))

    assert "hunter2" not in problems[0] and "12345" not in problems[0]


@pytest.mark.parametrize("text", ["hunter2", "{web: hunter2}", "{web: {pin: hunter2}}"])
def test_nothing_among_the_keys_is_repeated(refuses, text):
    assert "hunter2" not in "\n".join(refuses(MINIMAL + f"keys: {text}\n"))
