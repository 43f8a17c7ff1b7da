"""`llm-canary judge calibrate|probe|drift`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from llm_canary.cli.grading_options import cost_cap, grading_options, labels_from, progress
from llm_canary.cli.output import Exit, json_option, print_facts, print_json, print_table

if TYPE_CHECKING:
    from llm_canary.judging.cache import Cache
    from llm_canary.judging.calibrate import TrustReport
    from llm_canary.judging.drift import Look
    from llm_canary.judging.grader import Grader
    from llm_canary.judging.judgement import Judge
    from llm_canary.judging.labels import LabelSet
    from llm_canary.judging.probes import Probe
    from llm_canary.judging.trust import Subject
    from llm_canary.rubric.load import LoadedRubric
    from llm_canary.stats.agreement import Coefficient
    from llm_canary.stats.corrected import Interval

_COLUMNS = ("about", "n", "agreement", "kappa", "AC1", "people", "alpha", "relative", "standing")
LABELS = click.option(
    "--labels",
    required=True,
    metavar="FILE|db",
    help="Human labels: JSONL, CSV or Parquet (docs/judges.md), or `db`: those of the database.",
)


@click.group()
def judge() -> None:
    """Find out whether a judge may be trusted."""


@judge.command()
@grading_options
@LABELS
@click.option("--store", is_flag=True, help="Keep the report in the database.")
@json_option
@click.pass_context
def calibrate(ctx: click.Context, /, *, as_json: bool, **options: Any) -> None:  # noqa: ANN401
    """Compare a judge with people on answers that both have graded.

    Exits with 0 when the judge is trusted by the rubric's `trust:` block, with 4 when not, and with
    5 when more than 2 % of the items got no grade.
    """
    import msgspec  # noqa: PLC0415

    report = asyncio.run(_calibrated(options, quiet=as_json))
    if as_json:
        print_json(msgspec.to_builtins(report))
    else:
        print_report(report)
    ctx.exit(int(_exit_code(report)))


def print_report(report: TrustReport) -> None:
    """Print a calibration for people."""
    print_facts(_facts(report))
    rows = [*report.subjects, *report.strata.values()]
    names = [each.name for each in report.subjects] + list(report.strata)
    print_table(_COLUMNS, [_row(name, each) for name, each in zip(names, rows, strict=True)])
    if report.position is not None:
        print_facts(_position(report))
    for name, found in report.probabilities.items():
        error = f"calibration error {found.error:.3f}, Brier {found.brier:.3f}"
        print_facts([(f"confidence of {name}", f"{error}, temperature {found.temperature:.2f}")])
    standing = [("standing", str(report.standing)), *(("", text) for text in report.reasons)]
    print_facts([*standing, ("decided by", report.basis)])


@judge.command()
@grading_options
@LABELS
@click.option("--store", is_flag=True, help="Keep what was found in the database, for the page.")
@json_option
def probe(*, as_json: bool, **options: Any) -> None:  # noqa: ANN401
    """Look for what moves a judge besides quality.

    Labels of pairs: position, length, its own family, and kinds of pairs. Labels of single answers:
    length, planted instructions, and asking again. Asks the judge anew: the cache is not used.
    """
    import msgspec  # noqa: PLC0415

    found = asyncio.run(_probed(options, quiet=as_json))
    if as_json:
        print_json(msgspec.to_builtins(found))
        return
    columns = ("probe", "n", "tendency", "value", "meaning")
    rows = [
        [each.name, str(each.n), str(each.tendency), _gap(each), each.meaning] for each in found
    ]
    print_table(columns, rows)


@judge.command()
@grading_options
@LABELS
@click.option(
    "--record",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path(".canary/anchors.json"),
    show_default=True,
    help="The verdicts of the first look, with which later ones are compared.",
)
@click.option("--store", is_flag=True, help="Keep the look in the database, where gates read it.")
@json_option
@click.pass_context
def drift(ctx: click.Context, /, *, as_json: bool, **options: Any) -> None:  # noqa: ANN401
    """Ask a judge again about a frozen set of labelled answers, and say whether it has moved.

    The first look is recorded. Exits with 0 when the judge is stable, with 4 when it has moved.
    """
    import msgspec  # noqa: PLC0415

    from llm_canary.judging.drift import Drift  # noqa: PLC0415

    found = asyncio.run(_looked(options, quiet=as_json))
    if found is None:
        click.echo(f"recorded the first look in {options['record']}", err=as_json)
        if as_json:
            print_json({"drift": None, "look": 0})
        return
    if as_json:
        print_json(msgspec.to_builtins(found))
    else:
        print_facts(
            [
                ("drift", str(found.drift)),
                ("look", f"{found.look} (may spend alpha {found.alpha:.2g})"),
                ("anchors", f"{found.anchors}, {found.changed} judged otherwise"),
                ("p", f"{found.p_value:.2g}"),
                *(("", text) for text in found.reasons),
            ]
        )
    ctx.exit(int(Exit.DONE if found.drift is Drift.STABLE else Exit.UNTRUSTED))


async def _calibrated(options: dict[str, Any], *, quiet: bool) -> TrustReport:
    from llm_canary.judging.cache import Cache  # noqa: PLC0415
    from llm_canary.judging.calibrate import calibrate as run  # noqa: PLC0415

    asked = _asked(options)
    cache = Cache(None if options["no_cache"] else options["cache"])
    try:
        grader = _grader(asked, options, cache)
        with progress("judging", len(asked.labels.items), quiet=quiet) as note:
            report = await run(asked.rubric, asked.labels, asked.judge, grader, note)
    finally:
        cache.close()
    if options["store"]:
        from llm_canary.cli.grading_database import store_calibration  # noqa: PLC0415

        store_calibration(report)
    return report


async def _probed(options: dict[str, Any], *, quiet: bool) -> list[Probe]:
    from llm_canary.judging.probes import probe_pairs, probe_single  # noqa: PLC0415

    asked = _asked(options)
    grader = _grader(asked, options, None)
    with progress("probing", len(asked.labels.items), quiet=quiet) as note:
        if asked.labels.is_pairwise:
            found = await probe_pairs(asked.labels, asked.judge, note)
        else:
            found = await probe_single(asked.labels, grader, note)
    if options["store"]:
        from llm_canary.cli.grading_database import store_probes  # noqa: PLC0415

        version = grader.version or asked.judge.version
        store_probes(asked.rubric, version.id, asked.labels.hash, found)
    return found


async def _looked(options: dict[str, Any], *, quiet: bool) -> Look | None:
    """Return the look, None for the first one; store it where that is asked for."""
    from msgspec.structs import replace  # noqa: PLC0415

    from llm_canary.judging.anchors import anchor_verdicts, people_verdicts  # noqa: PLC0415
    from llm_canary.judging.build import not_asked  # noqa: PLC0415
    from llm_canary.judging.drift import compare, read_anchors, write_anchors  # noqa: PLC0415

    asked = _asked(options)
    first = read_anchors(options["record"])
    grader = _grader(asked, options, None)
    # Which anchors the second judge is asked about must not depend on which one is answered first.
    grader.max_share = 1.0
    with progress("judging", len(asked.labels.items), quiet=quiet) as note:
        now = await anchor_verdicts(asked.labels, asked.judge, grader, note, second=asked.second)
    if first is None:
        write_anchors(options["record"], now)
        return None
    right = people_verdicts(asked.rubric, asked.labels)
    left_out = not_asked(asked.rubric, options["judge"], is_pairwise=asked.labels.is_pairwise)
    look = compare(first, now, right=right, not_asked=left_out)
    known = first.second_models or now.second_models  # of its first time in doubt
    write_anchors(options["record"], replace(first, looks=look.look, second_models=known))
    if options["store"]:
        from llm_canary.cli.grading_database import store_drift  # noqa: PLC0415

        store_drift(asked.rubric, now.judge_id, look)
    return look


class _Asked(NamedTuple):
    """Who is asked about what."""

    rubric: LoadedRubric
    labels: LabelSet
    judge: Judge
    second: Judge | None  # asked where the first is in doubt; never about pairs


def _asked(options: dict[str, Any]) -> _Asked:
    from llm_canary.errors import ConfigError  # noqa: PLC0415
    from llm_canary.judging.build import judges_of  # noqa: PLC0415
    from llm_canary.rubric.load import rubric_of  # noqa: PLC0415

    if options["rubric"] is None:
        raise click.UsageError("name the rubric with --rubric")
    rubric = rubric_of(options["rubric"], Path())
    labels = labels_from(options["labels"], rubric)
    found = judges_of(options["judge"], rubric, Path(), labels=labels, url=options["judge_url"])
    name = rubric.rubric.id
    if found.first is None:
        raise ConfigError(f"rubric {name} needs no judge: a program decides all of it")
    if labels.is_pairwise and rubric.rubric.pairwise is None:
        raise ConfigError(f"the labels are of pairs, and rubric {name} has no `pairwise:`")
    return _Asked(rubric, labels, found.first, None if labels.is_pairwise else found.second)


def _grader(asked: _Asked, options: dict[str, Any], cache: Cache | None) -> Grader:
    from llm_canary.judging.grader import Grader  # noqa: PLC0415

    cap = cost_cap(options["max_cost_usd"])
    offline = options["offline"]
    return Grader(
        asked.rubric, asked.judge, escalate=asked.second, cache=cache, cap=cap, offline=offline
    )


def _gap(probe: Probe) -> str:
    if probe.value is None:
        return "-"
    return f"{probe.value:+.3f} [{probe.lower:+.3f}, {probe.upper:+.3f}]"


def _exit_code(report: TrustReport) -> Exit:
    from llm_canary.judging.trust import Standing  # noqa: PLC0415

    if report.labelled - report.judged > MAX_FAILURES * report.labelled:
        return Exit.OPERATIONAL
    return Exit.DONE if report.standing is Standing.TRUSTED else Exit.UNTRUSTED


MAX_FAILURES = 0.02


def _facts(report: TrustReport) -> Iterator[tuple[str, str]]:
    yield "rubric", f"{report.rubric} version {report.rubric_version} ({report.rubric_hash[:12]})"
    yield "judge", f"{report.judge.kind} {report.judge.model} ({report.judge.id[:12]})"
    failed = ", ".join(f"{count} {status}" for status, count in report.failures.items())
    yield (
        "labels",
        f"{report.labelled} items, {report.judged} judged{f' ({failed})' if failed else ''}",
    )
    what = "win margin of A" if report.position or _is_pairwise(report) else "share of passes"
    if report.human is not None and report.raw is not None:
        yield what, f"people {_interval(report.human)}, judge {_interval(report.raw)}"


def _is_pairwise(report: TrustReport) -> bool:
    return any(each.name == "preference" for each in report.subjects)


def _position(report: TrustReport) -> Iterator[tuple[str, str]]:
    found = report.position
    assert found is not None  # noqa: S101 - the caller has looked
    yield "position", f"consistent {_number(found.consistency)} over {found.pairs} pairs"
    yield "single orders", f"right {_number(found.mean_accuracy)}"
    if found.first_shown is not None:
        yield "first shown wins", _interval(found.first_shown)


def _row(name: str, subject: Subject) -> list[str]:
    return [
        name,
        str(subject.n),
        _coefficient(subject.agreement),
        _coefficient(subject.kappa),
        _coefficient(subject.ac1),
        _number(subject.human_kappa),
        _number(subject.alpha),
        _number(subject.relative_kappa),
        str(subject.standing),
    ]


def _coefficient(found: Coefficient | None) -> str:
    return "-" if found is None else f"{found.value:.4f} [{found.lower:.3f}, {found.upper:.3f}]"


def _interval(found: Interval) -> str:
    return f"{found.mean:.3f} [{found.lower:.3f}, {found.upper:.3f}]"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
