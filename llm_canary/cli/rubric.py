"""`llm-canary rubric lint|diff|test`."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llm_canary.cli.grading_options import cost_cap, grading_options
from llm_canary.cli.output import (
    CommandFailed,
    Exit,
    json_option,
    print_json,
    print_lines,
    print_table,
)

if TYPE_CHECKING:
    from llm_canary.rubric.load import LoadedRubric


@click.group()
def rubric() -> None:
    """Lint, compare and test rubrics."""


@rubric.command()
@click.argument("names", nargs=-1, metavar="[NAME|FILE]...")
@click.option("--github", is_flag=True, help="Print GitHub annotations.")
@json_option
@click.pass_context
def lint(ctx: click.Context, /, *, names: tuple[str, ...], github: bool, as_json: bool) -> None:
    """Say what is wrong with rubrics, and what goes wrong with them in use.

    Without names: every file in ./rubrics. Exits with 1 when anything is found.
    """
    words = names or tuple(str(path) for path in sorted(Path("rubrics").glob("*.yaml")))
    if not words:
        raise click.UsageError("there is no ./rubrics/*.yaml; name a rubric")
    found = [finding for word in words for finding in _findings(word)]
    if as_json:
        print_json({"rubrics": len(words), "findings": found})
    elif github:
        for each in found:
            line = f",line={each['line']}" if each["line"] else ""
            click.echo(f"::error file={each['file']}{line}::{each['text']}")
    else:
        print_lines(_placed(each) for each in found)
        count = f"{len(words)} rubric{'s' if len(words) > 1 else ''}"
        print_lines([f"{count}: {len(found)} finding{'' if len(found) == 1 else 's'}"])
    ctx.exit(int(Exit.FAILED if found else Exit.DONE))


@rubric.command()
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW", required=False)
@click.option("--since", metavar="REF", help="Compare the file OLD with its text at a Git commit.")
@json_option
@click.pass_context
def diff(
    ctx: click.Context, /, *, old: str, new: str | None, since: str | None, as_json: bool
) -> None:
    """Say what changed between two rubrics, and which human labels the change makes stale.

    \b
    llm-canary rubric diff rubrics/old.yaml rubrics/new.yaml
    llm-canary rubric diff rubrics/support_answer.yaml --since origin/main

    Exits with 1 when the meaning changed and `version` did not rise.
    """  # noqa: D301 - \b keeps click from joining the lines
    from llm_canary.rubric.diff import diff as compare  # noqa: PLC0415
    from llm_canary.rubric.load import parse_rubric, rubric_of  # noqa: PLC0415

    if (new is None) == (since is None):
        raise click.UsageError("give two rubrics, or one and --since")
    after = rubric_of(new or old, Path())
    if since is not None:
        before = parse_rubric(_text_at(since, Path(old)), name=f"{since}:{old}")
    else:
        before = rubric_of(old, Path())
    found = compare(before, after)
    if as_json:
        print_json(found._asdict())
    else:
        print_lines(found.changes or ["nothing that grades depend on has changed"])
        if found.stale:
            print_lines([f"labels that no longer count: {', '.join(found.stale)}"])
        if found.version_missing:
            print_lines([f"raise `version:` above {before.rubric.version}: the meaning changed"])
    ctx.exit(int(Exit.FAILED if found.version_missing else Exit.DONE))


@rubric.command()
@grading_options
@click.argument("name", metavar="NAME|FILE")
@json_option
@click.pass_context
def test(
    ctx: click.Context,
    /,
    *,
    name: str,
    as_json: bool,
    **options: Any,  # noqa: ANN401
) -> None:
    """Grade the rubric's own examples and compare with the labels that they carry.

    Checks always run; criteria that need a judge run when the rubric names one, or --judge does.
    Exits with 1 when a grade differs from its label.
    """
    rows = asyncio.run(_tested(name, options))
    wrong = [row for row in rows if row["outcome"] == "wrong"]
    untested = [row for row in rows if row["outcome"] == "untested"]
    if as_json:
        print_json({"examples": rows, "wrong": len(wrong), "untested": len(untested)})
    else:
        columns = ("example", "criterion", "label", "grade", "outcome")
        print_table(columns, [[str(row[key]) for key in columns] for row in rows])
        print_lines([f"{len(rows)} labels: {len(wrong)} wrong, {len(untested)} untested"])
    ctx.exit(int(Exit.FAILED if wrong else Exit.DONE))


def _findings(word: str) -> list[dict[str, Any]]:
    from llm_canary.errors import ConfigError  # noqa: PLC0415
    from llm_canary.rubric.lint import lint as examine  # noqa: PLC0415
    from llm_canary.rubric.load import rubric_of  # noqa: PLC0415

    try:
        loaded = rubric_of(word, Path())
    except ConfigError as error:
        return [{"file": word, "line": _line(each), "text": each} for each in error.problems]
    file = str(loaded.path or word)
    return [{"file": file, "line": each.line, "text": each.text} for each in examine(loaded)]


def _placed(finding: dict[str, Any]) -> str:
    text, place = finding["text"], f"{Path(finding['file']).name}:{finding['line']}"
    return text if text.startswith(place) else f"{place}: {text}"


def _line(problem: str) -> int | None:
    parts = problem.split(":", 2)
    return int(parts[1]) if len(parts) > 1 and parts[1].isdecimal() else None


def _text_at(ref: str, path: Path) -> str:
    done = subprocess.run(  # noqa: S603 - git with a path of the user's own
        ["git", "show", f"{ref}:./{path.name}"],  # noqa: S607
        cwd=path.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise CommandFailed(f"git has no {path} at {ref}: {done.stderr.strip()}", Exit.USAGE)
    return done.stdout


async def _tested(name: str, options: dict[str, Any]) -> list[dict[str, Any]]:
    from llm_canary.judging.build import judges_of  # noqa: PLC0415
    from llm_canary.judging.cache import Cache  # noqa: PLC0415
    from llm_canary.judging.grader import Grader  # noqa: PLC0415
    from llm_canary.rubric.load import rubric_of  # noqa: PLC0415
    from llm_canary.rubric.sample import Sample  # noqa: PLC0415

    if options["rubric"] not in (None, name):
        raise click.UsageError("the rubric is named twice")
    loaded = rubric_of(name, Path())
    has_judge = options["judge"] != "primary" or loaded.rubric.judges is not None
    judge = None
    if has_judge:
        judge = judges_of(options["judge"], loaded, Path(), url=options["judge_url"]).first
    cache = Cache(None if options["no_cache"] else options["cache"])
    cap = cost_cap(options["max_cost_usd"])
    grader = Grader(loaded, judge, cache=cache, cap=cap, offline=options["offline"])
    rows: list[dict[str, Any]] = []
    try:
        for number, example in enumerate(loaded.rubric.examples, 1):
            sample = Sample(
                str(number), example.prompt, example.response, example.reference, example.context
            )
            grades = (await grader.grade(sample)).grades
            rows += [
                _compared(loaded, number, criterion, label, grades, judge is not None)
                for criterion, label in example.labels.items()
            ]
    finally:
        cache.close()
    return rows


def _compared(
    loaded: LoadedRubric,
    number: int,
    criterion: str,
    label: str | float | bool,
    grades: Any,  # noqa: ANN401 - Mapping[str, Graded]
    is_judged: bool,
) -> dict[str, Any]:
    from llm_canary.rubric.grades import Grade, grade  # noqa: PLC0415

    rule = next(each for each in loaded.rubric.criteria if each.id == criterion)
    wanted, found = grade(rule, label), grades[criterion]
    if isinstance(found, Grade):
        outcome = "right" if found.label == wanted.label else "wrong"
        given = found.label
    else:
        untested = rule.kind != "check" and not is_judged
        outcome, given = ("untested" if untested else "wrong"), str(found.why)
    return {
        "example": number,
        "criterion": criterion,
        "label": wanted.label,
        "grade": given,
        "outcome": outcome,
    }
