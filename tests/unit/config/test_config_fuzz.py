"""Whatever is done to the example: a configuration or a ConfigError, and never a secret."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from llm_canary.config.load import LoadedConfig, load
from llm_canary.errors import ConfigError
from tests.unit.config.texts import EXAMPLE, SECRET

WITH_PLAIN_SECRETS = EXAMPLE + "keys:\n  web: {key: " + SECRET + "}\n"
LINES = WITH_PLAIN_SECRETS.splitlines(keepends=True)
ODD = [
    *(
        "",
        "{",
        "]",
        ":",
        "- ",
        "\t",
        "&a ",
        "*a",
        "!!int ",
        "null",
        "-1",
        "1e999",
        ".nan",
        "'",
        '"',
    ),
    *("#", "|\n", "? ", "<<: ", "\x00", "\ufeff", "9" * 5000, "${", "${HOME}", "🙂", "%"),
    *('"\\0"', '"\\ud800"', "a" * 5000, "../" * 50),
    *("---\n", "version", "true", "2001-01-01", "{}", "[]", "[[]]", "{a: {b: [c]}}"),
]


@st.composite
def mutated(draw: st.DrawFn) -> str:
    lines = list(LINES)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(lines) - 1))
        act = draw(st.sampled_from(["drop", "double", "swap", "splice", "value", "indent"]))
        other = draw(st.integers(0, len(lines) - 1))
        if act == "drop" and len(lines) > 1:
            del lines[at]
        elif act == "double":
            lines.insert(other, lines[at])
        elif act == "swap":
            lines[at], lines[other] = lines[other], lines[at]
        elif act == "splice":
            column = draw(st.integers(0, len(lines[at])))
            odd = draw(st.sampled_from(ODD) | st.text(max_size=8))
            lines[at] = lines[at][:column] + odd + lines[at][column:]
        elif act == "value":
            key, colon, _ = lines[at].partition(":")
            lines[at] = f"{key}{colon} {draw(st.sampled_from(ODD))}\n"
        else:
            lines[at] = " " * draw(st.integers(0, 8)) + lines[at].lstrip(" ")
    return "".join(lines)


@pytest.fixture(scope="module")
def folder():
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for path in ("prompts/support/v12.md", "prompts/support/v13.md",
                     "datasets/support.jsonl"):  # fmt: skip
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text("x")
        yield root


def outcome(folder: Path, data: bytes) -> LoadedConfig | ConfigError:
    path = folder / "canary.yaml"
    path.write_bytes(data)
    os.environ["OPENAI_API_KEY"] = os.environ["ANTHROPIC_API_KEY"] = SECRET
    try:
        return load(path)
    except ConfigError as error:
        return error


@settings(max_examples=400, suppress_health_check=list(HealthCheck))
@given(text=mutated())
def test_a_mutated_example_never_raises_anything_else_nor_shows_a_secret(folder, text):
    result = outcome(folder, text.encode("utf-8", "surrogatepass"))

    if isinstance(result, ConfigError):
        told = "\n".join([str(result), *result.problems])
        assert result.problems
        assert SECRET not in told
        assert SECRET[8:] not in told
    else:
        assert SECRET not in repr(result)


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(
    data=st.binary(max_size=200)
    | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace"))
)
@example(data=b"{" * 5000)
@example(data=b"- " * 5000)
def test_any_bytes_at_all_end_in_a_sentence(folder, data):
    assert isinstance(outcome(folder, data), ConfigError)
