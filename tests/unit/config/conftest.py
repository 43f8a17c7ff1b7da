"""A small project on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from llm_canary.config.load import LoadedConfig, load
from llm_canary.errors import ConfigError
from tests.unit.config.texts import SECRET


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("ANTHROPIC_API_KEY", SECRET + "x")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The folder of PRODUCT's example: prompts, a rubric and a data set."""
    for version in ("v12", "v13"):
        prompt = tmp_path / "prompts" / "support" / f"{version}.md"
        prompt.parent.mkdir(parents=True, exist_ok=True)
        prompt.write_text(f"You are support {version}.\n")
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "support.jsonl").write_text("{}\n")
    return tmp_path


@pytest.fixture
def loads(project: Path) -> Callable[[str], LoadedConfig]:
    """Load a text as canary.yaml of the project."""

    def loaded(text: str) -> LoadedConfig:
        path = project / "canary.yaml"
        path.write_text(text, encoding="utf-8")
        return load(path)

    return loaded


@pytest.fixture
def refuses(loads: Callable[[str], LoadedConfig]) -> Callable[[str], tuple[str, ...]]:
    """Return the problems of a text that must not load."""

    def problems(text: str) -> tuple[str, ...]:
        with pytest.raises(ConfigError) as caught:
            loads(text)
        return caught.value.problems

    return problems
