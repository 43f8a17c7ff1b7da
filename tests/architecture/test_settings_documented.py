"""Every environment variable and every key of the file is explained to users."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from llm_canary.config.file import CanaryFile
from llm_canary.config.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "configuration.md").read_text()
SCHEMA = CanaryFile.model_json_schema(by_alias=True)
KEYS = sorted(
    (title, key)
    for title, model in {**SCHEMA["$defs"], "CanaryFile": SCHEMA}.items()
    for key in model.get("properties", {})
)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_an_environment_variable_is_on_the_page(name):
    assert f"| `LLM_CANARY_{name.upper()}` |" in PAGE
    assert Settings.model_fields[name].description


def test_every_variable_that_the_code_reads_is_on_the_page():
    read = {
        name
        for path in (ROOT / "llm_canary").rglob("*.py")
        for name in re.findall(r"LLM_CANARY_[A-Z_]+[A-Z]", path.read_text())
    }

    assert {name for name in read if f"`{name}`" not in PAGE} == set()


@pytest.mark.parametrize(("model", "key"), KEYS, ids=[".".join(pair) for pair in KEYS])
def test_a_key_of_the_file_is_on_the_page_with_its_meaning(model, key):
    model_schema = SCHEMA if model == "CanaryFile" else SCHEMA["$defs"][model]
    description = model_schema["properties"][key].get("description")

    assert description
    assert any(
        line.startswith(f"| `{key}` |") and description in line for line in PAGE.splitlines()
    )
