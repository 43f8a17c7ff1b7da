"""What each key and each route has cost by day (UTC): what budgets are compared with.

Written in the transaction that inserts the rows, and only for rows that were really inserted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sqlalchemy.engine import Connection, Engine

from llm_canary.storage.dialect import is_sqlite
from llm_canary.telemetry.events import InferenceEvent

KEY, ROUTE = "key", "route"
_DAY_S = 86_400
_KEPT_DAYS = 62
_MOST = 2**62  # two of them are a column's; a provider may say anything


class Spender(NamedTuple):
    """Who has spent, and when."""

    kind: str
    name: str
    day: int  # since the epoch


def day_of(at_s: float) -> int:
    """Return the day that the moment is in."""
    return int(at_s // _DAY_S)


def fold(events: Iterable[InferenceEvent]) -> Counter[Spender]:
    """Return the cost of the events; one that is unknown is none."""
    spent: Counter[Spender] = Counter()
    for event in events:
        if not event.cost_nanousd:
            continue
        day, cost = day_of(event.at_s), min(event.cost_nanousd, _MOST)
        if event.key_name is not None:
            spent[Spender(KEY, event.key_name, day)] += cost
        if event.route is not None:
            spent[Spender(ROUTE, event.route, day)] += cost
    return spent


def add(connection: Connection, spent: Mapping[Spender, int]) -> None:
    """Add to what is stored; all lock rows in the order of their keys, none waits in vain."""
    if spent:
        rows = [(*each, min(spent[each], _MOST)) for each in sorted(spent)]
        mark = "?" if is_sqlite(connection) else "%s"
        connection.exec_driver_sql(_ADD.replace("?", mark), rows)


def read(connection: Connection, day: int) -> dict[str, dict[str, int]]:
    """Return what a day has cost, by kind and name."""
    mark = "?" if is_sqlite(connection) else "%s"
    spent: dict[str, dict[str, int]] = {KEY: {}, ROUTE: {}}
    for kind, name, cost in connection.exec_driver_sql(_READ.replace("?", mark), (day,)):
        spent[kind][name] = cost
    return spent


def prune(engine: Engine, now_s: float) -> None:
    """Forget days that are long over."""
    with engine.begin() as connection:
        mark = "?" if is_sqlite(connection) else "%s"
        oldest = day_of(now_s) - _KEPT_DAYS
        connection.exec_driver_sql(_PRUNE.replace("?", mark), (oldest,))


_ADD = f"""
    INSERT INTO budget_day (kind, name, day, spent_nanousd) VALUES (?, ?, ?, ?)
    ON CONFLICT (day, kind, name) DO UPDATE SET spent_nanousd =
    CASE WHEN budget_day.spent_nanousd > {_MOST} - excluded.spent_nanousd THEN {_MOST}
    ELSE budget_day.spent_nanousd + excluded.spent_nanousd END"""  # noqa: S608 - a number of ours
_READ = "SELECT kind, name, spent_nanousd FROM budget_day WHERE day = ?"
_PRUNE = "DELETE FROM budget_day WHERE day < ?"
