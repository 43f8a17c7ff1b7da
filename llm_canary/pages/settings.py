"""The configuration in force, read-only, and the state of the process and its database."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from fastapi.responses import Response

from llm_canary import __version__
from llm_canary.auth import Permission
from llm_canary.clock import utc
from llm_canary.config.effective import as_yaml, effective
from llm_canary.config.load import LoadedConfig
from llm_canary.errors import NotReady, StorageError
from llm_canary.pages.history import rollout_url
from llm_canary.pages.markdown import visible
from llm_canary.pages.quantity import ABSENT, ago_text, count_text, share_text
from llm_canary.pages.site import Site
from llm_canary.pages.visit import Visit
from llm_canary.routing.table import Variant
from llm_canary.storage.engine import read_session
from llm_canary.storage.migrate import current
from llm_canary.storage.repositories.access import accounts
from llm_canary.storage.repositories.installation import DatabaseFacts, database_facts
from llm_canary.storage.repositories.judging_days import Day, day_of, days
from llm_canary.storage.repositories.rollouts import RolloutRecord, RolloutRepository

_DAYS = 14
_NANO = 1e9
_SIZES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


class Stored(NamedTuple):
    """What the database tells, and where it is."""

    place: str
    facts: DatabaseFacts
    schema: str | None
    controls: Mapping[str, Variant]
    active: Sequence[RolloutRecord]
    days: Sequence[Day]
    roles: Mapping[str, int]  # of accounts


@dataclass(frozen=True)
class RouteLine:
    """What a route serves now."""

    name: str
    control: str
    origin: str
    rollout: str
    rollout_url: str


@dataclass(frozen=True)
class LoopLine:
    """How a background loop is doing."""

    name: str
    word: str
    tone: str
    runs: str
    failures: str
    last_ok: str
    error: str


@dataclass(frozen=True)
class DayLine:
    """What judges cost on one day."""

    day: str
    judged: str
    spent: str
    reserved: str
    unknown: str


@dataclass(frozen=True)
class SettingsView:
    """The page."""

    warnings: tuple[str, ...]
    refused: str
    versions: tuple[tuple[str, str], ...]
    routes: tuple[RouteLine, ...]
    loops: tuple[LoopLine, ...]
    days: tuple[DayLine, ...]
    budget: str
    access: tuple[tuple[str, str], ...]


def add_settings(site: Site) -> None:
    """Add `/settings`."""
    services = site.services
    written: dict[str, str] = {}  # by what it says: to write YAML takes longer than all the rest

    def yaml_of(config: LoadedConfig, stored: Stored | None) -> str:
        plain = effective(config, {} if stored is None else stored.controls)
        key = repr(plain)
        text = written.get(key)
        if text is None:
            text = visible(as_yaml(plain))
            written.clear()
            written[key] = text
        return text

    def page(visit: Visit) -> Response:
        stored, trouble = None, ""
        try:
            services.ready()
            stored = _stored(site)
        except (StorageError, NotReady) as error:
            trouble = error.message
        config = services.config()
        view = settings_view(config, services.status(), stored, services.clock.now_s())
        return site.html(
            visit,
            "settings.html",
            503 if trouble else 200,
            view=view,
            environment=services.environment,
            yaml=yaml_of(config, stored),
            trouble=trouble,
        )

    site.page("/settings", Permission.READ, page)


def settings_view(
    config: LoadedConfig,
    status: Mapping[str, Any],
    stored: Stored | None,
    now_s: float,
) -> SettingsView:
    """Return the page; `stored` is None while the database cannot be read."""
    limit = config.file.judging.max_cost_usd_per_day
    return SettingsView(
        warnings=config.warnings,
        refused=str(status.get("config_problem") or ""),
        versions=_versions(config, stored),
        routes=tuple(_routes(config, stored)),
        loops=tuple(_loop(each, now_s) for each in status.get("loops", ())),
        days=() if stored is None else tuple(_day(each, now_s) for each in stored.days),
        budget="no limit" if limit is None else f"at most ${limit:,.2f} a day (UTC)",
        access=_access(config, stored),
    )


def size_text(size_bytes: float) -> str:
    """Write a size in its largest fitting unit."""
    for size, name in _SIZES:
        if size_bytes >= size:
            return f"{size_bytes / size:.1f} {name}"
    return f"{size_bytes:.0f} bytes"


def _stored(site: Site) -> Stored:
    engine = site.services.engine
    with read_session(engine) as session:
        repository = RolloutRepository(session)
        return Stored(
            place=f"{engine.url.host or ''} {engine.url.database or ''}".strip(),
            facts=database_facts(session),
            schema=current(engine),
            controls=repository.controls(),
            active=repository.active(),
            days=days(session, _DAYS),
            roles=Counter(each.role for each in accounts(session) if each.disabled_at is None),
        )


def _versions(config: LoadedConfig, stored: Stored | None) -> tuple[tuple[str, str], ...]:
    facts = [
        ("llm_canary", __version__),
        ("Python", platform.python_version()),
        ("Configuration file", str(config.path)),
        ("Configuration hash", config.hash),
    ]
    if stored is not None:
        kind, version, size_bytes = stored.facts
        facts += [
            ("Database", f"{kind} {version}"),
            ("Database place", stored.place),
            ("Database size", size_text(size_bytes)),
            ("Schema", stored.schema or "none"),
        ]
    return tuple(facts)


def _routes(config: LoadedConfig, stored: Stored | None) -> list[RouteLine]:
    controls = {} if stored is None else stored.controls
    active = {} if stored is None else {each.route: each for each in stored.active}
    lines = []
    for name, route in config.routes.items():
        control, record = controls.get(name, route.control), active.get(name)
        prompt = f", prompt {control.prompt}" if control.prompt else ""
        lines.append(
            RouteLine(
                name=name,
                control=f"{control.model} via {control.upstream}{prompt}",
                origin="a promoted canary" if name in controls else "the file",
                rollout="" if record is None else _running(record),
                rollout_url="" if record is None else rollout_url(record.name),
            )
        )
    return lines


def _running(record: RolloutRecord) -> str:
    held = ", held" if record.hold else ""
    return f"{record.name}: {record.stage} at {share_text(record.share)}{held}"


def _loop(loop: Mapping[str, Any], now_s: float) -> LoopLine:
    last_ok_s, error = loop["last_ok_s"], loop["last_error"]
    word, tone = ("Fails", "bad") if error else ("Works", "good")
    if last_ok_s is None and not error:
        word, tone = "Has not run yet", "quiet"
    return LoopLine(
        name=str(loop["name"]),
        word=word,
        tone=tone,
        runs=count_text(loop["runs"]),
        failures=count_text(loop["failures"]),
        last_ok=ABSENT if last_ok_s is None else ago_text(now_s - last_ok_s),
        error=visible(str(error or "")),
    )


def _day(day: Day, now_s: float) -> DayLine:
    is_today = day.day == day_of(utc(now_s))
    return DayLine(
        day=f"{day.day}, today" if is_today else day.day,
        judged=count_text(day.judged),
        spent=f"${day.spent_nanousd / _NANO:,.4f}",
        # What a worker that died has reserved stays reserved; once the day is over it is nothing.
        reserved=f"${day.reserved_nanousd / _NANO:,.4f}" if is_today else ABSENT,
        unknown=count_text(day.unknown_cost),
    )


def _access(config: LoadedConfig, stored: Stored | None) -> tuple[tuple[str, str], ...]:
    keys = Counter(each.role.value for each in config.keys)
    facts = [("API keys of the file", _by_role(keys))]
    if stored is not None:
        facts.append(("Accounts", _by_role(stored.roles)))
    return tuple(facts)


def _by_role(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {role}" for role, count in sorted(counts.items())) or "none"
