"""A world with something on every page: rollouts that ended well and badly, answers, judges, reviews."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Engine

from llm_canary.clock import ManualClock, utc
from llm_canary.review.queue import ReviewQueue
from llm_canary.routing.table import Role
from llm_canary.storage.engine import write_session
from llm_canary.storage.repositories.grading import add_drift
from llm_canary.storage.repositories.judging_days import day_of, settle
from tests.support.control import Web
from tests.support.graded_world import CONFIG, Answer, GradedWorld

HOSTILE = (
    "# Where it is\n\nIn **Graz** \u202eabc\u202c, see [here](https://example.com/x) or "
    "[not here](javascript:alert(1)). ![pixel](https://evil.example/p.png)\n\n"
    "<script>alert('answer')</script><img src=x onerror=alert(1)>\n\n| a | b |\n|---|---|\n| 1 | 2 |"
)
LONG_WORD = "verylongword" * 40
START_S = 1_790_000_000.0


def answers(arm: str, right: float) -> list[Answer]:
    return [
        Answer(f"{arm}: it is in Graz.", True, True, right * 0.9),
        Answer(f"{arm}: in Graz, {LONG_WORD}.", True, False, right * 0.1),
        Answer(f"{arm}: no idea.", False, False, (1 - right) * 0.6),
        Answer(HOSTILE, False, True, (1 - right) * 0.4),
    ]


class SeededWorld(GradedWorld):
    """Two attempts: the first is rolled back by the controller, the second is held by a person."""

    def fill(self) -> None:
        self.start()
        self.canary.error = 0.6
        for _ in range(3):
            self.step(60, 10.0)
        self.canary.error = 0.0
        self.service.start("next", actor="mara", reason="the timeout is mended")
        self.live(100, 12)
        self.service.hold(
            "next", actor="mara", reason="looks odd since noon; <b>see</b> the errors"
        )
        self._add_drift()

    def _add_drift(self) -> None:
        assert self.engine is not None
        now = utc(self.clock.now_s())
        rubric = self.config.rubrics["helpful"]
        report = {"anchors": 120, "changed": 9, "reasons": ["9 anchors are lost and 0 won"]}
        with write_session(self.engine) as session:
            add_drift(
                session, now, rubric_id="helpful", rubric_hash=rubric.content_hash,
                judge_id="judge-1", drift="judge_drift", report=report,
            )  # fmt: skip
            settle(
                session, day_of(now), reserved_nanousd=0, spent_nanousd=2_500_000_000,
                dearest_nanousd=1_000_000, judged=900, calls=900, unknown_cost=0,
            )  # fmt: skip


@contextmanager
def seeded(folder: Path, engine: Engine | None = None) -> Iterator[SeededWorld]:
    made = SeededWorld(
        folder,
        CONFIG.replace("judging: {", "judging: {max_cost_usd_per_day: 2.5, "),
        engine=engine,
        clock=ManualClock(START_S),
        answers={Role.CONTROL: answers("control", 0.8), Role.CANARY: answers("canary", 0.7)},
        units=400,
    )
    with made:
        made.fill()
        yield made


def pages_of(world: GradedWorld, folder: Path, **more: Any) -> Web:
    """The pages over that world."""
    assert world.engine is not None
    services: dict[str, Any] = {
        "engine": world.engine,
        "clock": world.clock,
        "rollouts": world.service,
        "reviews": ReviewQueue(world.engine, world.clock),
        "config": lambda: world.config,
        "status": lambda: status(world),
    }
    return Web(folder, **(services | more))


def status(world: GradedWorld) -> dict[str, Any]:
    now_s = world.clock.now_s()
    loop = {"runs": 1_204, "failures": 0, "last_ok_s": now_s - 1.0, "last_error": None}
    return {
        "config_hash": world.config.hash,
        "config_problem": None,
        "telemetry": None,
        "loops": [
            {"name": "decide", **loop},
            {"name": "score", **loop},
            {"name": "judge", **loop, "failures": 3, "last_error": "ConnectError: refused"},
        ],
    }


def one(engine: Engine, query: str, **values: object) -> Any:
    with engine.connect() as connection:
        return connection.execute(text(query), values).scalar_one()
