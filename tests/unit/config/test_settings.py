"""LLM_CANARY_* variables."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from llm_canary.config.settings import Settings
from llm_canary.errors import ConfigError


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch):
    for name in Settings.model_fields:
        monkeypatch.delenv(f"LLM_CANARY_{name.upper()}", raising=False)


def test_the_defaults():
    settings = Settings()

    assert settings.config == Path("canary.yaml")
    assert settings.database_url.get_secret_value() == "sqlite:///./llm_canary.db"
    assert settings.data_dir == Path(".llm_canary")
    assert settings.url == "http://127.0.0.1:8484"
    assert settings.api_key is None


def test_the_environment_wins_and_an_empty_variable_is_none(monkeypatch):
    monkeypatch.setenv("LLM_CANARY_CONFIG", "/etc/canary.yaml")
    monkeypatch.setenv("LLM_CANARY_API_KEY", "")

    settings = Settings()

    assert settings.config == Path("/etc/canary.yaml")
    assert settings.api_key is None


def test_they_are_frozen():
    with pytest.raises(ValidationError):
        Settings().url = "http://x"


def test_they_show_no_secret(monkeypatch):
    monkeypatch.setenv("LLM_CANARY_API_KEY", "hunter2")
    monkeypatch.setenv("LLM_CANARY_DATABASE_URL", "postgresql://me:hunter2@db/x")

    assert "hunter2" not in f"{Settings()!r} {Settings()}"


def test_every_wrong_variable_is_named_and_no_value_is(monkeypatch):
    monkeypatch.setenv("LLM_CANARY_DATABASE_URL", "mysql://me:hunter2@db")
    monkeypatch.setenv("LLM_CANARY_URL", "http://me:hunter2@host")

    with pytest.raises(ConfigError) as caught:
        Settings()
    assert len(caught.value.problems) == 2
    assert "LLM_CANARY_DATABASE_URL: expected a URL that begins with" in caught.value.message
    assert "LLM_CANARY_URL" in caught.value.message
    assert "hunter2" not in caught.value.message
