"""Prompt versions: found, read, hashed, rendered, or refused with a way out."""

from __future__ import annotations

import hashlib

import pytest

from llm_canary.config.prompts import load_prompt
from llm_canary.errors import ConfigError
from llm_canary.routing.table import PromptVariable


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


def test_a_prompt_without_variables_has_no_parts(tmp_path):
    assert load_prompt(write(tmp_path, "A{# c #}B"), "a").parts == ()


NAME = PromptVariable(path=("metadata", "name"))
FRIEND = PromptVariable(path=("metadata", "name"), default="friend")


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        pytest.param("Hi {{ metadata.name }}!\n", ("Hi ", NAME, "!"), id="a variable"),
        pytest.param("{{metadata.name}}", (NAME,), id="nothing else"),
        pytest.param(
            '{{ metadata.name | default("friend") }}\nBe kind.',
            (FRIEND, "\nBe kind."),
            id="default",
        ),
        pytest.param("{{metadata.name|default('friend')}}", (FRIEND,), id="without spaces"),
        pytest.param(
            '{{ metadata.name | default("") }}',
            (PromptVariable(path=("metadata", "name"), default=""),),
            id="an empty default",
        ),
        pytest.param(
            '{{ metadata.name | default("say \\"hi\\" }} 🙂") }}',
            (PromptVariable(path=("metadata", "name"), default='say "hi" }} 🙂'),),
            id="quotes and braces in the default",
        ),
        pytest.param(
            "{{ metadata.name }}{{ metadata.Shop_2 }}",
            (NAME, PromptVariable(path=("metadata", "Shop_2"))),
            id="two in a row",
        ),
        pytest.param("A \n {{- metadata.name -}} \n B", ("A", NAME, "B"), id="trimmed space"),
        pytest.param(
            "A{# {{ user }} #}B{{ metadata.name }}{% raw %}{{ user }}{% endraw %}{# c #}C",
            ("AB", NAME, "{{ user }}C"),
            id="between comments and raw braces",
        ),
    ],
)
def test_a_prompt_with_variables_is_text_and_variables_in_their_order(tmp_path, source, parts):
    prompt = load_prompt(write(tmp_path, source), "a")

    assert prompt.parts == parts
    assert prompt.text is None
    assert prompt.hash == hashlib.sha256(source.encode()).hexdigest()


@pytest.mark.parametrize(
    "expression",
    [
        "name",
        "metadata",
        "user.name",
        "metadata.name.first",
        'metadata["name"]',
        "metadata.name()",
        "metadata.user-name",
        "metadata.0",
        "metadata.name | upper",
        'metadata.name | d("x")',
        "metadata.name | default",
        "metadata.name | default(5)",
        "metadata.name | default(name)",
        'metadata.name | default("x", true)',
        'metadata.name | default(value="x")',
        'metadata.name | default("x") | upper',
        'metadata.name | default(*["x"])',
        'metadata.name | default("x", boolean=true)',
        'metadata.name | default("x", *[])',
        'metadata.name | default("x", **{})',
        r'metadata.name | default("\ud800")',
        'metadata.name or "x"',
        '"x"',
        "1 + 1",
        "cycler.__init__",
    ],
)
def test_every_other_expression_is_refused_by_its_text_with_the_forms_there_are(
    tmp_path, expression
):
    source = "{{ metadata.name }}\n{# {{ x }} #}Hi {{ " + expression + " }}!"

    with pytest.raises(ConfigError) as caught:
        load_prompt(write(tmp_path / "prompts", source), "a")

    assert caught.value.message == (
        f"prompts/a.md:2: the expression {expression!r} is not allowed; expected "
        '{{ metadata.name }} or {{ metadata.name | default("text") }}; '
        "write literal braces between {% raw %} and {% endraw %}"
    )


@pytest.mark.parametrize("deep", ["9" * 5000, "(" * 5000 + "1" + ")" * 5000], ids=["digits", "()"])
def test_what_the_parser_itself_cannot_bear_is_refused(tmp_path, deep):
    with pytest.raises(ConfigError, match=r"a\.md: the Jinja2 text"):
        load_prompt(write(tmp_path, "{{ " + deep + " }}"), "a")


def test_a_statement_among_variables_is_refused_by_its_line(tmp_path):
    source = "{{ metadata.name }}\n{% set x = 1 %}\n"

    with pytest.raises(ConfigError, match=r"a\.md:2: statements between \{% and %\}"):
        load_prompt(write(tmp_path, source), "a")


def test_what_looks_like_a_secret_in_an_expression_is_not_repeated(tmp_path):
    secret = "sk-proj-A1b2C3d4E5f6G7h8J9k0"

    with pytest.raises(ConfigError, match="the expression") as caught:
        load_prompt(write(tmp_path, '{{ "' + secret + '" }}'), "a")
    assert secret not in caught.value.message


@pytest.mark.parametrize(
    ("source", "line"),
    [
        pytest.param("one\ntwo {{ user }}\n", 2, id="another variable"),
        pytest.param("{{ ''.__class__.__mro__ }}", 1, id="an expression that climbs"),
        pytest.param("\n\n{% for i in range(9**9) %}x{% endfor %}", 3, id="a loop"),
        pytest.param("{% include 'x' %}", 1, id="an include"),
        pytest.param("{% if true %}x{% endif %}", 1, id="a condition"),
        pytest.param("one\n{% nonsense %}", 2, id="an unknown statement"),
        pytest.param("one\n\n{{ broken", 3, id="an unclosed expression"),
        pytest.param(r'{{ metadata.name | default("\x") }}', 1, id="a broken escape"),
    ],
)
def test_what_would_compute_is_refused_with_its_line_and_the_way_to_write_braces(
    tmp_path, source, line
):
    folder = write(tmp_path / "prompts", source)

    with pytest.raises(ConfigError, match=rf"prompts/a\.md:{line}: .*raw") as caught:
        load_prompt(folder, "a")
    assert "{{ metadata.name }}" in caught.value.message or "cannot be read" in caught.value.message


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
