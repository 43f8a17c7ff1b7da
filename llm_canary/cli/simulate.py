"""`llm-canary simulate`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llm_canary.cli.output import (
    CommandFailed,
    Exit,
    json_option,
    print_facts,
    print_json,
    print_lines,
)
from llm_canary.cli.traffic_options import amounts, shares

if TYPE_CHECKING:
    from llm_canary.simulation.laws import Law, World
    from llm_canary.simulation.summary import Spread, Summary

_CHANGE = re.compile(r"([\w:-]+)=([+-]?\d+(?:\.\d+)?)(pp|%)")
_ENDS = {"promoted": "promoted", "held": "held for a person", "rolled_back": "rolled back"}


@click.command()
@click.option("--plan", default="standard", show_default=True, help="A plan by its name.")
@click.option(
    "--config", "path", type=click.Path(path_type=Path), help="Take the plan from this file."
)
@click.option("--rollout", metavar="NAME", help="Take the plan, with its gates, of this rollout.")
@click.option("--daily", default=50_000.0, show_default=True, help="Requests a day.")
@click.option(
    "--requests-per-user", default=1.0, show_default=True, help="And day; 1: users never come back."
)
@click.option("--icc", default=0.1, show_default=True, help="How alike one user's answers are.")
@click.option(
    "--rate", "rates", multiple=True, metavar="METRIC=SHARE", callback=shares,
    help="A rate of the control, such as error_rate=2%; may be repeated, like those below.",
)  # fmt: skip
@click.option(
    "--mean", "means", multiple=True, metavar="METRIC=MEAN[:SD]", callback=amounts,
    help="A mean of the control, in ms, tokens or dollars, such as cost_per_request=0.004.",
)  # fmt: skip
@click.option(
    "--observed", multiple=True, metavar="METRIC=SHARE", callback=shares,
    help="Responses that have a value of the metric, such as thumbs_up_rate=10%.",
)  # fmt: skip
@click.option(
    "--worse", "changes", multiple=True, metavar="METRIC=CHANGE",
    help="How the canary differs: error_rate=+1pp, cost_per_request=+20%; minus is better.",
)  # fmt: skip
@click.option("--runs", default=200, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0))
@click.option(
    "--picture", type=click.Path(path_type=Path, dir_okay=False), help="Draw the runs as SVG."
)
@click.option(
    "--gateway", is_flag=True,
    help="One run through a real gateway with a simulated upstream and a plan of minutes.",
)  # fmt: skip
@json_option
def simulate(
    *,
    plan: str,
    path: Path | None,
    rollout: str | None,
    daily: float,
    requests_per_user: float,
    icc: float,
    rates: list[tuple[str, float]],
    means: list[tuple[str, list[float]]],
    observed: list[tuple[str, float]],
    changes: tuple[str, ...],
    runs: int,
    seed: int,
    picture: Path | None,
    gateway: bool,
    as_json: bool,
) -> None:
    """Rehearse a plan on simulated users: how often, when and why it promotes or rolls back.

    Without --worse control and canary are identical, and every rollback is a false alarm. Sums,
    verdicts and transitions are the product's; only the responses are drawn.
    """
    from llm_canary.simulation.laws import World, usual  # noqa: PLC0415 - keeps `--help` fast
    from llm_canary.simulation.plans import plan_of, standard_plan  # noqa: PLC0415
    from llm_canary.simulation.rehearsal import Rehearsal  # noqa: PLC0415
    from llm_canary.simulation.summary import picture as draw  # noqa: PLC0415
    from llm_canary.simulation.summary import summarise  # noqa: PLC0415

    control = usual(rates, means, observed)
    world = World(
        control=control,
        canary=_changed(control, changes),
        daily=daily,
        requests_per_user=requests_per_user,
        icc=icc,
    )
    if gateway:
        _through_gateway(world, changes, seed, as_json=as_json)
        return
    if rollout is not None and path is None:
        path = Path("canary.yaml")
    of = standard_plan() if path is None else plan_of(path, rollout=rollout, plan=plan)
    if path is None and plan != of.name:
        raise CommandFailed(
            f"there is no built-in plan {plan!r}; name its file with --config", Exit.FAILED
        )
    rehearsal = Rehearsal(of, world)
    with click.progressbar(
        range(runs), label=f"rehearsing {of.name}", file=sys.stderr, hidden=not sys.stderr.isatty()
    ) as numbers:
        found = [rehearsal.run((seed, number)) for number in numbers]
    summary = summarise(found)
    if picture is not None:
        title = f"{of.name}, {_canary(changes)}: {runs} rehearsed rollouts"
        picture.write_text(draw(found, title), encoding="utf-8")
    if as_json:
        print_json(_document(summary, of.name, world, changes, seed))
    else:
        _print(summary, of.name, world, changes)


def _through_gateway(world: World, changes: tuple[str, ...], seed: int, *, as_json: bool) -> None:
    """Rehearse once through a gateway of its own, with a simulated upstream."""
    import asyncio  # noqa: PLC0415
    from tempfile import TemporaryDirectory  # noqa: PLC0415

    import msgspec  # noqa: PLC0415

    from llm_canary.demo.gateway import Gateway  # noqa: PLC0415
    from llm_canary.simulation.through import play, write_project  # noqa: PLC0415
    from llm_canary.simulation.upstream import SimulatedUpstream  # noqa: PLC0415

    def watch(place: str) -> None:
        click.echo(place, err=True)

    with (
        TemporaryDirectory(prefix="llm-canary-simulate-") as name,
        SimulatedUpstream(world, seed) as upstream,
    ):
        write_project(Path(name), upstream.base_url)
        with Gateway(Path(name)) as gateway:
            run = asyncio.run(play(gateway.url, seed, watch))
    if as_json:
        print_json({"worse": list(changes), "seed": seed, **msgspec.to_builtins(run)})
        return
    print_facts(
        [
            ("canary", _canary(changes)),
            ("the rollout was", _ENDS[run.end]),
            ("after", f"{run.seconds:.0f} s and {run.requests:,} requests"),
            ("canary requests", f"{run.canary_requests:,}"),
            ("canary users", f"{run.canary_users:,}"),
        ]
    )
    print_lines(f"  - {reason}" for reason in run.reasons)


def _changed(control: dict[str, Law], changes: Iterable[str]) -> dict[str, Law]:
    from llm_canary.simulation.laws import changed  # noqa: PLC0415

    canary = dict(control)
    for text in changes:
        found = _CHANGE.fullmatch(text)
        if found is None:
            raise CommandFailed(
                f"{text!r} is no change; write METRIC=+1pp or METRIC=+20%", Exit.FAILED
            )
        part = float(found[2]) / 100.0
        canary = changed(canary, found[1], part, relative=found[3] == "%")
    return canary


def _canary(changes: Iterable[str]) -> str:
    return ", ".join(change.replace("=", " ") for change in changes) or "identical canary"


def _document(
    summary: Summary, plan: str, world: World, changes: tuple[str, ...], seed: int
) -> dict[str, object]:
    import msgspec  # noqa: PLC0415

    found: dict[str, object] = msgspec.to_builtins(summary)
    return {
        "plan": plan,
        "daily": world.daily,
        "requests_per_user": world.requests_per_user,
        "icc": world.icc,
        "worse": list(changes),
        "seed": seed,
        **found,
    }


def _print(summary: Summary, plan: str, world: World, changes: tuple[str, ...]) -> None:
    who = f"{world.returning:,} users" if world.returning else "as many users"
    print_facts(
        [
            ("plan", plan),
            ("traffic", f"{world.daily:,.0f} requests a day by {who}"),
            ("canary", _canary(changes)),
            ("runs", f"{summary.runs:,}"),
        ]
    )
    print_lines([""])
    facts = [
        (_ENDS[end], f"{each.share:.1%} [{each.low:.1%}, {each.high:.1%}]")
        for end, each in summary.ends.items()
    ]
    if not changes:
        false = summary.ends["rolled_back"]
        facts.append(("false alarms", f"{false.share:.1%} [{false.low:.1%}, {false.high:.1%}]"))
    facts += [
        (name, _spread(each, unit))
        for name, each, unit in (
            ("hours to all traffic", summary.hours_to_promotion, "h"),
            ("hours to rollback", summary.hours_to_rollback, "h"),
            ("canary requests until then", summary.requests_to_rollback, ""),
            ("canary users until then", summary.users_to_rollback, ""),
        )
        if each is not None
    ]
    if summary.accused:
        facts.append(("rolled back for", _counts(summary.accused)))
    if summary.held_for:
        facts.append(("held for", _counts(summary.held_for)))
    print_facts(facts)


def _spread(each: Spread, unit: str) -> str:
    return f"median {each.median:,.0f} {unit}".rstrip() + f", 90 % within {each.p90:,.0f}"


def _counts(found: dict[str, int]) -> str:
    return ", ".join(f"{name} ({n})" for name, n in found.items())
