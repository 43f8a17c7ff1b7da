"""Erases by user, by request or by age: in batches, again where it was broken off, and once more.

A user is erased by making the facts nobody's: their time, tokens and cost stay, so that the sums
that decisions were made from still add up. Facts that waited on a gateway's disk arrive later than
they happened, so each erasure looks again a day after it was asked for.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from sqlalchemy.engine import Engine
from sqlmodel import Session

from llm_canary.clock import Clock, utc
from llm_canary.errors import InvalidRequest, NotFound
from llm_canary.rollout.late import id_at
from llm_canary.routing.bucket import unit_hash
from llm_canary.storage.engine import read_session, write_session
from llm_canary.storage.repositories.erasing import ErasingRepository
from llm_canary.storage.repositories.erasures import (
    ErasureKind,
    ErasureRecord,
    ErasureState,
    Progress,
    add_erasure,
    get_erasure,
    list_erasures,
    next_erasure,
    note_progress,
)
from llm_canary.storage.repositories.inferences import by_response_id
from llm_canary.storage.repositories.installation import UNIT_SECRET, get_value

_SPOOLED = timedelta(days=1)
_BATCH = 500
_ID = re.compile(r"[0-9a-f]{32}")
_AGE = re.compile(r"(\d{1,5})([hdw])")
_HOURS = {"h": 1, "d": 24, "w": 168}


class Target(NamedTuple):
    """What is to be erased, without a clear user id."""

    kind: ErasureKind
    value: str


class Preview(NamedTuple):
    """What an erasure would find now."""

    inferences: int
    texts: int
    comments: int


class Eraser:
    """Erases what is asked for; `step` does a part of the work."""

    def __init__(
        self, engine: Engine, clock: Clock, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._monotonic = monotonic

    def target(self, kind: ErasureKind, text: str) -> Target:
        """Return what `text` names: a user id as apps send it, an id of an answer, or an age."""
        value = text.strip()
        if not value:
            raise InvalidRequest(f"say which {kind.value} is to be erased", param=kind.value)
        if kind is ErasureKind.BEFORE:
            return Target(kind, str(self._moment(value).timestamp()))
        with read_session(self._engine) as session:
            if kind is ErasureKind.REQUEST:
                return Target(kind, _request_id(session, value))
            secret = get_value(session, UNIT_SECRET)
        if secret is None:
            raise NotFound("no request has been recorded yet, so there is nothing of this user")
        return Target(kind, unit_hash(bytes.fromhex(secret), value))

    def preview(self, target: Target) -> Preview:
        """Return what would be erased."""
        with read_session(self._engine) as session:
            return Preview(*_counts(ErasingRepository(session), target))

    def start(self, target: Target, by: str) -> ErasureRecord:
        """Note the erasure, which from now on is brought to its end, also after a restart."""
        with write_session(self._engine) as session:
            at = utc(self._clock.now_s())
            erasure_id = add_erasure(session, target.kind, target.value, by, at)
        return self.get(erasure_id)

    def run(self, erasure_id: str, within_s: float) -> ErasureRecord:
        """Go on with an erasure for some time; return how far it has come."""
        ends_s = self._monotonic() + within_s
        record = self.get(erasure_id)
        while record.state is ErasureState.RUNNING and self._monotonic() < ends_s:
            self._advance(record)
            record = self.get(erasure_id)
        return record

    def step(self) -> bool:
        """Erase one batch of what is asked for; False = there is nothing to do now."""
        with read_session(self._engine) as session:
            record = next_erasure(session, utc(self._clock.now_s()) - _SPOOLED)
        if record is None:
            return False
        self._advance(record)
        return True

    def get(self, erasure_id: str) -> ErasureRecord:
        """Return an erasure; raise NotFound."""
        with read_session(self._engine) as session:
            record = get_erasure(session, erasure_id)
        if record is None:
            raise NotFound(f"there is no erasure {erasure_id[:40]!r}")
        return record

    def list(self) -> list[ErasureRecord]:
        """Return erasures, the newest first."""
        with read_session(self._engine) as session:
            return list_erasures(session)

    def _advance(self, record: ErasureRecord) -> None:
        # Found without the right to write: this may read all rows there are.
        with read_session(self._engine) as session:
            ids = _batch(ErasingRepository(session), record)
        with write_session(self._engine) as session:
            repository = ErasingRepository(session)
            if record.kind is ErasureKind.BEFORE:
                comments = repository.clear_texts(ids)
            else:
                comments = repository.forget_persons(ids)
            state, position = record.state, ids[-1] if ids else record.position
            if len(ids) < _BATCH:
                comments += _last(repository, record)
                is_second = record.state is ErasureState.SETTLING
                state = ErasureState.DONE if is_second else ErasureState.SETTLING
                position = id_at((record.requested_at - 2 * _SPOOLED).timestamp())
            is_done = state is ErasureState.DONE
            done_at = utc(self._clock.now_s()) if is_done else None
            note_progress(
                session, record.id, Progress(state, position, len(ids), comments, done_at)
            )

    def _moment(self, text: str) -> datetime:
        now = utc(self._clock.now_s())
        if (age := _AGE.fullmatch(text)) is not None:
            return now - timedelta(hours=int(age[1]) * _HOURS[age[2]])
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            moment = None
        if moment is None:
            raise InvalidRequest(
                "`before` must be an age such as 12h, 30d or 8w, or a date such as 2026-11-01",
                param="before",
            )
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        if moment > now:
            raise InvalidRequest("`before` lies in the future", param="before")
        return moment


def _counts(repository: ErasingRepository, target: Target) -> tuple[int, int, int]:
    match target.kind:
        case ErasureKind.USER:
            return repository.count_unit(target.value)
        case ErasureKind.REQUEST:
            return repository.count_request(target.value)
        case ErasureKind.BEFORE:
            return repository.count_before(utc(float(target.value)))


def _batch(repository: ErasingRepository, record: ErasureRecord) -> list[str]:
    match record.kind:
        case ErasureKind.USER:
            return repository.of_unit(record.target, record.position, _BATCH)
        case ErasureKind.REQUEST:
            return [record.target]
        case ErasureKind.BEFORE:
            return repository.with_text(None, utc(float(record.target)), _BATCH)


def _last(repository: ErasingRepository, record: ErasureRecord) -> int:
    """Erase what belongs to no inference; return how many comments went."""
    match record.kind:
        case ErasureKind.USER:
            return repository.forget_unit(record.target)
        case ErasureKind.REQUEST:
            return 0
        case ErasureKind.BEFORE:
            before = utc(float(record.target))
            repository.clear_imported(before)
            return repository.clear_comments(before, utc(record.requested_at.timestamp()))


def _request_id(session: Session, text: str) -> str:
    """Return our id of a request that is named by it or by the id of its answer."""
    if _ID.fullmatch(text):
        return text
    found = by_response_id(session, text)
    if found is None:
        raise NotFound(
            f"no request has the answer {text[:80]!r}; give its x-request-id", param="request"
        )
    return found.id
