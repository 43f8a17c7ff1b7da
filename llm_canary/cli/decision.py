"""`llm-canary decision show|replay`."""

from __future__ import annotations

from typing import Any

import click

from llm_canary.cli.client import connect, server_options
from llm_canary.cli.output import (
    CommandFailed,
    Exit,
    json_option,
    print_facts,
    print_json,
    print_lines,
)
from llm_canary.cli.rollout import moment, percent, print_metrics


@click.group()
def decision() -> None:
    """Show or replay a decision."""


@decision.command()
@click.argument("decision_id", metavar="ID")
@server_options
@json_option
def show(decision_id: str, url: str, as_json: bool) -> None:
    """Show what was decided and everything that was known; `--json` has the whole evidence."""
    found = connect(url).get("decisions", decision_id)
    if as_json:
        print_json(found)
        return
    evidence, result = found["evidence"] or {}, found["result"] or {}
    print_facts(_facts(found, evidence))
    print_lines(["", *(f"- {reason}" for reason in found["reasons"])])
    print_metrics(result.get("comparisons", []), result.get("gates", []))
    problems = result.get("problems", [])
    if problems:
        print_lines(["", "problems:", *(f"- {each['text']}" for each in problems)])


def _facts(found: dict[str, Any], evidence: dict[str, Any]) -> list[tuple[str, str]]:
    facts = [
        ("decision", found["id"]),
        ("verdict", found["verdict"]),
        ("at", moment(found["at_s"])),
    ]
    if evidence:
        facts += [
            ("rollout", evidence["rollout"]),
            ("route", evidence["route"]),
            ("share", percent(evidence["share"])),
        ]
    return [
        *facts,
        ("stage", found["stage"]),
        ("applied", "yes" if found["applied"] else "no"),
        ("evidence", found["evidence_hash"]),
    ]


@decision.command()
@click.argument("decision_id", metavar="ID")
@server_options
@json_option
def replay(decision_id: str, url: str, as_json: bool) -> None:
    """Decide again from the stored evidence. Exit 0 when the same comes out, to the last bit."""
    found = connect(url).get("decisions", decision_id, "replay")
    if as_json:
        print_json(found)
    elif found["is_same"]:
        print_lines([f"{found['id']}: {found['verdict']} again, bit for bit"])
    if not found["is_same"]:
        raise CommandFailed(
            f"decision {found['id']} was {found['stored_verdict']}, its evidence now gives "
            f"{found['verdict']} or other figures; it was made by another release of the engine",
            Exit.FAILED,
        )
