"""Hot reload: a good change is taken once, a broken one is refused once."""

from __future__ import annotations

import os

import pytest

from llm_canary.config import watch
from llm_canary.config.load import LoadedConfig, load
from llm_canary.config.watch import ConfigWatcher
from llm_canary.errors import ConfigError
from tests.unit.config.texts import EXAMPLE


@pytest.fixture
def path(project):
    path = project / "canary.yaml"
    path.write_text(EXAMPLE)
    return path


@pytest.fixture
def watcher(path):
    watcher = ConfigWatcher(path, load(path))
    assert watcher.poll() is None
    return watcher


def test_an_unchanged_file_is_not_even_parsed(watcher, monkeypatch):
    monkeypatch.setattr(watch, "load", lambda _: pytest.fail("parsed"))

    assert watcher.poll() is None


def test_without_a_current_configuration_the_first_poll_brings_it(path):
    watcher = ConfigWatcher(path)

    assert isinstance(watcher.poll(), LoadedConfig)
    assert watcher.poll() is None


def test_a_change_is_brought_once(watcher, path):
    path.write_text(EXAMPLE.replace("0.2}", "0.3}"))

    loaded = watcher.poll()

    assert loaded.routes["support-bot"].control.params == {"temperature": 0.3}
    assert watcher.poll() is None


def test_a_change_that_keeps_size_and_time_is_seen(watcher, path):
    stat = path.stat()
    path.write_text(EXAMPLE.replace("0.2}", "0.3}"))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    assert isinstance(watcher.poll(), LoadedConfig)


def test_a_change_without_meaning_is_no_news(watcher, path):
    path.write_text("# a comment\n" + EXAMPLE)

    assert watcher.poll() is None


def test_a_changed_prompt_is_a_change(watcher, project):
    (project / "prompts/support/v13.md").write_text("Other words.")

    assert watcher.poll().rollouts["support-v13"].canary.prompt_text == "Other words."


def test_the_prompts_of_a_new_file_are_watched_too(watcher, path, project):
    (project / "prompts/new.md").write_text("New.")
    path.write_text(EXAMPLE.replace("support/v13", "new"))
    assert isinstance(watcher.poll(), LoadedConfig)
    (project / "prompts/new.md").write_text("Newer.")

    assert watcher.poll().rollouts["support-v13"].canary.prompt_text == "Newer."


def test_a_broken_file_is_told_once_and_its_repair_is_news(watcher, path):
    path.write_text("version: 1\nroutes: [")
    error = watcher.poll()
    assert isinstance(error, ConfigError)
    assert watcher.refused is error
    assert watcher.poll() is None
    path.write_text(EXAMPLE)

    assert isinstance(watcher.poll(), LoadedConfig)
    assert watcher.refused is None
    assert watcher.poll() is None


def test_another_fault_is_told_again(watcher, path):
    path.write_text("version: 1\nroutes: [")
    watcher.poll()
    path.write_text("version: 2\n")

    assert isinstance(watcher.poll(), ConfigError)


def test_a_fault_that_is_cured_elsewhere_is_noticed(watcher, path, project):
    path.write_text(EXAMPLE.replace("support/v13", "later"))
    assert isinstance(watcher.poll(), ConfigError)
    (project / "prompts/later.md").write_text("Here.")

    assert watcher.poll().rollouts["support-v13"].canary.prompt_text == "Here."


def test_a_vanished_file_is_an_error_and_never_an_exception(watcher, path):
    path.unlink()

    assert isinstance(watcher.poll(), ConfigError)


def test_a_file_that_changes_while_it_is_read_is_read_again(watcher, path, monkeypatch):
    path.write_text(EXAMPLE.replace("0.2}", "0.3}"))

    def read_and_change(where):
        loaded = load(where)
        path.write_text(EXAMPLE.replace("0.2}", "0.4}"))
        return loaded

    with monkeypatch.context() as patch:
        patch.setattr(watch, "load", read_and_change)
        assert watcher.poll() is None

    assert watcher.poll().routes["support-bot"].control.params == {"temperature": 0.4}
