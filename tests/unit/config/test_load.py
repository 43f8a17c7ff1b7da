"""What a good file means."""

from __future__ import annotations

import pytest

from llm_canary.config.load import load
from llm_canary.errors import ConfigError
from llm_canary.routing.table import Anonymous, ContentStore, KeyRef, Price
from tests.unit.config.texts import EXAMPLE, MINIMAL, ROLLOUT, SECRET


def test_the_example_of_the_product_loads_as_it_is(loads):
    config = loads(EXAMPLE)

    assert set(config.routes) == {"support-bot"}
    assert set(config.upstreams) == {"openai", "claude", "local"}
    assert set(config.plans) == {"standard", "careful"}
    assert set(config.rollouts) == {"support-v13"}


def test_a_route_is_resolved_down_to_its_prompt(loads):
    route = loads(EXAMPLE).routes["support-bot"]

    assert route.control.prompt_text == "You are support v12."
    assert len(route.control.prompt_hash) == 64
    assert route.control.params == {"temperature": 0.2}
    assert route.anonymous is Anonymous.CONVERSATION
    assert route.content is ContentStore.REDACTED
    assert route.unit[0] == "header:x-canary-user"
    assert route.split is None


def test_segments_that_only_a_rollout_names_come_from_their_header(loads):
    segments = loads(EXAMPLE).routes["support-bot"].segments

    assert segments["geo"] == "header:x-canary-segment-geo"
    assert segments["account_age_days"] == "header:x-canary-segment-account-age-days"
    assert segments["gender"] == "header:x-canary-segment-gender"


def test_a_rollout_carries_everything_the_file_says(loads):
    rollout = loads(EXAMPLE).rollouts["support-v13"]

    assert rollout.route == "support-bot"
    assert rollout.canary.prompt_text == "You are support v13."
    assert rollout.eligible == {"geo": ["de", "at"], "account_age_days": {"min": 30.0}}
    assert rollout.protected == ("gender",)
    assert rollout.preflight == ("support_golden",)


def test_what_this_release_cannot_do_is_a_warning(loads):
    warnings = "\n".join(loads(EXAMPLE).warnings)

    assert "rubric:support_answer" in warnings


def test_a_plain_file_has_no_warning(loads):
    assert loads(MINIMAL + ROLLOUT).warnings == ()


def test_a_price_in_dollars_per_million_is_nano_dollars_per_token(loads):
    upstream = loads(EXAMPLE).upstreams["local"]

    assert upstream.price == Price(input=100.0, output=400.0, cached_input=50.0)


def test_a_variant_takes_the_price_of_its_upstream(loads):
    text = EXAMPLE.replace("control:\n      upstream: openai", "control:\n      upstream: local")

    assert loads(text).routes["support-bot"].control.price == Price(
        input=100.0, output=400.0, cached_input=50.0
    )


def test_timeouts_keys_limits_metrics_and_the_default_upstream(loads):
    config = loads(
        MINIMAL.replace(
            "    kind: openai\n", "    kind: openai\n    timeouts: {connect: 2s, idle: 500ms}\n"
        )
        + 'keys: {web: {key: "${OPENAI_API_KEY}", pin: true}}\n'
        + "default_upstream: openai\n"
        + "metrics: {thumbs_up_rate: {window: 2h}}\n"
        + "limits: {max_body_bytes: 2000}\n"
    )

    upstream = config.upstreams["openai"]
    assert (upstream.connect_timeout_s, upstream.first_byte_timeout_s) == (2.0, 300.0)
    assert upstream.idle_timeout_s == 0.5
    assert config.keys == (KeyRef(name="web", secret="${OPENAI_API_KEY}", may_pin=True),)
    assert config.default_upstream == "openai"
    assert config.plans["standard"].windows_s == {"thumbs_up_rate": 7200.0}
    assert config.file.limits.max_body_bytes == 2000


def test_no_secret_is_in_what_is_loaded(loads):
    assert SECRET not in repr(loads(EXAMPLE))


def test_yaml_12_keeps_no_as_text(loads):
    text = MINIMAL + ROLLOUT + "    eligible: {geo: [no, on]}\n"

    assert loads(text).rollouts["next"].eligible == {"geo": ["no", "on"]}


def test_a_base_url_may_come_from_the_environment(loads, monkeypatch):
    monkeypatch.setenv("HOST", "10.0.0.7:8080")

    config = loads(MINIMAL.replace("https://api.openai.com/v1", "http://${HOST}/v1/"))

    assert config.upstreams["openai"].base_url == "http://10.0.0.7:8080/v1"


def test_an_alias_means_what_its_anchor_means(loads):
    text = MINIMAL.replace("control: {", "control: &v {").replace("gpt-5-mini", "m")
    text += "  other:\n    control: *v\n"

    assert loads(text).routes["other"].control.model == "m"


class TestHash:
    """One meaning, one hash."""

    def test_it_does_not_depend_on_how_the_meaning_is_written(self, loads):
        other = EXAMPLE.replace("share: 10%", "share: 0.10").replace("min: 48h", "min: 2d")

        assert loads(other).hash == loads(EXAMPLE).hash
        assert loads("# a comment\n" + EXAMPLE).hash == loads(EXAMPLE).hash

    def test_it_changes_with_a_value(self, loads):
        assert loads(EXAMPLE.replace("0.2}", "0.3}")).hash != loads(EXAMPLE).hash

    def test_it_changes_with_the_text_of_a_prompt(self, loads, project):
        before = loads(EXAMPLE).hash
        (project / "prompts/support/v13.md").write_text("Another text.")

        assert loads(EXAMPLE).hash != before

    def test_it_does_not_change_with_a_secret(self, loads, monkeypatch):
        before = loads(EXAMPLE).hash
        monkeypatch.setenv("OPENAI_API_KEY", "sk-rotated")

        assert loads(EXAMPLE).hash == before


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="an empty file"),
        pytest.param(b"# nothing\n", id="a file of comments"),
        pytest.param(b"- a\n- b\n", id="a list"),
        pytest.param(b"version: 1\n\xff\xfe", id="no UTF-8"),
        pytest.param(b"version: 1\nroutes:\n\ta: 1\n", id="a tab"),
        pytest.param(b"version: 1\nroutes: {a: [}\n", id="broken YAML"),
        pytest.param(b"version: 1\n---\nversion: 1\n", id="two documents"),
        pytest.param(b"version: *nobody\n", id="an alias of nothing"),
        pytest.param(b"a: \x00\n", id="a control character"),
        pytest.param(b"[" * 20_000, id="deep nesting"),
        pytest.param(b"&a [*a]", id="an alias of itself"),
        pytest.param(b"a: &a {b: *a}", id="a mapping that holds itself"),
        pytest.param(b"x: " + b"a" * 600_000, id="a file of 600 kB"),
    ],
)
def test_what_is_no_configuration_at_all_is_refused_with_a_sentence(tmp_path, content):
    path = tmp_path / "canary.yaml"
    path.write_bytes(content)

    with pytest.raises(ConfigError, match=r"canary\.yaml"):
        load(path)


def test_aliases_that_unfold_to_a_billion_are_refused_at_once(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    path = tmp_path / "canary.yaml"
    path.write_text("\n".join(lines))

    with pytest.raises(ConfigError, match="unfolds to more than"):
        load(path)


def test_a_missing_file_says_how_to_get_one(tmp_path):
    with pytest.raises(ConfigError, match="llm-canary init"):
        load(tmp_path / "canary.yaml")


def test_a_default_upstream_needs_no_routes_and_without_one_a_route_is_needed(loads):
    text = "version: 1\nupstreams: {a: {kind: openai, base_url: http://127.0.0.1:9/v1}}\n"

    assert loads(text + "default_upstream: a\n").routes == {}
    with pytest.raises(ConfigError, match="routes: there is none"):
        loads(text)
