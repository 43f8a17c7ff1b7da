"""Prompt versions: found, read, hashed, rendered, or refused with a way out."""

from __future__ import annotations

import hashlib

import pytest

from llm_canary.config.prompts import load_prompt
from llm_canary.errors import ConfigError


def write(folder, text: str | bytes):
    folder.mkdir(exist_ok=True)
    data = text if isinstance(text, bytes) else text.encode()
    (folder / "a.md").write_bytes(data)
    return folder


def test_a_prompt_is_its_text_and_the_hash_of_its_source(tmp_path):
    prompt = load_prompt(write(tmp_path / "prompts", "Be kind - äöü 🙂.\n"), "a")

    assert prompt.text == "Be kind - äöü 🙂."
    assert prompt.hash == hashlib.sha256("Be kind - äöü 🙂.\n".encode()).hexdigest()


def test_comments_are_not_sent_and_raw_braces_are(tmp_path):
    source = 'A{# not for the model #}B {% raw %}{"x": {{y}}}{% endraw %}'

    assert load_prompt(write(tmp_path, source), "a").text == 'AB {"x": {{y}}}'


@pytest.mark.parametrize(
    ("source", "line"),
    [
        pytest.param("one\ntwo {{ user }}\n", 2, id="a variable"),
        pytest.param("{{ ''.__class__.__mro__ }}", 1, id="an expression that climbs"),
        pytest.param("\n\n{% for i in range(9**9) %}x{% endfor %}", 3, id="a loop"),
        pytest.param("{% include 'x' %}", 1, id="an include"),
        pytest.param("{% if true %}x{% endif %}", 1, id="a condition"),
        pytest.param("one\n{% nonsense %}", 2, id="an unknown statement"),
        pytest.param("one\n\n{{ broken", 3, id="an unclosed expression"),
    ],
)
def test_what_would_compute_is_refused_with_its_line_and_the_way_to_write_braces(
    tmp_path, source, line
):
    folder = write(tmp_path / "prompts", source)

    with pytest.raises(ConfigError, match=rf"prompts/a\.md:{line}: .*raw") as caught:
        load_prompt(folder, "a")
    assert "user" not in caught.value.message


@pytest.mark.parametrize(
    ("source", "words"),
    [
        pytest.param(" \n", "is empty", id="nothing but space"),
        pytest.param(b"ok\n\xff", ":2: the text is not UTF-8", id="no UTF-8"),
        pytest.param(b"a" * 300_000, "larger than", id="too much"),
    ],
)
def test_what_is_no_prompt_is_refused(tmp_path, source, words):
    with pytest.raises(ConfigError, match=words):
        load_prompt(write(tmp_path, source), "a")


def test_a_link_that_leads_outside_the_folder_is_refused(tmp_path):
    folder = tmp_path / "prompts"
    folder.mkdir()
    (tmp_path / "secret.md").write_text("secret")
    (folder / "a.md").symlink_to(tmp_path / "secret.md")

    with pytest.raises(ConfigError, match="leads outside"):
        load_prompt(folder, "a")
