"""The words of docs/glossary.md and the words of the code are the same."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from llm_canary.checks.outcome import Ended
from llm_canary.checks.verdict import CheckVerdict
from llm_canary.decision.engine import Verdict
from llm_canary.decision.gates import GateStatus
from llm_canary.decision.plan import MetricKind
from llm_canary.judging.drift import Drift
from llm_canary.judging.judgement import Status
from llm_canary.judging.probes import Tendency
from llm_canary.judging.trust import Standing
from llm_canary.routing.table import Role
from llm_canary.rubric.grades import Why
from llm_canary.storage.repositories.rollouts import State
from llm_canary.telemetry.events import Terminal

ROOT = Path(__file__).resolve().parents[2]
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in GLOSSARY.splitlines()
    if line.startswith("| **")
]
BANNED = {word: row[0].strip("*") for row in ROWS for word in re.findall(r"`(\w+)`", row[3])}
# Names that say nothing about what is inside.
BANNED |= dict.fromkeys(("utils", "util", "helpers", "helper", "manager", "common"), "its purpose")


def names(path: Path) -> list[str]:
    """Modules, classes, functions, arguments and fields."""
    found = [path.stem]
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                found.append(node.name)
            case ast.arg():
                found.append(node.arg)
            case ast.AnnAssign(target=ast.Name()):
                found.append(node.target.id)
    return found


def words(name: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def test_each_word_has_one_meaning():
    defined = [row[0] for row in ROWS]

    assert len(defined) == len(set(defined)) > 30
    assert all(row[1] for row in ROWS)
    assert {word.strip("*").lower() for word in defined}.isdisjoint(BANNED)


def test_no_name_uses_a_word_that_the_glossary_replaces():
    used = [
        f"{path.relative_to(ROOT)}: {name} (say {BANNED[word]})"
        for path in sorted((ROOT / "llm_canary").rglob("*.py"))
        for name in names(path)
        for word in words(name) & BANNED.keys()
    ]

    assert used == []


CHOICES = (
    *(Verdict, GateStatus, MetricKind, Role, State, Terminal),
    *(CheckVerdict, Drift, Ended, Standing, Status, Tendency, Why),
)


@pytest.mark.parametrize("choice", CHOICES)
def test_the_words_that_users_read_are_explained(choice):
    explained = set(re.findall(r"\w+", GLOSSARY.lower()))

    assert {member.value for member in choice} <= explained
