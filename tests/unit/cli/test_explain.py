"""`llm-canary explain` as somebody runs it who wonders why a user got that answer."""

from __future__ import annotations

import json
import logging

import msgspec
import pytest
from click.testing import CliRunner

from llm_canary.cli import main
from llm_canary.config.load import load
from llm_canary.config.starter import starter_files
from llm_canary.opaque import Opaque
from llm_canary.rollout.publish import Effective, build_table
from llm_canary.routing.table import Split, encode


@pytest.fixture
def project(tmp_path, monkeypatch):
    for path, text in starter_files().items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "k1")
    monkeypatch.setenv("LLM_CANARY_DATA_DIR", str(tmp_path / "data"))
    level = logging.getLogger("llm_canary").level
    yield tmp_path
    logging.getLogger("llm_canary").setLevel(level)


@pytest.fixture
def published(project):
    """The table of a gateway where everybody of Austria is to get the canary."""
    config = load(project / "canary.yaml")
    table = build_table(
        config,
        Effective((), {}),
        lambda _model, _provider: None,
        unit_secret=Opaque(b"\xab" * 32),
        version=7,
    )
    route = table.routes["assistant"]
    split = Split(
        rollout_id="r-1",
        rollout="assistant-v2",
        salt="s",
        stage="initial",
        share=1.0,
        canary=config.rollouts["assistant-v2"].canary,
        eligible={"geo": ["at"]},
    )
    routes = {"assistant": msgspec.structs.replace(route, split=split)}
    (project / "data").mkdir()
    data = encode(msgspec.structs.replace(table, routes=routes))
    (project / "data" / "table.json").write_bytes(data)
    return project


def run(*arguments, **options):
    return CliRunner().invoke(main, ("explain", *arguments), **options)


def facts(*arguments):
    shown = run(*arguments, "--json")
    assert shown.exit_code == 0, shown.output
    return json.loads(shown.stdout)


def test_before_anything_is_published_the_file_is_asked(project):
    found = facts("assistant", "--user", "u-1")

    assert (found["variant"], found["reason"], found["rollout"]) == ("control", "no_rollout", None)
    assert found["why"] == "no rollout is running on this route"
    assert found["table"].startswith("canary.yaml; nothing is published")


def test_the_published_table_decides(published):
    canary = facts("assistant", "--user", "u-1", "--segment", "geo=at")
    other = facts("assistant", "--user", "u-1", "--segment", "geo=us")
    silent = facts("assistant", "--user", "u-1")

    assert (canary["variant"], canary["is_compared"]) == ("canary", True)
    assert canary["unit_source"] == "header:x-canary-user"
    assert canary["why"].endswith("is one of the canary's, 0 to 999999")
    assert "version 7" in canary["table"]
    assert (other["variant"], other["reason"]) == ("control", "ineligible")
    assert other["why"] == "the rollout is not for this request: geo is 'us'"
    assert silent["why"].endswith("geo is not told")
    assert other["rules"] == [{"segment": "geo", "rule": ["at"], "value": "us", "holds": False}]


def test_lines_for_people_say_the_same(published):
    shown = run("assistant", "--user", "u-1", "--segment", "geo=us").stdout

    assert "variant\tcontrol (v-" in shown
    assert "why\tthe rollout is not for this request: geo is 'us'" in shown
    assert "geo\t['at']\tus\tno" in shown


@pytest.mark.parametrize("endpoint", ["responses", "completions", "embeddings", "messages"])
def test_every_endpoint_can_be_asked_for(published, endpoint):
    assert facts("assistant", "--endpoint", endpoint)["route"] == "assistant"


def test_a_whole_request_can_be_given(published):
    body = {"model": "assistant", "user": "u-1", "messages": [{"role": "user", "content": "x"}]}

    shown = run("--body", "-", "--header", "X-Canary-Pin: canary", "--json", input=json.dumps(body))

    found = json.loads(shown.stdout)
    assert (found["unit_source"], found["reason"]) == ("body:user", "pin")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nix"], 1, "model 'nix' is not a route of this gateway; routes: assistant"),
        (["assistant", "--pin", "nix"], 1, "use control or canary"),
        (["assistant", "--key", "nix"], 2, "there is no key 'nix'; keys: none"),
        (["assistant", "--segment", "geo"], 2, "'geo' is not NAME=VALUE"),
        (["assistant", "--header", "geo"], 2, "'geo' is not NAME:VALUE"),
        ([], 2, "say which MODEL"),
    ],
)
def test_a_mistake_is_named_with_the_way_out(published, arguments, code, said):
    shown = run(*arguments)

    assert shown.exit_code == code
    assert said in shown.output


def test_a_body_that_is_no_request_names_its_field(published):
    shown = run("--body", "-", input='{"model": "assistant"}')

    assert shown.exit_code == 1 and "messages" in shown.output


def test_a_segment_that_nothing_reads_is_noted(published):
    assert "does not read segment 'shoe'" in run("assistant", "--segment", "shoe=9").stderr
