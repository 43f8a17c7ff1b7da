"""The configuration in force, as it is shown: complete, and without a secret."""

import pytest

from llm_canary.config.effective import HIDDEN, as_yaml, effective
from llm_canary.config.load import load
from llm_canary.config.settings import Settings
from llm_canary.routing.table import Variant

FILE = """
version: 1
upstreams:
  openai: {kind: openai, base_url: "https://api.example/v1", api_key: "${SOME_KEY}"}
routes:
  bot:
    control:
      upstream: openai
      model: good
      params: {temperature: 0.2, max_tokens: 9, extra_headers: {authorization: hunter4, x-team: red}}
keys:
  ops: {key: "${OPS_KEY}", role: operator}
"""


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_KEY", "hunter5")
    monkeypatch.setenv("OPS_KEY", "hunter6")
    path = tmp_path / "canary.yaml"
    path.write_text(FILE)
    return load(path)


def test_no_secret_is_shown_and_every_reference_is(config):
    text = as_yaml(effective(config, {}))

    assert "hunter" not in text
    assert text.count("${") == 2
    assert f"authorization: {HIDDEN}" in text


def test_what_only_sounds_like_a_secret_is_shown(config):
    params = effective(config, {})["routes"]["bot"]["control"]["params"]

    assert params["max_tokens"] == 9
    assert params["extra_headers"]["x-team"] == "red"


def test_defaults_are_there_in_the_order_of_the_form(config):
    plain = effective(config, {})

    assert list(plain)[:4] == ["version", "upstreams", "prompts", "routes"]
    assert plain["judging"]["samples_per_day"] == 250
    assert plain["routes"]["bot"]["content"]["store"] == "none"


def test_the_control_that_a_rollout_left_is_in_force(config):
    plain = effective(config, {"bot": Variant("openai", "better", prompt="bot/v2")})

    control = plain["routes"]["bot"]["control"]
    assert (control["model"], control["prompt"]) == ("better", "bot/v2")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:///./my.db", "sqlite:///./my.db"),
        ("postgresql://me:hunt/er@2@db.example/x?password=hunter3", "postgresql://(hidden)"),
    ],
)
def test_the_environment_is_shown_without_what_may_be_secret(monkeypatch, url, shown):
    monkeypatch.setenv("LLM_CANARY_DATABASE_URL", url)
    monkeypatch.setenv("LLM_CANARY_API_KEY", "hunter2")

    variables = Settings().shown()

    assert variables["LLM_CANARY_DATABASE_URL"] == shown
    assert variables["LLM_CANARY_API_KEY"] == "set"
    assert "hunt" not in str(variables)
    assert len(variables) == len(Settings.model_fields)
