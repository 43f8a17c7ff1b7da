"""What `llm-canary init` writes."""

from __future__ import annotations

import pytest

from llm_canary.config.load import load
from llm_canary.config.starter import starter_files


@pytest.fixture
def started(tmp_path):
    for name, text in starter_files().items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_it_loads_as_it_is_without_a_warning(started):
    config = load(started / "canary.yaml")

    assert set(config.routes) == {"assistant"}
    assert set(config.rollouts) == {"assistant-v2"}
    assert config.warnings == ()


def test_it_still_loads_when_every_suggestion_is_taken(started, monkeypatch):
    monkeypatch.setenv("WEB_APP_KEY", "secret")
    path = started / "canary.yaml"
    lines = path.read_text().splitlines()
    suggested = ("local:", "kind:", "base_url:", "price:", "plans:", "careful:", "extends:",
                 "stages:", "- {", "keys:", "web:")  # fmt: skip
    taken = [
        line.replace("# ", "", 1)
        if line.lstrip().startswith("#") and line.lstrip("# ").startswith(suggested)
        else line
        for line in lines
    ]
    path.write_text("\n".join(taken))

    config = load(path)

    assert set(config.upstreams) == {"openai", "local"}
    assert "careful" in config.plans
    assert [key.name for key in config.keys] == ["web"]
