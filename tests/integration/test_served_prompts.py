"""A prompt version that users were served by keeps its text."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy.engine import Engine

from llm_canary.clock import ManualClock
from llm_canary.config.load import LoadedConfig, load
from llm_canary.errors import ConfigError
from llm_canary.rollout.service import RolloutService
from llm_canary.storage.engine import read_session
from llm_canary.storage.ingest import SqlBatchSink
from llm_canary.storage.repositories.prompts import served_prompts
from tests.factories import NOON_S, make_inference

CONFIG = """
version: 1
upstreams:
  sim: {kind: openai, base_url: "http://127.0.0.1:9"}
routes:
  bot: {control: {upstream: sim, model: good, prompt: support/v1}}
"""


class Site:
    """A configuration file with its prompt, and the rules of the running server for it."""

    def __init__(self, engine: Engine, directory: Path) -> None:
        self.path = directory / "canary.yaml"
        self.path.write_text(CONFIG)
        self.prompt = directory / "prompts" / "support" / "v1.md"
        self.prompt.parent.mkdir(parents=True)
        self.prompt.write_text("Be kind.")
        self._service = RolloutService(engine, self.load, ManualClock(NOON_S))

    def load(self) -> LoadedConfig:
        return load(self.path)

    @property
    def hash(self) -> str:
        return self.load().prompt_hashes["support/v1"]

    def check(self) -> None:
        self._service.check_config(self.load())


@pytest.fixture
def site(engine: Engine, tmp_path: Path) -> Site:
    return Site(engine, tmp_path)


def test_a_version_nobody_was_served_by_may_change(engine: Engine, site: Site) -> None:
    SqlBatchSink(engine).write([make_inference(prompt=None, prompt_hash=None)])
    site.prompt.write_text("Be brief.")

    site.check()


def test_a_served_version_that_changed_is_refused_by_name_hashes_and_way_out(
    engine: Engine, site: Site
) -> None:
    before = site.hash
    SqlBatchSink(engine).write([make_inference(prompt="support/v1", prompt_hash=before)])
    site.check()
    site.prompt.write_text("Be brief.")

    with pytest.raises(ConfigError) as refused:
        site.check()

    assert refused.value.problems == (
        (
            "prompt 'support/v1' was changed after it was first served on 2027-01-15 08:00 UTC "
            f"(its text is now {site.hash[:12]}, not {before[:12]}); "
            "take the change back and write a new version instead"
        ),
    )
    site.prompt.write_text("Be kind.")
    site.check()


def test_the_text_that_was_served_first_stays(engine: Engine) -> None:
    first = make_inference(prompt="a/v1", prompt_hash="one")
    later = make_inference(prompt="a/v1", prompt_hash="two", at_s=NOON_S + 60)
    other = make_inference(prompt="b/v1", prompt_hash="three", at_s=NOON_S + 60)

    SqlBatchSink(engine).write([first, later])
    SqlBatchSink(engine).write([later, other])

    with read_session(engine) as session:
        served = served_prompts(session)
    assert {name: one.content_hash for name, one in served.items()} == {
        "a/v1": "one",
        "b/v1": "three",
    }
    assert served["a/v1"].first_served_at.timestamp() == NOON_S


def test_a_batch_that_is_refused_notes_nothing_and_does_so_when_it_comes_again(
    engine: Engine,
) -> None:
    sink = SqlBatchSink(engine)
    event = make_inference(prompt="a/v1", prompt_hash="one")
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE score_task RENAME TO away")
    with pytest.raises(Exception, match="score_task"):
        sink.write([event])
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO score_task")
    with read_session(engine) as session:
        assert served_prompts(session) == {}

    sink.write([event])

    with read_session(engine) as session:
        assert set(served_prompts(session)) == {"a/v1"}
