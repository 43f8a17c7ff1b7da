"""What commands that grade have in common: which rubric, which judge, at what cost."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llm_canary.cli.output import CommandFailed, Exit
from llm_canary.errors import ConfigError

if TYPE_CHECKING:
    from llm_canary.judging.budget import CostCap
    from llm_canary.judging.labels import LabelSet
    from llm_canary.rubric.load import LoadedRubric

DEFAULT_CACHE = Path(".canary/cache.db")
_NANO = 1_000_000_000
_OPTIONS = (
    click.option(
        "--rubric",
        metavar="NAME|FILE",
        help="A rubric by its name (rubrics/NAME.yaml, or a shipped one), or its file.",
    ),
    click.option(
        "--judge",
        default="primary",
        show_default=True,
        metavar="JUDGE",
        help="primary or escalate of the rubric, replay:FILE, chat:MODEL or decision:MODEL.",
    ),
    click.option("--judge-url", metavar="URL", help="The server of chat:MODEL or decision:MODEL."),
    click.option(
        "--cache",
        type=click.Path(path_type=Path, dir_okay=False),
        default=DEFAULT_CACHE,
        show_default=True,
        help="What has been paid for is kept here; an interrupted run goes on from it.",
    ),
    click.option("--no-cache", is_flag=True, help="Ask again, and keep nothing."),
    click.option(
        "--max-cost-usd",
        metavar="USD",
        type=click.FloatRange(min=0),
        help="Ask nobody any more when judges have cost this much.",
    ),
    click.option("--offline", is_flag=True, help="Use the cache and recordings; ask nobody."),
)


def grading_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of grading; a file that is wrong ends it like wrong usage, with 2."""

    @wraps(command)
    def guarded(*args: Any, **options: Any) -> Any:  # noqa: ANN401 - click's
        sys.path.insert(0, str(Path.cwd()))  # where functions of `type: python` checks live
        try:
            return command(*args, **options)
        except ConfigError as error:
            raise CommandFailed("\n".join(error.problems), Exit.USAGE) from error

    made: Callable[..., Any] = guarded
    for option in reversed(_OPTIONS):
        made = option(made)
    return made


def cost_cap(max_cost_usd: float | None) -> CostCap:
    """Return the cap in the money of this program."""
    from llm_canary.judging.budget import CostCap  # noqa: PLC0415

    return CostCap(None if max_cost_usd is None else round(max_cost_usd * _NANO))


def warn_of_unknown_cost(cap: CostCap, max_cost_usd: float | None) -> None:
    """Say that a cap was asked for and could not be held."""
    count = cap.calls_of_unknown_cost
    if max_cost_usd is not None and count:
        text = f"warning: {count} calls have no known price, so --max-cost-usd did not count them"
        click.echo(text, err=True)


@contextmanager
def progress(label: str, length: int, *, quiet: bool) -> Iterator[Callable[[], None]]:
    """Yield what is called after each item; a bar on standard error where a person looks."""
    if quiet or not sys.stderr.isatty():
        yield lambda: None
        return
    with click.progressbar(length=length, label=label, file=sys.stderr) as bar:
        yield lambda: bar.update(1)


def labels_from(word: str, rubric: LoadedRubric) -> LabelSet:
    """Return the labels of a file, or with `db` those of the database."""
    if word == "db":  # only then is the database's code loaded, a third of a second
        from llm_canary.cli.grading_database import stored_labels  # noqa: PLC0415

        return stored_labels(rubric)
    from llm_canary.judging.labels import read_labels  # noqa: PLC0415

    return read_labels(Path(word), rubric)
