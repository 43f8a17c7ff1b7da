"""An instance with a history, made through the product's own code: a week of a parcel service's rollouts, grades, reviews and people.

python -m tests.support.seeded DIR [--serve] [--seed N]    # make it in DIR, and serve it

The week ends now, so that what runs still runs. The seed decides requests, answers and salts. The order in which drawn answers are
reviewed follows their ids, which are new each time, so reviews differ in detail.
"""

from __future__ import annotations

import argparse
import gc
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import event, text

from llm_canary.access.accounts import Accounts
from llm_canary.access.audit import Audit
from llm_canary.access.gate import Gate
from llm_canary.auth import AccessRole, Principal, PrincipalKind
from llm_canary.clock import ManualClock
from llm_canary.config.load import load
from llm_canary.errors import Unauthorized
from llm_canary.judging.live_trust import compare_judges
from llm_canary.judging.worker import JudgeWorker
from llm_canary.review.queue import Item, ReviewQueue, Submission
from llm_canary.rollout.controller import Controller
from llm_canary.rollout.publish import Publisher
from llm_canary.rollout.scoring import score_due
from llm_canary.rollout.service import RolloutService
from llm_canary.storage.engine import make_engine
from llm_canary.storage.ingest import SqlBatchSink
from llm_canary.storage.migrate import upgrade
from tests.support import parcels
from tests.support.control import PASSWORD, QUICK_HASHER
from tests.support.public_labels import add_public_calibrations
from tests.support.seeded_desk import lay_out
from tests.support.seeded_traffic import Manner, Traffic

HOUR_S = 3_600.0
HOURS = 168
STEP = 2  # hours that pass at once
ADMIN, OPERATOR = "ida", "mara"
DATABASE = "llm_canary.db"


class Person(NamedTuple):
    """A reviewer, and how often they are wrong about a criterion."""

    name: str
    errs: float
    items_a_step: int


@dataclass(frozen=True)
class Matter:
    """What the instance is about; texts may be hostile, the story stays the same."""

    config: str = parcels.CONFIG
    rubric: str = parcels.RUBRIC
    answers: Callable[[int], list[parcels.Said]] = parcels.answers
    countries: Sequence[str] = ("de", "at", "pl", "fr")
    people: Sequence[Person] = (
        Person("jon", 0.03, 8),
        Person("ann", 0.06, 6),
        Person("lea", 0.15, 3),
    )
    comments: Sequence[str] = parcels.COMMENTS
    thumb_comments: Sequence[str] = parcels.THUMB_COMMENTS
    skip_reasons: Sequence[str] = parcels.SKIP_REASONS
    correction: str = parcels.CORRECTION
    hold_reason: str = "legal reads the new refund text until Monday"
    hours: int = HOURS
    activity: float = 1.0  # requests, of the usual number


# Route -> how its control answers; rollout -> how its canary does.
CONTROLS = {
    "support-bot": Manner(0.012, 1_900.0, 610_000, good=0.80, thumbs=0.72),
    "returns-bot": Manner(0.010, 1_500.0, 480_000, good=0.78, thumbs=0.70),
    "invoice-fields": Manner(0.015, 2_600.0, 2_400_000),
    "address-search": Manner(0.008, 700.0, 90_000),
}
CANARIES = {
    "support-v13": Manner(0.013, 1_750.0, 560_000, good=0.84, thumbs=0.76, harmed="pl"),
    "support-nano": Manner(0.190, 1_100.0, 170_000, good=0.55, thumbs=0.50),
    "returns-terse": Manner(0.011, 1_250.0, 390_000, good=0.77, thumbs=0.70),
    "invoice-haiku": Manner(0.012, 1_700.0, 980_000),
    "address-small": Manner(0.009, 520.0, 40_000),
}
AN_HOUR = {"support-bot": 40, "returns-bot": 24, "invoice-fields": 18, "address-search": 17}


@dataclass
class Seeded:
    """The instance under way; `build` makes all of it."""

    folder: Path
    seed: int = 7
    end_s: float = field(default_factory=time.time)
    matter: Matter = field(default_factory=Matter)
    database_url: str = ""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.draw = random.Random(self.seed)
        salts = random.Random(self.seed + 2)
        known = self.matter.answers(self.seed)
        path = parcels.write_project(
            self.folder, self.matter.config, self.matter.rubric, known, self.seed
        )
        self.config = load(path)
        self.database_url = self.database_url or f"sqlite:///{self.folder / DATABASE}"
        self.engine = make_engine(self.database_url)
        if self.engine.dialect.name == "sqlite":
            event.listen(self.engine, "connect", _unsynced)
        upgrade(self.engine)
        self.clock = ManualClock(self.end_s - self.matter.hours * HOUR_S)
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        self.publisher = Publisher(self.engine, lambda: self.config, data)
        self.service = RolloutService(
            self.engine,
            lambda: self.config,
            self.clock,
            on_change=self.publisher.publish,
            new_salt=lambda: f"salt-{salts.getrandbits(32):x}",
        )
        self.controller = Controller(self.engine, self.service, self.clock, holder="seeded")
        self.worker = JudgeWorker(self.engine, self.clock)
        self.queue = ReviewQueue(self.engine, self.clock, gold_rate=0.08)
        self.gate = Gate(self.engine, self.clock, tuple)
        self.gate.accounts = Accounts(self.engine, self.clock, QUICK_HASHER)
        self.audit = Audit(self.engine, self.clock, via="web")
        self.traffic = Traffic(self.seed, known, self.matter.countries, self.matter.thumb_comments)
        self.truth = {each.text: each for each in known}
        self.sink = SqlBatchSink(self.engine)

    def build(self) -> Seeded:
        """Live through the week."""
        gc.disable()  # a third of the time would go into looking for garbage among the new rows
        try:
            self._people()
            for hour in range(0, self.matter.hours, STEP):
                self._acts(self.matter.hours - hour)
                self._live(hour)
            self._last_looks()
        finally:
            gc.enable()
            self.controller.close()
            self.worker.close()
            self.engine.dispose()
        return self

    def act(self, verb: str, rollout: str, reason: str, *, by: str = OPERATOR) -> None:
        """Do what the page or the API does when a person decides."""
        getattr(self.service, verb)(rollout, actor=by, reason=reason)
        who = Principal(name=by, role=AccessRole.OPERATOR, kind=PrincipalKind.PERSON)
        self.audit.note(who, f"rollout.{verb}", rollout, {"reason": reason})

    def _people(self) -> None:
        accounts = self.gate.accounts
        roles = [
            (ADMIN, AccessRole.ADMIN),
            (OPERATOR, AccessRole.OPERATOR),
            ("shop", AccessRole.APP),
        ]
        roles += [(each.name, AccessRole.REVIEWER) for each in self.matter.people]
        for name, role in [*roles, ("tom", AccessRole.REVIEWER)]:
            accounts.create(name, role, password=PASSWORD, by="local" if name == ADMIN else ADMIN)
        accounts.set_disabled("tom", is_disabled=True)

    def _acts(self, left: int) -> None:
        """Do what people do `left` hours before the end."""
        match left:
            case 168:
                self.act("start", "address-small", "cheaper, and the checks are green")
                self.act("start", "support-nano", "a fifth of the price: worth a look")
            case 84:
                self.act("start", "invoice-haiku", "try the small model on invoices")
            case 140:
                self.act("start", "returns-terse", "shorter answers, same rules")
            case 110:
                self.act("start", "support-v13", "says first where the parcel is")
            case 82 if self._state("invoice-haiku") == "running":
                self.act("hold", "invoice-haiku", "an audit of the invoices runs tonight")
            case 76 if self._state("invoice-haiku") == "held":
                self.act("resume", "invoice-haiku", "the audit is done")
            case 96:  # the first reviews of support-v13 are given
                self._make_gold()
            case 60 if self._stage("support-v13") == "initial":
                self.act("promote", "support-v13", "the first stage has shown no harm")
            case 40:
                self._to_standby("invoice-haiku")
            case 30 if self._state("returns-terse") == "running":
                self.act("hold", "returns-terse", self.matter.hold_reason)
            case 6:
                self.act("create", "returns-large", "next, once the terse one is decided")
        if left % 24 in {16, 8}:
            self._log_in(left)

    def _to_standby(self, name: str) -> None:
        while self._state(name) == "running":
            self.act("promote", name, "every gate has passed since yesterday")

    def _state(self, name: str) -> str:
        return self.service.get(name).state.value

    def _stage(self, name: str) -> str | None:
        record = self.service.get(name)
        return record.stage if self._state(name) == "running" else None

    def _log_in(self, left: int) -> None:
        for name in (OPERATOR, *(each.name for each in self.matter.people)):
            is_typo = (left + len(name)) % 7 == 0
            try:
                _, who = self.gate.log_in(name, "wrong" if is_typo else PASSWORD)
            except Unauthorized:
                self.audit.note(None, "login.failed", name)
            else:
                self.audit.note(who, "login", who.name)

    def _live(self, hour: int) -> None:
        until_s = self.clock.now_s() + STEP * HOUR_S
        events: list[Any] = []
        table = self.publisher.table
        assert table is not None
        for route, usual in AN_HOUR.items():
            count = round(usual * self.matter.activity)
            split = table.routes[route].split
            if split is None and hour % 8:
                continue  # a little traffic, where nothing is compared
            canary = None if split is None else CANARIES[split.rollout]
            now_s = self.clock.now_s()
            for each in range(STEP):
                events += self.traffic.hour(
                    table.routes[route], now_s + each * HOUR_S, count, CONTROLS[route], canary
                )
        self.sink.write(events)
        self.clock.advance(STEP * HOUR_S / 2.0)
        self._score()
        while self.worker.step():
            pass
        if hour >= 40 and hour < self.matter.hours - 5:
            self._review(until_s - 60.0)
        if hour % 36 == 34:
            compare_judges(self.engine, self.clock)
        self.clock.advance(until_s - self.clock.now_s())
        self._score()
        self.controller.tick()

    def _score(self) -> None:
        while score_due(self.engine, self.clock, 10_000):
            pass

    def _review(self, until_s: float) -> None:
        for person in self.matter.people:
            for _ in range(person.items_a_step):
                if self.clock.now_s() >= until_s:
                    return
                item = self.queue.claim("parcel_answer", person.name)
                if item is None:
                    break
                seconds = self.draw.uniform(15.0, 90.0)
                self.clock.advance(min(seconds, until_s - self.clock.now_s()))
                self._grade(item, person, seconds)

    def _grade(self, item: Item, person: Person, seconds: float) -> None:
        if self.draw.random() < 0.03:
            reason = self.draw.choice(list(self.matter.skip_reasons))
            self.queue.skip(item.sample_id, person.name, item.token, reason)
            return
        said = self.truth[item.sample.response]
        given = Submission(
            parcels.mistaken(said.labels, self.draw, person.errs),
            comment=self.draw.choice(list(self.matter.comments))
            if self.draw.random() < 0.2
            else None,
            corrected_response=self.matter.correction
            if not said.is_good and self.draw.random() < 0.15
            else None,
            seconds_active=round(seconds, 1),
        )
        self.queue.submit(item.sample_id, person.name, item.token, given)

    def _make_gold(self) -> None:
        """Answers that people have graded already: one that a gate still waits for may not be gold."""
        graded = text(
            "SELECT s.id, i.response_text FROM sample s JOIN inference i ON i.id = s.inference_id "
            "WHERE s.rubric_id = 'parcel_answer' AND s.review_state = 'done' ORDER BY s.id LIMIT 6"
        )
        with self.engine.connect() as connection:
            rows = connection.execute(graded).all()
        assert rows, "nobody has graded anything yet"
        for sample_id, response in rows:
            why = "checked with the depot's own record"
            right = self.truth[response].labels
            self.queue.make_gold(sample_id, right, by=OPERATOR, rationale=why)

    def _last_looks(self) -> None:
        """Compare judges with public labels, and leave work on people's desks."""
        add_public_calibrations(self.engine, self.clock.now_s())
        lay_out(
            self.engine, self.clock, self.config, self.truth,
            admin=ADMIN, people=[each.name for each in self.matter.people], seed=self.seed,
        )  # fmt: skip


def _unsynced(connection: Any, _: object) -> None:
    """Wait for no disk: what a crash would lose is made again in half a minute."""
    connection.execute("PRAGMA synchronous = OFF")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--serve", action="store_true", help="serve it until Ctrl-C")
    parser.add_argument("--hostile", action="store_true", help="names and texts that attack")
    given = parser.parse_args()
    from tests.support.hostile import HOSTILE
    from tests.support.server import RunningServer

    matter = HOSTILE if given.hostile else Matter()
    began = time.perf_counter()
    made = Seeded(given.folder, seed=given.seed, matter=matter).build()
    print(
        f"made in {time.perf_counter() - began:.1f} s; log in as {ADMIN}, {OPERATOR} or {matter.people[0].name}: {PASSWORD}"
    )
    if given.serve:
        with RunningServer(made.folder, (made.folder / "canary.yaml").read_text()) as server:
            print(server.url, flush=True)
            while True:
                time.sleep(3600)


if __name__ == "__main__":
    main()
