"""`llm-canary check`."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llm_canary.cli.grading_options import (
    cost_cap,
    grading_options,
    labels_from,
    progress,
    warn_of_unknown_cost,
)
from llm_canary.cli.output import (
    CommandFailed,
    Exit,
    print_facts,
    print_json,
    print_lines,
    print_table,
)

if TYPE_CHECKING:
    from llm_canary.checks.candidate import Candidate
    from llm_canary.checks.dataset import Dataset
    from llm_canary.checks.outcome import Run
    from llm_canary.checks.run import Report, Request
    from llm_canary.config.load import LoadedConfig
    from llm_canary.judging.cache import Cache
    from llm_canary.rubric.load import LoadedRubric

_COLUMNS = ("", "n", "raw", "corrected", "people", "baseline", "drop", "p")
_RUNS = Path(".canary/runs")
_STDOUT = "-"
_MAX_FAILED = 10
_FILE = click.Path(path_type=Path)


@click.command(
    epilog="Exit codes: 0 pass, 1 fail, 2 wrong usage, 3 hold (too few items to tell), "
    "4 the judge is not trusted, 5 operational (no answers, no grades, no files)."
)
@click.argument("name", required=False)
@grading_options
@click.option("--config", "config_path", type=_FILE, envvar="LLM_CANARY_CONFIG",
              default=Path("canary.yaml"), show_default=True)  # fmt: skip
@click.option("--dataset", type=_FILE, help="JSONL, CSV or Parquet: `id`, `prompt`, ...")
@click.option("--responses", type=_FILE, help="Recorded answers: JSONL of `id` and `response`.")
@click.option("--candidate", metavar="ROLLOUT|FILE",
              help="Ask a rollout's canary, route:NAME, or a YAML file's model.")  # fmt: skip
@click.option("--endpoint", metavar="URL", help="Ask a running server: http://127.0.0.1:8484/v1.")
@click.option("--network", type=click.Choice(["public", "private"]), default="public",
              show_default=True, help="private: the name in URL may lead to one.")  # fmt: skip
@click.option("--model", help="The model to ask for at --endpoint.")
@click.option("--baseline", metavar="FILE|run:NAME", help="An earlier run to compare with.")
@click.option("--update-baseline", is_flag=True, help="Write this run to --baseline.")
@click.option("--labels", metavar="FILE|db",
              help="Human labels that show whether the judge is right.")  # fmt: skip
@click.option("--min-pass", type=click.FloatRange(0, 1), help="Smallest share of passes.")
@click.option("--max-drop", type=click.FloatRange(0, 1), help="Largest drop against --baseline.")
@click.option("--alpha", type=click.FloatRange(0.0001, 0.5), default=0.05, show_default=True)
@click.option("--per-criterion", is_flag=True, help="Test the drop of each criterion too.")
@click.option("--segments", default="", metavar="TAG,TAG", help="Test the drop within each value.")
@click.option("--repeat", type=click.IntRange(1, 100), default=1, show_default=True,
              help="Ask the candidate so often for each item.")  # fmt: skip
@click.option("--confirm-fail", type=click.IntRange(0, 20), default=3, show_default=True,
              help="Ask again so often where a must-pass criterion newly fails.")  # fmt: skip
@click.option("--concurrency", type=click.IntRange(1, 256), default=8, show_default=True)
@click.option("--junit", type=_FILE, help="Write JUnit XML here.")
@click.option("--json", "json_path", is_flag=False, flag_value=_STDOUT, metavar="[FILE]",
              help="Write the whole report as JSON; without FILE to standard output.")  # fmt: skip
@click.option("--md", type=_FILE, help="Write a summary in Markdown here.")
@click.option("--github", is_flag=True, help="Print annotations, and add to the step summary.")
@click.option("--record", is_flag=True,
              help="Store what it came to, for the rollout's `preflight`.")  # fmt: skip
@click.option("--on-hold", type=click.Choice(["fail", "pass"]), default="fail", show_default=True,
              help="pass: exit with 0 where too few items were there to tell.")  # fmt: skip
@click.pass_context
def check(ctx: click.Context, /, **options: Any) -> None:  # noqa: ANN401 - as click calls it
    """Grade a candidate's answers by a rubric and say whether it may go on.

    \b
    llm-canary check --rubric json_extraction --dataset data.jsonl --responses out.jsonl --min-pass 0.9
    llm-canary check support_golden --candidate support-v13
    llm-canary check --rubric helpfulness --dataset data.jsonl --endpoint http://127.0.0.1:8484/v1
        --model assistant --judge chat:openai/gpt-5-mini-2025-08-07 --labels labels.jsonl

    NAME is an entry of `checks:` in canary.yaml; what is given here wins over it.
    """  # noqa: D301, E501 - \b keeps click from joining the lines
    if options["record"] and (options["name"] is None or options["candidate"] is None):
        raise click.UsageError("--record needs a check by its NAME, and --candidate ROLLOUT")
    report = asyncio.run(_run(options))
    _write(report, options)
    if options["record"]:
        _record(report, options)
    code = _exit_code(report, options)
    ctx.exit(code)


async def _run(options: dict[str, Any]) -> Report:
    from llm_canary.checks.outcome import write_run  # noqa: PLC0415
    from llm_canary.checks.run import run_check  # noqa: PLC0415
    from llm_canary.clock import SystemClock  # noqa: PLC0415
    from llm_canary.judging.cache import Cache  # noqa: PLC0415

    options |= _from_file(options)
    cache = Cache(None if options["no_cache"] else options["cache"])
    try:
        request = _request(options, cache)
        quiet = options["json_path"] == _STDOUT
        length = len(request.dataset) * request.repeat
        with progress("checking", length, quiet=quiet) as note:
            report = await run_check(request, SystemClock().now_s(), note)
        if request.cap is not None:
            warn_of_unknown_cost(request.cap, options["max_cost_usd"])
    finally:
        cache.close()
    if options["update_baseline"]:
        write_run(_baseline_path(options["baseline"]), report.run)
    return report


def _request(options: dict[str, Any], cache: Cache) -> Request:
    from llm_canary.checks.comparison import Limits  # noqa: PLC0415
    from llm_canary.checks.run import Request  # noqa: PLC0415
    from llm_canary.judging.build import judges_of  # noqa: PLC0415
    from llm_canary.rubric.lint import family, lint  # noqa: PLC0415
    from llm_canary.rubric.load import rubric_of  # noqa: PLC0415

    for name in ("rubric", "dataset"):
        if options[name] is None:
            raise click.UsageError(f"name the {name} with --{name}, or an entry of `checks:`")
    if options["update_baseline"] and options["baseline"] is None:
        raise click.UsageError("--update-baseline writes to --baseline: name it")
    folder = options["config_path"].parent
    rubric = rubric_of(options["rubric"], folder)
    if not rubric.rubric.criteria:
        raise click.UsageError(f"rubric {rubric.rubric.id} compares pairs; a check grades answers")
    labels = labels_from(options["labels"], rubric) if options["labels"] else None
    if labels is not None and labels.is_pairwise:
        raise click.UsageError("--labels are of pairs; a check needs labels of single answers")
    baseline = _baseline(options, rubric.content_hash)
    candidate = _candidate(options, cache)
    families = {family(candidate.model)} if candidate.model else set()
    for finding in lint(rubric, families=families) if options["judge"] == "primary" else ():
        if "its own family" in finding.text:
            click.echo(f"warning: {finding.text}", err=True)
    dataset = _dataset(options, rubric, baseline)
    segments = tuple(each.strip() for each in options["segments"].split(",") if each.strip())
    return Request(
        rubric=rubric,
        dataset=dataset,
        candidate=candidate,
        judges=judges_of(
            options["judge"],
            rubric,
            folder,
            labels=labels,
            url=options["judge_url"],
            families=families,
        ),
        limits=Limits(
            min_pass=options["min_pass"],
            max_drop=options["max_drop"] if baseline is not None else None,
            alpha=options["alpha"],
            per_criterion=options["per_criterion"],
            segments=segments,
            max_cannot_assess=rubric.rubric.scoring.max_cannot_assess_rate,
        ),
        labels=labels,
        baseline=baseline,
        repeat=options["repeat"],
        confirm=options["confirm_fail"],
        cache=cache,
        cap=cost_cap(options["max_cost_usd"]),
        offline=options["offline"],
        concurrency=options["concurrency"],
    )


def _candidate(options: dict[str, Any], cache: Cache) -> Candidate:
    from llm_canary.checks.candidate import Recorded  # noqa: PLC0415

    given = [name for name in ("responses", "candidate", "endpoint") if options[name] is not None]
    if len(given) > 1:
        raise click.UsageError(f"--{given[0]} and --{given[1]} both say who answers; give one")
    if given not in (["candidate"], ["endpoint"]):
        return Recorded(options["responses"])
    return _live(options, cache)


def _live(options: dict[str, Any], cache: Cache) -> Candidate:
    """Return one who can be asked, with the clients that this takes: they are slow to load."""
    from llm_canary.addresses import Network  # noqa: PLC0415
    from llm_canary.checks.candidate_file import read_candidate  # noqa: PLC0415
    from llm_canary.checks.live_candidate import Endpoint, variant_of  # noqa: PLC0415
    from llm_canary.opaque import Opaque  # noqa: PLC0415
    from llm_canary.providers.model_calls import Target  # noqa: PLC0415

    if options["endpoint"] is not None:
        if options["model"] is None:
            raise click.UsageError("--endpoint needs --model")
        key = os.environ.get("LLM_CANARY_API_KEY")
        secret = Opaque(key.encode()) if key else None
        network = Network(options["network"])
        target = Target(options["model"], options["endpoint"], secret, network=network)
        return Endpoint(target, cache=cache)
    if options["candidate"].endswith((".yaml", ".yml")):
        return read_candidate(Path(options["candidate"]), cache)
    return variant_of(options["candidate"], _config(options), cache)


def _from_file(options: dict[str, Any]) -> dict[str, Any]:
    """Return what the entry of `checks:` says and the command line does not."""
    if options["name"] is None:
        return {}
    from llm_canary.config.load import read_file  # noqa: PLC0415

    file, name = read_file(options["config_path"]), options["name"]
    entry = file.checks.get(name)
    if entry is None:
        from llm_canary.documents.problems import one_of  # noqa: PLC0415

        known = one_of(file.checks)
        raise click.UsageError(f"there is no check {name!r}; expected {known}")
    folder = options["config_path"].parent
    found: dict[str, Any] = {
        "rubric": entry.rubric,
        "dataset": folder / entry.dataset,
        "min_pass": entry.min_pass,
        "max_drop": entry.max_drop,
        "labels": str(folder / entry.labels) if entry.labels else None,
        "responses": folder / entry.responses if entry.responses else None,
        "baseline": str(folder / entry.baseline) if entry.baseline else None,
    }
    if any(options[each] is not None for each in ("candidate", "endpoint")):
        del found["responses"]
    return {key: value for key, value in found.items() if options[key] is None}


def _config(options: dict[str, Any]) -> LoadedConfig:
    from llm_canary.config.load import load  # noqa: PLC0415

    return load(options["config_path"])


def _baseline_path(word: str) -> Path:
    return _RUNS / f"{word.removeprefix('run:')}.json" if word.startswith("run:") else Path(word)


def _dataset(options: dict[str, Any], rubric: LoadedRubric, baseline: Run | None) -> Dataset:
    from llm_canary.checks.dataset import Dataset  # noqa: PLC0415

    inputs = rubric.rubric.inputs
    required = [each for each in ("reference", "context") if getattr(inputs, each) == "required"]
    dataset = Dataset(options["dataset"], required=required)
    if baseline is not None and baseline.dataset_hash != dataset.hash:
        click.echo("warning: the baseline was made with another text of the dataset", err=True)
    return dataset


def _baseline(options: dict[str, Any], rubric_hash: str) -> Run | None:
    from llm_canary.checks.outcome import read_run  # noqa: PLC0415

    if options["baseline"] is None:
        return None
    path = _baseline_path(options["baseline"])
    if options["update_baseline"] and not path.exists():
        return None
    run = read_run(path)
    if run.rubric_hash != rubric_hash:
        if options["update_baseline"]:
            return None  # it is written anew
        raise CommandFailed(
            f"the baseline {path} was graded by another text of the rubric "
            f"({run.rubric_hash[:12]}, now {rubric_hash[:12]}); make it again with "
            "--update-baseline",
            Exit.OPERATIONAL,
        )
    return run


def _write(report: Report, options: dict[str, Any]) -> None:
    from llm_canary.checks import report as forms  # noqa: PLC0415

    if options["junit"] is not None:
        _to_file(options["junit"], forms.as_junit(report).decode())
    if options["md"] is not None:
        _to_file(options["md"], forms.as_markdown(report))
    if options["json_path"] == _STDOUT:
        print_json(forms.as_json(report))
    else:
        if options["json_path"] is not None:
            import json  # noqa: PLC0415

            text = json.dumps(forms.as_json(report), indent=1, ensure_ascii=False)
            _to_file(Path(options["json_path"]), text + "\n")
        _print(report)
    if options["github"]:
        rubric = options["rubric"]
        for line in forms.as_annotations(report, f"rubrics/{Path(rubric).stem}.yaml"):
            click.echo(line, err=options["json_path"] == _STDOUT)
        summary = os.environ.get("GITHUB_STEP_SUMMARY")
        if summary:
            with Path(summary).open("a", encoding="utf-8") as file:
                file.write(forms.as_markdown(report))


def _print(report: Report) -> None:
    from llm_canary.checks.report import facts_of, line_cells  # noqa: PLC0415

    print_table(_COLUMNS, [line_cells(line) for line in report.finding.lines])
    print_facts(facts_of(report))
    failed = [each for each in report.run.outcomes if each.passed is False]
    for outcome in failed[:_MAX_FAILED]:
        unmet = [
            f"{name} ({each.label}{f', {each.detail}' if each.detail else ''})"
            for name, each in outcome.criteria.items()
            if each.passed is False
        ]
        print_lines([f"failed {outcome.id}: {'; '.join(unmet) or f'score {outcome.score:.2f}'}"])
    if len(failed) > _MAX_FAILED:
        print_lines([f"and {len(failed) - _MAX_FAILED} more that failed"])
    print_facts([("verdict", str(report.finding.verdict))])
    print_lines(report.finding.reasons)


def _to_file(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _record(report: Report, options: dict[str, Any]) -> None:
    from llm_canary.checks.report import as_json  # noqa: PLC0415
    from llm_canary.cli.grading_database import store_check  # noqa: PLC0415
    from llm_canary.rollout.preflight import variant_identity  # noqa: PLC0415

    spec = _config(options).rollouts.get(options["candidate"])
    if spec is None:
        raise click.UsageError("--record needs a rollout as --candidate")
    store_check(options["name"], variant_identity(spec.canary), as_json(report))


def _exit_code(report: Report, options: dict[str, Any]) -> int:
    from llm_canary.checks.verdict import EXIT_CODES, CheckVerdict  # noqa: PLC0415

    if report.finding.verdict is CheckVerdict.HOLD and options["on_hold"] == "pass":
        return 0
    return EXIT_CODES[report.finding.verdict]
