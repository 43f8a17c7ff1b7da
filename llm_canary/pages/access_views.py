"""Accounts, keys and the audit log in words."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import msgspec

from llm_canary.clock import utc
from llm_canary.documents.cells import guarded
from llm_canary.pages.quantity import ABSENT, ago_text, moment_text
from llm_canary.routing.limits import Limits
from llm_canary.routing.table import KeyRef
from llm_canary.storage.repositories.access import AccountRecord, AuditRecord
from llm_canary.storage.repositories.keys import KeyRecord

_KEY_STATES = {
    "serves": ("Serves", "good"),
    "expired": ("Expired", "quiet"),
    "revoked": ("Revoked", "bad"),
}
_CSV_COLUMNS = ("id", "at", "actor", "role", "via", "action", "target", "detail")


@dataclass(frozen=True)
class AccountRow:
    """One person."""

    name: str
    role: str
    login: str
    last_login: str
    made: str
    state: str
    tone: str
    is_disabled: bool
    has_password: bool
    is_you: bool


@dataclass(frozen=True)
class KeyRow:
    """One key; `prefix` is empty for those of the file."""

    name: str
    prefix: str
    role: str
    routes: str
    expires: str
    last_used: str
    made: str
    state: str
    tone: str
    note: str
    may_change: bool
    limits: tuple[str, ...] = ()
    spent: str = ABSENT  # today


@dataclass(frozen=True)
class AuditRow:
    """One act."""

    at: str
    at_iso: str
    actor: str
    role: str
    via: str
    action: str
    target: str
    detail: tuple[str, ...]


def account_rows(
    accounts: Iterable[AccountRecord], now_s: float, *, you: str | None
) -> tuple[AccountRow, ...]:
    """Return the rows of the accounts."""
    return tuple(_account(each, now_s, you) for each in accounts)


def key_rows(
    keys: Sequence[KeyRecord], of_file: Iterable[KeyRef], now_s: float, spent: Mapping[str, int]
) -> tuple[KeyRow, ...]:
    """Return those that serve, those of the file, then those that have ended.

    `spent` is what today has cost by the keys' names, in nano-dollars.
    """
    now = utc(now_s)
    names = {each.id: each.prefix for each in keys}
    serving = [_key(each, names, now_s) for each in keys if each.serves_at(now)]
    ended = [_key(each, names, now_s) for each in keys if not each.serves_at(now)]
    rows = (*serving, *(_file_key(each) for each in of_file), *ended)
    return tuple(
        replace(row, spent=f"${spent[row.name] / 1e9:,.4f}") if row.name in spent else row
        for row in rows
    )


def audit_rows(entries: Iterable[AuditRecord]) -> tuple[AuditRow, ...]:
    """Return the rows of the audit log."""
    return tuple(
        AuditRow(
            at=f"{each.at:%Y-%m-%d %H:%M:%S}",
            at_iso=each.at.isoformat(),
            actor=visible(each.actor),
            role=each.role,
            via=each.via,
            action=each.action,
            target=visible(each.target),
            detail=tuple(
                f"{visible(name)}: {visible(_plain(value))}" for name, value in each.detail.items()
            ),
        )
        for each in entries
    )


def audit_csv(entries: Iterable[AuditRecord]) -> str:
    """Return the entries as CSV that no spreadsheet takes for formulas."""
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(_CSV_COLUMNS)
    for each in entries:
        detail = "; ".join(f"{name}: {_plain(value)}" for name, value in each.detail.items())
        cells = (each.actor, each.role, each.via, each.action, each.target, detail)
        writer.writerow([each.id, each.at.isoformat(), *map(_cell, cells)])
    return file.getvalue()


def visible(text: str) -> str:
    """Return the text with a mark in place of each character that shows nothing."""
    return "".join(mark if mark.isprintable() else "\N{REPLACEMENT CHARACTER}" for mark in text)


def _account(account: AccountRecord, now_s: float, you: str | None) -> AccountRow:
    state, tone = ("Active", "good") if account.disabled_at is None else ("Disabled", "quiet")
    if account.locked_until is not None and now_s < account.locked_until.timestamp():
        state, tone = "Waits after failed logins", "warn"
    return AccountRow(
        name=account.name,
        role=account.role,
        login="Password" if account.issuer is None else account.issuer,
        last_login=_ago(account.last_login_at, now_s),
        made=f"{moment_text(account.created_at)} by {account.created_by}",
        state=state,
        tone=tone,
        is_disabled=account.disabled_at is not None,
        has_password=account.issuer is None,
        is_you=account.name == you,
    )


def _key(key: KeyRecord, names: Mapping[str, str], now_s: float) -> KeyRow:
    word = key.state_at(utc(now_s))
    state, tone = _KEY_STATES[word]
    notes = ["may choose variants"] if key.may_pin else []
    if key.replaces is not None and key.replaces in names:
        notes.append(f"in place of {names[key.replaces]}…")
    return KeyRow(
        name=key.name,
        prefix=key.prefix,
        role=key.role,
        routes="all" if key.routes is None else ", ".join(key.routes),
        expires="never" if key.expires_at is None else moment_text(key.expires_at),
        last_used=_ago(key.last_used_at, now_s),
        made=f"{moment_text(key.created_at)} by {key.created_by}",
        state=state,
        tone=tone,
        note=", ".join(notes),
        may_change=word == "serves",
        limits=() if key.limits is None else limit_texts(msgspec.convert(dict(key.limits), Limits)),
    )


def _file_key(key: KeyRef) -> KeyRow:
    return KeyRow(
        name=key.name,
        prefix="",
        role=key.role,
        routes="all" if key.routes is None else ", ".join(key.routes),
        expires="never",
        last_used=ABSENT,
        made="in canary.yaml",
        state="Serves",
        tone="good",
        note="may choose variants" if key.may_pin else "",
        may_change=False,
        limits=() if key.limits is None else limit_texts(key.limits),
    )


def limit_texts(limits: Limits) -> tuple[str, ...]:
    """Return each limit in words."""
    budget = limits.budget_nanousd_per_day
    counts = (
        (limits.requests_per_minute, "requests/min"),
        (limits.tokens_per_minute, "tokens/min"),
        (limits.concurrent_streams, "at once"),
    )
    texts = [f"{count:,} {unit}" for count, unit in counts if count is not None]
    return (*texts, *([] if budget is None else [f"${budget / 1e9:,g}/day"]))


def _ago(moment: datetime | None, now_s: float) -> str:
    return "never" if moment is None else ago_text(max(0.0, now_s - moment.timestamp()))


def _plain(value: Any) -> str:  # noqa: ANN401 - JSON
    if value is None:
        return ABSENT
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _cell(text: str) -> str:
    return guarded(visible(text))
