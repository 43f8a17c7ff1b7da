"""What every command prints: tables on a terminal, plain lines in a pipe, JSON on request."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import IO, Any

import click

Row = Sequence[str]
ABSENT = "-"


class Exit(IntEnum):
    """The exit codes; click itself uses 2 for wrong usage."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    HOLD = 3
    UNTRUSTED = 4
    OPERATIONAL = 5


class CommandFailed(click.ClickException):
    """Ends the command with a message on standard error and an exit code."""

    def __init__(self, message: str, code: Exit) -> None:
        super().__init__(message)
        self.exit_code = int(code)  # type: ignore[misc]  # click declares it on the class

    def show(self, file: IO[Any] | None = None) -> None:
        """Print each line of the message, the first one marked as the error."""
        first, *rest = printable(self.message).split("\n")
        click.secho("error: ", fg="red", bold=True, nl=False, err=file is None, file=file)
        click.echo("\n".join([first, *rest]), err=file is None, file=file)


def json_option(command: Any) -> Any:  # noqa: ANN401 - click's decorators are untyped by nature
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def is_terminal() -> bool:
    """Whether a person is reading."""
    return sys.stdout.isatty()


def printable(text: str) -> str:
    """Return `text` without control characters, which could steer the terminal."""
    return "".join(map(_shown, text.replace("\t", " ")))


def _shown(mark: str) -> str:
    return mark if mark.isprintable() or mark == "\n" else "\N{REPLACEMENT CHARACTER}"


def print_json(value: object) -> None:
    """Print `value` as one JSON document."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def print_table(columns: Row, rows: Iterable[Row], *, title: str | None = None) -> None:
    """Print a Rich table on a terminal; in a pipe tab-separated lines, the header first."""
    cells = [[printable(cell).replace("\n", " ") for cell in row] for row in rows]
    if not is_terminal():
        for row in [columns, *cells]:
            click.echo("\t".join(row))
        return
    from rich.console import Console  # noqa: PLC0415 - a pipe never pays for it
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column)
    for row in cells:
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    Console().print(table)


def print_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Print names with their values: aligned on a terminal, `name<TAB>value` in a pipe."""
    pairs = [(name, printable(value)) for name, value in facts]
    if not is_terminal():
        for name, value in pairs:
            click.echo(f"{name}\t{value}".replace("\n", " "))
        return
    width = max((len(name) for name, _ in pairs), default=0)
    for name, value in pairs:
        click.echo(
            click.style(name.ljust(width), dim=True)
            + "  "
            + click.style(value, fg=_STYLES.get(value))
        )


def print_lines(lines: Iterable[str]) -> None:
    """Print plain lines."""
    for line in lines:
        click.echo(printable(line))


# Words carry the meaning; the colour only repeats it.
_STYLES = {
    "running": "blue",
    "trusted": "green",
    "untrusted": "red",
    "not_enough": "yellow",
    "promote": "green",
    "promoted": "green",
    "standby": "green",
    "finished": "green",
    "pass": "green",
    "held": "yellow",
    "hold": "yellow",
    "rollback": "red",
    "rolled_back": "red",
    "fail": "red",
}
