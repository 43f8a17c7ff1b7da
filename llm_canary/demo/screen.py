"""What the demonstration shows while it runs: a live table on a terminal, plain lines in a pipe."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from llm_canary.demo.report import Decided, Ending

_PLAIN_EVERY_S = 10.0
_NAMED = 2  # open gates
_COLUMNS = ("at", "rollout", "stage", "verdict", "n control, canary", "evidence", "decision")
_STYLES = {
    "finished": "green",
    "promote": "green",
    "promoted": "green",
    "standby": "green",
    "rolled_back": "red",
    "rollback": "red",
    "held": "yellow",
    "hold": "yellow",
}


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a rollout is. Pairs are (control, canary)."""

    rollout: str
    state: str
    stage: str
    share: float
    units: tuple[int, int]
    gates: tuple[tuple[str, str], ...]  # metric, status

    @property
    def where(self) -> str:
        """State and stage in a few words."""
        if self.state == "running":
            return f"{self.stage} {self.share:.0%}"
        return self.state.replace("_", " ")

    @property
    def passed(self) -> str:
        """How many of the stage's gates have passed, and the last ones that have not."""
        if not self.gates or self.state != "running":
            return ""
        good = ("pass", "not_applicable")
        left = [metric for metric, status in self.gates if status not in good]
        count = f"{len(self.gates) - len(left)} of {len(self.gates)}"
        return f"{count}; open: {', '.join(left)}" if 0 < len(left) <= _NAMED else count


def progress(view: Mapping[str, Any]) -> Progress:
    """Return the progress that a rollout's view shows."""
    return Progress(
        rollout=view["name"],
        state=view["state"],
        stage=view["stage"] or "",
        share=view["share"],
        units=(view["units"][0], view["units"][1]),
        gates=tuple((gate["metric"], gate["status"]) for gate in view["gates"]),
    )


class Screen:
    """Writes to `file`; on a terminal the table of progress stays at the bottom."""

    def __init__(self, file: IO[str]) -> None:
        width = None if file.isatty() else 200
        self._console = Console(file=file, width=width, highlight=False, soft_wrap=not width)
        self._live: Live | None = None
        self._said_s = float("-inf")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.settle()

    def say(self, text: str, style: str = "") -> None:
        """Write one line above the progress."""
        self._console.print(Text(text, style=style), soft_wrap=True)

    def show(self, rows: Sequence[Progress], summary: str) -> None:
        """Show where the rollouts stand now."""
        if self._console.is_terminal:
            if self._live is None:
                self._live = Live(console=self._console, transient=True, refresh_per_second=4)
                self._live.start()
            self._live.update(_table_of(rows, summary))
            return
        now_s = time.monotonic()
        if now_s - self._said_s < _PLAIN_EVERY_S:
            return
        self._said_s = now_s
        for row in rows:
            users = f"users {row.units[0]} control, {row.units[1]} canary"
            gates = f", gates passed {row.passed}" if row.passed else ""
            self.say(f"  {row.rollout}: {row.where}, {users}{gates}")
        self.say(f"  {summary}")

    def settle(self) -> None:
        """Take the live table away."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def conclude(self, history: Sequence[Decided], endings: Sequence[Ending]) -> None:
        """Write what was decided, when, and on which evidence."""
        self.settle()
        self.say("")
        if self._console.is_terminal:
            self._console.print(_decisions(history))
        else:  # Rich would turn the tabs into spaces
            rows = [_COLUMNS, *map(_cells, history)]
            self._console.file.writelines("\t".join(row) + "\n" for row in rows)
        self.say("")
        for each in endings:
            mark = "as it should" if each.ok else f"EXPECTED {' or '.join(each.expected)}"
            style = "bold" if each.ok else "bold red"
            self.say(
                f"{each.rollout} ({each.title}): {each.state.replace('_', ' ')}, {mark}", style
            )


def _table_of(rows: Sequence[Progress], summary: str) -> RenderableType:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("rollout", "where", "users: control", "canary", "gates passed"):
        table.add_column(column, overflow="fold")
    for row in rows:
        style = _STYLES.get(row.state, "blue")
        where = Text(row.where, style=style)
        table.add_row(row.rollout, where, str(row.units[0]), str(row.units[1]), row.passed)
    return Group(table, Spinner("dots", Text(summary, style="dim")))


def _decisions(history: Sequence[Decided]) -> RenderableType:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 1, 0))
    table.add_column("at", no_wrap=True, justify="right")
    table.add_column("what was decided, and the evidence: control -> canary", overflow="fold")
    for each in history:
        at, rollout, stage, verdict, _, evidence, decision_id = _cells(each)
        told = Text(f"{rollout}, {stage}: ", style="bold")
        told.append(verdict, style=_STYLES.get(each.verdict, ""))
        told.append(f"  ({each.n_control} control, {each.n_canary} canary)", style="not bold")
        told.append("".join(f"\n  {line}" for line in evidence.split("; ")), style="not bold")
        told.append(f"\n  decision {decision_id}", style="not bold dim")
        table.add_row(at, told)
    return table


def _cells(each: Decided) -> tuple[str, ...]:
    verdict = f"{each.verdict} -> {each.to}" if each.verdict == "promote" else each.verdict
    count = f"{each.n_control}, {each.n_canary}"
    evidence = "; ".join(each.evidence)
    at = f"{each.at_s:.0f} s"
    return at, each.rollout, each.stage, verdict, count, evidence, each.decision_id
