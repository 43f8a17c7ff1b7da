import sys

import click
import pytest

from llm_canary.cli import output
from llm_canary.cli.output import print_facts, print_json, print_table


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setattr(output, "is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "100")
    assert output.sys is sys


def test_a_table_in_a_pipe_keeps_one_line_for_each_row(capsys):
    print_table(("name", "why"), [("a", "two\nlines\tand a tab")])

    assert capsys.readouterr().out == "name\twhy\na\ttwo lines and a tab\n"


@pytest.mark.usefixtures("terminal")
def test_a_table_on_a_terminal_does_not_read_markup_in_values(capsys):
    print_table(("name",), [("[red]alarm[/red]",)])

    assert "[red]alarm[/red]" in capsys.readouterr().out


@pytest.mark.usefixtures("terminal")
def test_facts_on_a_terminal_are_aligned(capsys):
    print_facts([("a", "1"), ("name", "2")])

    lines = click.unstyle(capsys.readouterr().out).splitlines()
    assert lines == ["a     1", "name  2"]


def test_json_refuses_what_json_has_no_word_for():
    with pytest.raises(ValueError, match="nan"):
        print_json({"value": float("nan")})
