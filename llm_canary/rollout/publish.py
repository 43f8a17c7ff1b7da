"""The effective state becomes the routing table: on disk for others, in memory for ourselves."""

from __future__ import annotations

import logging
import os
import secrets
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import msgspec
from sqlalchemy.engine import Engine

from llm_canary.clock import Clock, SystemClock, utc
from llm_canary.config.load import LoadedConfig
from llm_canary.opaque import Opaque
from llm_canary.routing.table import (
    FeedbackRules,
    Price,
    Route,
    RoutingTable,
    Split,
    StoredKeys,
    Upstream,
    Variant,
    decode,
    encode,
)
from llm_canary.storage.engine import read_session, write_session
from llm_canary.storage.repositories.installation import KEY_SECRET, UNIT_SECRET, get_or_set
from llm_canary.storage.repositories.keys import stored_keys
from llm_canary.storage.repositories.rollouts import RolloutRecord, RolloutRepository

_log = logging.getLogger(__name__)
TABLE_FILE = "table.json"
_PRIVATE = 0o600
_ENDED_KEYS_S = 30 * 86_400.0  # so long a key that has ended is told so, and not only refused
Prices = Callable[[str, str | None], Price | None]  # of a model, as a provider sells it


class Effective(msgspec.Struct, frozen=True):
    """What SQL says beside the file."""

    active: tuple[RolloutRecord, ...]
    controls: dict[str, Variant]
    stored_keys: StoredKeys = StoredKeys()


def build_table(
    config: LoadedConfig, effective: Effective, prices: Prices, *, unit_secret: Opaque, version: int
) -> RoutingTable:
    """Return the table of the file and the effective state; SQL wins where they differ."""
    by_route = {record.route: record for record in effective.active}
    routes = {}
    for name, route in config.routes.items():
        record = by_route.get(name)
        control = effective.controls.get(name, route.control)
        if record is not None and record.control is not None:
            control = record.control
        missing = _missing(config, control, record)
        if missing:
            _log.error("route %s: upstream %s is gone from the file", name, ", ".join(missing))
            control, record = route.control, None
        routes[name] = _route(route, control, record, config.upstreams, prices)
    feedback = config.file.feedback
    return RoutingTable(
        config_hash=config.hash,
        version=version,
        routes=routes,
        upstreams=config.upstreams,
        keys=config.keys,
        stored=effective.stored_keys,
        unit_secret=unit_secret,
        default_upstream=config.default_upstream,
        max_body_bytes=config.file.limits.max_body_bytes,
        feedback=FeedbackRules(
            origins=tuple(feedback.origins),
            metrics=tuple(feedback.metrics),
            token_lifetime_s=feedback.token_lifetime,
        ),
    )


def priced(variant: Variant, upstreams: dict[str, Upstream], prices: Prices) -> Variant:
    """Return the variant with its price: its own, its upstream's, or the price list's."""
    upstream = upstreams.get(variant.upstream)
    price = variant.price or (upstream.price if upstream is not None else None)
    if price is None:
        price = prices(variant.model, upstream.provider if upstream is not None else None)
    return msgspec.structs.replace(variant, price=price)


class Publisher:
    """Keeps table.json and the table in this process up to date."""

    def __init__(
        self,
        engine: Engine,
        config: Callable[[], LoadedConfig],
        data_dir: Path,
        *,
        clock: Clock | None = None,
        price_lookup: Prices = lambda _model, _provider: None,
        on_publish: Callable[[RoutingTable], None] = lambda _: None,
    ) -> None:
        self._engine = engine
        self._config = config
        self._path = data_dir / TABLE_FILE
        self._clock = clock or SystemClock()
        self._prices = price_lookup
        self._on_publish = on_publish
        self._last: RoutingTable | None = None
        self._before: StoredKeys | None = None  # as another process, or an earlier life, knew them
        self._lock = threading.Lock()

    @property
    def table(self) -> RoutingTable | None:
        """Return the table last published by this process."""
        return self._last

    @property
    def stored_keys(self) -> StoredKeys:
        """Return the database's keys as last published, also while it cannot be read."""
        if self._last is not None:
            return self._last.stored
        if self._before is None:
            known = self._on_disk()
            self._before = known.stored if known is not None else StoredKeys()
        return self._before

    def publish(self) -> bool:
        """Publish when something has changed; return whether it had."""
        with self._lock:
            known = self._last or self._on_disk()
            key_secret = self._key_secret()
            ended_since = utc(self._clock.now_s() - _ENDED_KEYS_S)
            with read_session(self._engine) as session:
                repository = RolloutRepository(session)
                effective = Effective(
                    repository.active(),
                    repository.controls(),
                    stored_keys(session, ended_since=ended_since, secret=key_secret),
                )
            table = build_table(
                self._config(),
                effective,
                self._prices,
                unit_secret=self._unit_secret(known),
                version=known.version if known else 0,
            )
            if self._last is not None and table == self._last:
                return False
            table = msgspec.structs.replace(table, version=table.version + 1)
            write_private(self._path, encode(table))
            self._last = table
            self._on_publish(table)
            return True

    def _unit_secret(self, known: RoutingTable | None) -> Opaque:
        if self._last is not None and self._last.unit_secret:
            return self._last.unit_secret
        # A table from before the database was made keeps its secret: units keep their hashes.
        seed = known.unit_secret if known and known.unit_secret else secrets.token_bytes(32)
        with write_session(self._engine) as session:
            return Opaque.fromhex(get_or_set(session, UNIT_SECRET, seed.hex()))

    def _key_secret(self) -> Opaque:
        if self._last is not None:
            return self._last.stored.secret
        with write_session(self._engine) as session:
            return Opaque.fromhex(get_or_set(session, KEY_SECRET, secrets.token_hex(32)))

    def _on_disk(self) -> RoutingTable | None:
        try:
            return decode(self._path.read_bytes())
        except (OSError, msgspec.MsgspecError):
            return None


def write_private(path: Path, data: bytes) -> None:
    """Replace the file atomically, readable by its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _PRIVATE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    finally:
        with suppress(FileNotFoundError):
            new.unlink()


def _route(
    route: Route,
    control: Variant,
    record: RolloutRecord | None,
    upstreams: dict[str, Upstream],
    prices: Prices,
) -> Route:
    split = None
    if record is not None and record.stage is not None:
        split = Split(
            rollout_id=record.id,
            rollout=record.name,
            salt=record.salt,
            stage=record.stage,
            share=record.share,
            canary=priced(record.spec.canary, upstreams, prices),
            fallback=record.spec.fallback,
            settle_s=record.spec.plan.settle_s,
            eligible=record.spec.eligible,
        )
    return msgspec.structs.replace(route, control=priced(control, upstreams, prices), split=split)


def _missing(
    config: LoadedConfig, control: Variant, record: RolloutRecord | None
) -> tuple[str, ...]:
    used: Iterable[Variant] = (control, record.spec.canary) if record else (control,)
    return tuple(sorted({each.upstream for each in used} - config.upstreams.keys()))
