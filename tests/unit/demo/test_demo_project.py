"""The project that the demonstration writes."""

import pytest

from llm_canary.config.load import load
from llm_canary.demo.project import FACTS, ORDERS, SUPPORT, ModelServer, arms, write_project

SERVER = ModelServer("http://127.0.0.1:9/v1", "tiny")


def plain():
    return arms("tiny", swap=False, identical=False)


def loaded(directory, server=SERVER, both=None):
    return load(write_project(directory, server, both or plain()))


def test_the_file_loads_and_both_rollouts_follow_the_compressed_plan(tmp_path):
    config = loaded(tmp_path)

    plan = config.plans["minutes"]
    assert {spec.route for spec in config.rollouts.values()} == {ORDERS, SUPPORT, FACTS}
    assert {spec.plan.name for spec in config.rollouts.values()} == {plan.name}
    measured = [stage for stage in plan.stages if stage.is_measured]
    assert [stage.share for stage in measured] == [0.10, 0.25, 0.50]
    assert all(30 <= stage.min_units <= 40 for stage in measured)
    assert plan.stages[-2].share == 1.0


def test_the_arms_differ_in_nothing_but_the_one_fault_under_test():
    both = plain()

    orders, support = both[ORDERS], both[SUPPORT]
    assert "response_format" in orders.control["params"]
    without = {**orders.control["params"]}
    del without["response_format"]
    assert orders.canary == {**orders.control, "params": without}
    assert support.canary == {**support.control, "prompt": "support/v13"}
    facts = both[FACTS]
    assert facts.canary == {**facts.control, "prompt": "facts/v2"}


def test_the_canarys_prompt_is_much_shorter_and_states_the_same_facts(tmp_path):
    config = loaded(tmp_path)

    long = config.routes[SUPPORT].control.prompt_text
    short = config.rollouts["support-v13"].canary.prompt_text
    assert len(short) < 0.5 * len(long)
    assert all(fact in text for fact in ("3 days", "30 days", "2 years") for text in (long, short))


def test_swap_exchanges_the_arms_of_both_routes():
    swapped = arms("tiny", swap=True, identical=False)

    assert {route: (pair.canary, pair.control) for route, pair in swapped.items()} == {
        route: (pair.control, pair.canary) for route, pair in plain().items()
    }


def test_identical_lets_the_control_compete_with_itself():
    same = arms("tiny", swap=False, identical=True)

    assert [pair.canary for pair in same.values()] == [pair.control for pair in same.values()]
    assert same[ORDERS].control == plain()[ORDERS].control


def test_a_key_is_written_as_a_reference(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    config = loaded(tmp_path, ModelServer("https://api.example/v1", "m", "${OPENAI_API_KEY}"))

    assert config.upstreams["model"].api_key == "${OPENAI_API_KEY}"
    assert "sk-very-secret" not in (tmp_path / "canary.yaml").read_text()


@pytest.mark.parametrize("model", ['a "quoted" name', "with: colon", "ünï"])
def test_any_model_name_survives_the_file(tmp_path, model):
    config = loaded(
        tmp_path, ModelServer(SERVER.base_url, model), arms(model, swap=False, identical=False)
    )

    assert config.routes[ORDERS].control.model == model
