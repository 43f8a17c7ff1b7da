"""What the file says reaches the routing table, also by way of the database and the disk."""

from __future__ import annotations

import msgspec
import pytest

from llm_canary.config.rollout_spec import RolloutSpec
from llm_canary.opaque import Opaque
from llm_canary.rollout.publish import Effective, build_table
from llm_canary.routing.table import OnDisconnect, PromptVariable, decode, encode
from llm_canary.storage.repositories.rollouts import RolloutRecord, State
from tests.unit.config.texts import EXAMPLE, MINIMAL, ROLLOUT

NAMED = "Hello {{ metadata.name | default('friend') }}, of {{ metadata.shop }}."
NAMED_PARTS = (
    "Hello ",
    PromptVariable(path=("metadata", "name"), default="friend"),
    ", of ",
    PromptVariable(path=("metadata", "shop")),
    ".",
)


def table_of(config, name="next"):
    """Return the table with the rollout running, as another process reads it."""
    stored = msgspec.to_builtins(config.rollouts[name])
    record = RolloutRecord(
        id="r1",
        name=name,
        attempt=1,
        build_attempt=1,
        route="support-bot",
        state=State.RUNNING,
        salt="salt",
        spec=msgspec.convert(stored, RolloutSpec),
        created_at_s=0.0,
        stage="initial",
        share=0.05,
    )
    effective = Effective((record,), {})
    return decode(
        encode(
            build_table(
                config, effective, lambda _model, _provider: None, unit_secret=Opaque(), version=1
            )
        )
    )


@pytest.mark.parametrize(
    ("line", "on_disconnect"),
    [
        ("", OnDisconnect.CANCEL),
        ("    on_disconnect: cancel\n", OnDisconnect.CANCEL),
        ("    on_disconnect: drain\n", OnDisconnect.DRAIN),
    ],
)
def test_what_happens_when_the_client_leaves(loads, line, on_disconnect):
    table = table_of(loads(MINIMAL + line + ROLLOUT))

    assert table.routes["support-bot"].on_disconnect is on_disconnect


@pytest.mark.parametrize(
    ("line", "fallback"),
    [("", False), ("    fallback: none\n", False), ("    fallback: control\n", True)],
)
def test_who_answers_what_the_canary_fails(loads, line, fallback):
    table = table_of(loads(MINIMAL + ROLLOUT + line))

    assert table.routes["support-bot"].split.fallback is fallback


@pytest.mark.parametrize(
    ("text", "path", "expected"),
    [
        (f"{MINIMAL}    on_disconnect: stop\n", "on_disconnect", "expected cancel or drain"),
        (f"{MINIMAL}    on_disconnect: true\n", "on_disconnect", "expected cancel or drain"),
        (f"{MINIMAL}    on_disconnect: drian\n", "on_disconnect", "did you mean 'drain'?"),
        (f"{MINIMAL}{ROLLOUT}    fallback: true\n", "fallback", "expected none or control"),
        (f"{MINIMAL}{ROLLOUT}    fallback: canary\n", "fallback", "expected none or control"),
        (f"{MINIMAL}{ROLLOUT}    fallback:\n", "fallback", "expected none or control"),
    ],
)
def test_any_other_choice_is_refused(refuses, text, path, expected):
    (problem,) = refuses(text)

    assert f".{path}: " in problem and expected in problem


def test_a_rollout_from_before_there_was_a_fallback_has_none(loads):
    stored = msgspec.to_builtins(loads(MINIMAL + ROLLOUT).rollouts["next"])
    del stored["fallback"]

    assert not msgspec.convert(stored, RolloutSpec).fallback


def test_a_prompt_with_variables_is_parts_and_one_without_is_text(loads, project):
    (project / "prompts/support/v13.md").write_text(NAMED)

    route = table_of(loads(EXAMPLE), "support-v13").routes["support-bot"]

    assert (route.control.prompt_text, route.control.prompt_parts) == ("You are support v12.", ())
    assert (route.split.canary.prompt_text, route.split.canary.prompt_parts) == (None, NAMED_PARTS)


def test_a_bad_prompt_is_a_problem_at_the_variant_that_names_it(refuses, project):
    (project / "prompts/support/v13.md").write_text("Hello\n{{ user.name }}")

    (problem,) = refuses(EXAMPLE)

    assert "rollouts.support-v13.canary.prompt: prompts/support/v13.md:2: " in problem
    assert "the expression 'user.name' is not allowed" in problem


def test_upstreams_keep_what_the_file_says_of_them(loads):
    text = MINIMAL.replace(
        "routes:",
        "    retries: 2\n    breaker: {failures: 4, pause: 5s}\n    timeouts: {total: 30s}\n"
        "    price: {input_per_million: 1, output_per_million: 2, "
        "tiers: {flex: {input_per_million: 0.5, output_per_million: 1}}}\n"
        "  claude: {kind: litellm, provider: anthropic}\n"
        "routes:",
    )
    config = loads(text + ROLLOUT)

    table = table_of(config)

    assert table.upstreams == config.upstreams
    assert table.upstreams["claude"].provider == "anthropic"
    assert table.upstreams["openai"].price.tiers["flex"].input == 500.0
    assert table.routes["support-bot"].control.price == table.upstreams["openai"].price


@pytest.mark.parametrize(
    "line",
    ["retries: 1", "breaker: {failures: 9}", "timeouts: {total: 1s}"],
)
def test_the_hash_of_the_configuration_changes_with_them(loads, line):
    changed = MINIMAL.replace("routes:", f"    {line}\nroutes:")

    assert loads(changed).hash != loads(MINIMAL).hash
