"""`llm-canary simulate` on short rehearsals."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET

import pytest
from click.testing import CliRunner

from llm_canary.cli import main

SHORT = """
version: 1
upstreams:
  sim: {kind: openai, base_url: "http://127.0.0.1:9"}
routes:
  bot: {control: {upstream: sim, model: good}}
rollouts:
  next:
    route: bot
    canary: {upstream: sim, model: new}
    plan: hours
    gates: {error_rate: {margin: 5pp}}
plans:
  hours:
    full_cycle: 0s
    stages:
      - {name: initial, share: 20%, min: 4h, max: 12h, min_units: 50}
      - {name: full, holdback: 1%}
      - {name: standby, for: 2h}
    gates:
      error_rate: {kind: guardrail, margin: 2pp}
      cost_per_request: {kind: goal, margin: 25%}
"""


@pytest.fixture
def simulate(tmp_path):
    """Run the command on a plan of hours; return what it prints."""
    path = tmp_path / "canary.yaml"
    path.write_text(SHORT)

    def call(*arguments, code=0):
        own = () if "--plan" in arguments else ("--config", str(path), "--rollout", "next")
        done = CliRunner().invoke(main, ["simulate", *own, "--runs", "6", *arguments])
        assert done.exit_code == code, done.output
        return done.output

    return call


def document(text):
    return json.loads(text[text.index("{") :])


def test_identical_variants_are_promoted_and_the_same_seed_says_the_same(simulate):
    found = document(simulate("--json", "--seed", "3"))

    assert found["plan"] == "hours"
    assert found["runs"] == sum(end["runs"] for end in found["ends"].values()) == 6
    assert found["ends"]["promoted"]["runs"] >= 5
    assert 4 <= found["hours_to_promotion"]["median"] <= 12
    assert found == document(simulate("--json", "--seed", "3"))
    assert found != document(simulate("--json", "--seed", "4"))


def test_a_described_degradation_is_rolled_back_with_its_metric_time_and_exposure(simulate):
    found = document(simulate("--json", "--worse", "error_rate=+15pp"))

    assert found["ends"]["rolled_back"]["runs"] == 6
    assert found["accused"] == {"error_rate": 6}
    assert found["hours_to_rollback"]["p90"] <= 4
    assert 0 < found["requests_to_rollback"]["median"] <= 3_000
    assert found["ends"]["rolled_back"]["low"] == pytest.approx(0.541, abs=0.001)


def test_people_read_the_false_alarms_of_an_identical_canary(simulate):
    shown = simulate("--daily", "20000", "--requests-per-user", "4", "--icc", "0.2")

    assert "canary\tidentical canary" in shown
    assert "20,000 requests a day by 5,000 users" in shown
    assert re.search(r"false alarms\t0\.0% \[0\.0%, 45\.9%\]", shown)


def test_what_is_usual_can_be_told(simulate):
    more = (
        "--rate",
        "error_rate=30%",
        "--mean",
        "cost_per_request=0.01:0.002",
        "--observed",
        "thumbs_up_rate=50%",
    )
    found = document(simulate("--json", "--worse", "cost_per_request=+60%", *more))

    assert found["accused"] == {"cost_per_request": 6}


def test_the_picture_is_svg_with_every_place_of_the_rollouts(simulate, tmp_path):
    path = tmp_path / "out.svg"
    simulate("--worse", "error_rate=+15pp", "--picture", str(path))
    root = ET.fromstring(path.read_text())
    texts = [each.text for each in root.iter("{http://www.w3.org/2000/svg}text")]

    assert {"initial", "rolled back", "Rolled back after"} <= set(texts)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--worse", "nothing=+1pp"), "no simulated 'nothing'"),
        (("--worse", "error_rate"), "METRIC=+1pp"),
        (("--worse", "cost_per_request=+1pp"), "in percent"),
        (("--worse", "error_rate=+200pp"), "cannot be"),
        (("--rate", "latency_p95=5%"), "use --mean"),
        (("--mean", "error_rate=5"), "use --rate"),
        (("--mean", "latency_p95=0"), "is positive"),
        (("--rate", "nothing=5%"), "no simulated 'nothing'"),
        (("--plan", "other"), "no built-in plan 'other'"),
        (("--rollout", "other"), "no rollout 'other'"),
        (("--requests-per-user", "0.5"), "at least 1"),
        (("--icc", "1"), "between 0 and 1"),
    ],
)
def test_what_cannot_be_simulated_is_refused_with_the_way_out(simulate, arguments, told):
    assert told in simulate(*arguments, code=1)
