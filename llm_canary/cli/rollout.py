"""`llm-canary rollout ...`: start, watch and steer rollouts on a running server."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import click

from llm_canary.cli.client import connect, server_options
from llm_canary.cli.output import (
    ABSENT,
    json_option,
    print_facts,
    print_json,
    print_lines,
    print_table,
)

_ACTS = {
    "create": "Take the rollout NAME from canary.yaml into the database without starting it.",
    "start": "Start NAME: its first stage begins, and its share of the users goes to the canary.",
    "hold": "Hold NAME: its share stays as it is until a person decides.",
    "resume": "Resume NAME after a hold: accepts its reasons; an unproven stage gets more time.",
    "promote": "Move NAME to its next stage although its gates have not passed.",
    "rollback": "Roll NAME back: every user returns to the control at once.",
}


@click.group()
def rollout() -> None:
    """Start, watch and steer rollouts."""


def _add_act(act: str, text: str) -> None:
    @rollout.command(act, help=text)
    @click.argument("name")
    @click.option(
        "--reason",
        default=f"{act} from the command line",
        show_default=True,
        help="Kept in the history.",
    )
    @click.option("--actor", envvar="USER", help="Who acts, for the history [default: $USER].")
    @server_options
    @json_option
    def command(name: str, reason: str, actor: str | None, url: str, as_json: bool) -> None:
        body: dict[str, object] = {"reason": reason}
        if actor:
            body["actor"] = actor
        view = connect(url).post("rollouts", name, act, body=body)
        if as_json:
            print_json(view)
        else:
            print_lines([f"{view['name']}: {_standing(view)}"])


for _act, _text in _ACTS.items():
    _add_act(_act, _text)


@rollout.command()
@click.argument("name", required=False)
@server_options
@json_option
def status(name: str | None, url: str, as_json: bool) -> None:
    """Show every rollout, or one of them with its metrics and its last decision."""
    server = connect(url)
    if name is None:
        views = server.get("rollouts")
        if as_json:
            print_json(views)
        elif not views:
            print_lines(["no rollout yet: describe one under `rollouts:` in canary.yaml"])
        else:
            print_table(_COLUMNS, [_row(view) for view in views])
        return
    view = server.get("rollouts", name)
    if as_json:
        print_json(view)
    else:
        _print_one(view)


@rollout.command()
@click.argument("name", required=False)
@server_options
@json_option
def history(name: str | None, url: str, as_json: bool) -> None:
    """Show what was changed, by whom and why; the newest first."""
    changes = [
        change for change in connect(url).get("history") if name in (None, change["rollout"])
    ]
    if as_json:
        print_json(changes)
        return
    print_table(
        ("when", "rollout", "action", "from", "to", "share", "outcome", "by", "reason"),
        [
            (
                moment(change["at_s"]),
                change["rollout"],
                change["action"],
                _place(change["from_state"], change["from_stage"]),
                _place(change["to_state"], change["to_stage"]),
                percent(change["share"]),
                change["outcome"] or ABSENT,
                change["actor"],
                change["reason"],
            )
            for change in changes
        ],
    )


_COLUMNS = ("rollout", "route", "state", "stage", "share", "units", "last decision", "reason")


def _row(view: dict[str, Any]) -> tuple[str, ...]:
    decision = view.get("decision") or {}
    return (
        view["name"],
        view["route"],
        view["state"],
        view.get("stage") or ABSENT,
        percent(view["share"]),
        _pair(view["units"]),
        decision.get("verdict", ABSENT),
        (decision.get("reasons") or [ABSENT])[0],
    )


def _grading(view: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Say what became of the answers that are graded, and what that has cost."""
    for each in view.get("grading", ()):
        total = {
            name: sum(each[name])
            for name in ("eligible", "judged", "waiting", "failed", "shed", "without_text")
        }
        parts = [f"{total['judged']:,} of {total['eligible']:,} answers graded"]
        parts += [
            f"{total[name]:,} {name}" for name in ("waiting", "failed", "shed") if total[name]
        ]
        if total["without_text"]:
            parts.append(f"{total['without_text']:,} without text")
        if each["standing"]:
            cost = each["judge_nanousd"]
            spent = "cost unknown" if cost is None else f"${cost / 1e9:,.4f}"
            parts.append(f"judge {each['standing'].replace('_', ' ')} ({each['labels']} labels)")
            if None not in (points := each["judge_points"]):
                parts.append(f"its own points {points[0]:.2f} and {points[1]:.2f}, uncorrected")
            parts.append(f"{each['judge_calls']:,} calls, {spent}")
            hours = "" if each["review_s"] is None else f" in {each['review_s'] / 3600:.1f} h"
            parts.append(f"{each['reviews']:,} reviews{hours}")
        yield f"rubric {each['rubric']}", ", ".join(parts)


def _print_one(view: dict[str, Any]) -> None:
    print_facts(
        [
            ("rollout", view["name"]),
            ("route", view["route"]),
            ("state", view["state"]),
            ("stage", view.get("stage") or ABSENT),
            ("share", percent(view["share"])),
            ("units", _pair(view["units"])),
            ("responses", _pair(view["responses"])),
            *_grading(view),
        ]
    )
    print_metrics(view["comparisons"], view["gates"])
    decision = view.get("decision")
    if decision:
        when = f"{moment(decision['at_s'])}, {decision['id']}"
        print_lines(["", f"last decision: {decision['verdict']} ({when})"])
        print_lines(f"  - {reason}" for reason in decision["reasons"])


def print_metrics(compared: list[dict[str, Any]], gates: list[dict[str, Any]]) -> None:
    """Print the comparisons with the status of their gates, or nothing when there are none."""
    if not compared:
        return
    status = {gate["metric"]: gate["status"] for gate in gates}
    print_lines([""])
    print_table(
        ("metric", "control", "canary", "worse by", "from", "to", "margin", "n", "gate"),
        [_metric(each, status.get(each["metric"], ABSENT)) for each in compared],
    )


def _metric(shown: dict[str, Any], status: str) -> tuple[str, ...]:
    from llm_canary.decision.words import change_text, value_text  # noqa: PLC0415
    from llm_canary.metrics.spec import Unit  # noqa: PLC0415

    unit, scored = Unit(shown["unit"]), Unit(shown["scored_unit"])
    counts = _pair([shown["n_control"], shown["n_canary"]])
    if shown["difference"] is None:
        values = (shown["control"], shown["canary"])
        texts = [ABSENT if each is None else value_text(unit, each) for each in values]
        return (shown["metric"], *texts, ABSENT, ABSENT, ABSENT, ABSENT, counts, status)
    return (
        shown["metric"],
        value_text(unit, shown["control"]),
        value_text(unit, shown["canary"]),
        *(change_text(scored, shown[end]) for end in ("difference", "low", "high")),
        ABSENT if shown["margin"] is None else change_text(scored, shown["margin"], signed=False),
        counts,
        status,
    )


def _standing(view: dict[str, Any]) -> str:
    stage = f", stage {view['stage']}" if view.get("stage") else ""
    return f"{view['state']}{stage}, share {percent(view['share'])}"


def _place(state: str, stage: str | None) -> str:
    return f"{state}/{stage}" if stage else state


def _pair(pair: list[int]) -> str:
    return " / ".join(f"{each:,}" for each in pair)


def percent(share: float) -> str:
    """Write a share."""
    return f"{share * 100:g} %"


def moment(seconds: float | None) -> str:
    """Write a moment in UTC."""
    return (
        ABSENT
        if seconds is None
        else f"{datetime.fromtimestamp(seconds, tz=UTC):%Y-%m-%d %H:%M:%SZ}"
    )
