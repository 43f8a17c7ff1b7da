"""Secrets by reference; an error names the reference and never a value."""

from __future__ import annotations

import subprocess
import sys

import pytest

from llm_canary.config.secrets import interpolate, resolve
from llm_canary.errors import ConfigError


def test_a_variable(monkeypatch):
    monkeypatch.setenv("TOKEN", "sk-1")

    assert resolve("${TOKEN}") == b"sk-1"


def test_a_file_without_its_last_line_break(tmp_path):
    (tmp_path / "key").write_text("sk-1\n")

    assert resolve(f"file:{tmp_path}/key") == b"sk-1"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(None, "cannot be read", id="a missing file"),
        pytest.param(b"\n", "is empty", id="an empty file"),
        pytest.param(b"hunter2\nhunter3", "line breaks", id="two lines"),
        pytest.param(b" hunter2", "spaces", id="a space before it"),
        pytest.param(b"hunter2\xc3\xa4", "ASCII", id="what no header can carry"),
        pytest.param(b"\xff", "UTF-8", id="no text"),
        pytest.param(b"a" * 70_000, "larger", id="no secret at all"),
    ],
)
def test_a_file_that_holds_no_secret_is_named_and_its_content_is_not(tmp_path, content, words):
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ConfigError, match=words) as caught:
        resolve(f"file:{path}")
    assert str(path) in caught.value.message
    assert "hunter" not in caught.value.message


@pytest.mark.parametrize("value", [None, ""])
def test_a_variable_that_is_not_set_is_named(monkeypatch, value):
    monkeypatch.delenv("TOKEN", raising=False)
    if value is not None:
        monkeypatch.setenv("TOKEN", value)

    with pytest.raises(ConfigError, match=r"TOKEN is (not set|empty)"):
        resolve("${TOKEN}")


@pytest.mark.parametrize("text", ["hunter2", "$TOKEN", "${TOKEN", "${}", "x${TOKEN}", "file:rel"])
def test_what_is_no_reference_is_refused_unseen(text):
    with pytest.raises(ConfigError, match="plain text") as caught:
        resolve(text)
    assert "hunter2" not in caught.value.message


def test_a_text_may_hold_variables(monkeypatch):
    monkeypatch.setenv("HOST", "a.example")

    assert interpolate("https://${HOST}/v1") == "https://a.example/v1"


def test_the_data_plane_gets_them_without_a_framework():
    code = (
        "import sys, llm_canary.config.secrets as s; "
        "print(sorted({'pydantic','ruamel','jinja2','msgspec'} & set(sys.modules)))"
    )

    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert run.stdout.strip() == "[]"
