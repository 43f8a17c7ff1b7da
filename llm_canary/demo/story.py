"""The demonstration: a real model, the real gateway, real decisions, in a few minutes.

Three rollouts run on one model. One canary breaks its output and is rolled back by itself, one is
cheaper and is promoted by itself, one answers worse without ever failing and is rolled back on the
rubric that grades the answers; nobody touches any. `swap` exchanges the arms, `identical` lets the
control compete with itself.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from llm_canary.clock import SystemClock
from llm_canary.demo.child import DemoError
from llm_canary.demo.gateway import Control, Gateway
from llm_canary.demo.model import MODEL, LocalModel
from llm_canary.demo.project import (
    FACTS_ROLLOUT,
    JUDGED_RUBRIC,
    STAGES,
    Judge,
    ModelServer,
    arms,
    write_project,
)
from llm_canary.demo.report import Decided, Ending, Judged, decided, document, ending, judge_of
from llm_canary.demo.screen import Screen, progress
from llm_canary.demo.script import ENDED, HELD, THUMBS_UP, acts
from llm_canary.demo.traffic import Traffic

_POLL_S = 1.0
ENOUGH_USERS = 2_000  # a machine that is busy or slow may take longer for as many,
_LONGEST = 2.5  # but no longer than so many times the limit


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What the command line can ask for."""

    seed: int = 1
    swap: bool = False
    identical: bool = False
    keep: bool = False
    upstream: str | None = None
    model: str | None = None
    judge: str | None = None
    judge_url: str | None = None
    as_json: bool = False
    limit_s: float = 480.0  # after which an undecided rollout is reported as such


@dataclass(frozen=True, slots=True)
class DemoResult:
    """How it ended; `document` is what `--json` prints."""

    ok: bool
    document: dict[str, Any]


def run_demo(options: DemoOptions) -> DemoResult:
    """Run the demonstration, showing it on the way; raise DemoError when it cannot go on."""
    if options.swap and options.identical:
        raise DemoError("--swap and --identical exclude each other; choose one")
    if (options.upstream is None) != (options.model is None):
        raise DemoError("--upstream and --model belong together: a server and a model it serves")
    judge = _judge(options)
    directory = Path(tempfile.mkdtemp(prefix="llm-canary-demo-"))
    # With --json standard output belongs to the document.
    screen = Screen(sys.stderr if options.as_json else sys.stdout)
    with screen, _terminable(), _model_server(options, directory, screen) as model_server:
        both = arms(model_server.model, swap=options.swap, identical=options.identical)
        write_project(directory, model_server, both, judge)
        with Gateway(directory) as gateway:
            screen.say(f"gateway: {gateway.url}/v1 in front of it, page: {gateway.url}/")
            story = _Story(options, gateway, screen)
            result = asyncio.run(story.tell(directory))
            _say_where(screen, gateway, directory, story.history, options)
            if options.keep:
                _wait(gateway)
    return result


def is_time_up(limit_s: float, elapsed_s: float, users: int) -> bool:
    """Say whether a rollout that is undecided by now stays so; a slow machine gets more time."""
    return elapsed_s > limit_s * (1.0 if users >= ENOUGH_USERS else _LONGEST)


class _Story:
    """One run: users on one side, the rollouts' progress on the other."""

    def __init__(self, options: DemoOptions, gateway: Gateway, screen: Screen) -> None:
        self._options = options
        self._gateway = gateway
        self._screen = screen
        self._acts = acts(swap=options.swap, identical=options.identical)
        self._settled: set[str] = set()  # rollouts
        self._seen: set[str] = set()  # changes
        self._began_s = 0.0
        self._clock = SystemClock()
        self.history: list[Decided] = []

    async def tell(self, directory: Path) -> DemoResult:
        url = self._gateway.url
        async with Control(url) as control, Traffic(url, self._options.seed) as traffic:
            await traffic.warm_up([act.route for act in self._acts])
            self._announce()
            self._began_s = self._clock.now_s()
            for act in self._acts:
                await control.start(act.rollout)
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(traffic.run(self._open_routes))
                    tasks.create_task(self._watch(control, traffic))
            except ExceptionGroup as group:
                raise _first(group) from group
            views = await control.rollouts()
        endings = [ending(act, views[act.rollout]) for act in self._acts]
        self._screen.conclude(self.history, endings)
        judge = judge_of(views[FACTS_ROLLOUT], JUDGED_RUBRIC)
        if judge is not None:
            self._screen.say(judge.headline)
        floors = ", ".join(str(units) for _, units in STAGES.values())
        self._screen.say(f"verdicts of a compressed plan: {floors} canary users instead of 200")
        return self._result(endings, traffic, directory, judge)

    def _announce(self) -> None:
        say = self._screen.say
        for number, act in enumerate(self._acts, start=1):
            say(f"act {number}: {act.rollout} on {act.route}: {act.title}")
        shares = ", ".join(f"{share} (>= {units} canary users)" for share, units in STAGES.values())
        say(f"compressed plan: {shares}; stages of seconds, wide margins")
        say("  (the plan `standard`: 200 canary users and a day at each share, narrow margins)")
        say(f"scripted votes: {THUMBS_UP:.0%} thumbs up, in both arms alike")

    def _open_routes(self) -> Sequence[str]:
        return [act.route for act in self._acts if act.rollout not in self._settled]

    async def _watch(self, control: Control, traffic: Traffic) -> None:
        began_s = time.monotonic()
        while len(self._settled) < len(self._acts):
            await asyncio.sleep(_POLL_S)
            self._gateway.child.require_alive()
            views = await control.rollouts()
            await self._tell_news(control)
            rows = [progress(views[act.rollout]) for act in self._acts]
            elapsed_s = self._clock.now_s() - self._began_s
            count, rate = traffic.answered.total(), traffic.per_second
            failed = f", {traffic.failed.total()} failed" if traffic.failed else ""
            self._screen.show(rows, f"{elapsed_s:.0f} s, {count} users, {rate:.1f}/s{failed}")
            self._settled |= {row.rollout for row in rows if row.state in {*ENDED, HELD}}
            if is_time_up(self._options.limit_s, time.monotonic() - began_s, count):
                self._settled |= {act.rollout for act in self._acts}

    async def _tell_news(self, control: Control) -> None:
        for change in await control.history():
            if change["id"] in self._seen:
                continue
            self._seen.add(change["id"])
            if change["decision_id"] is None:
                continue
            news = decided(change, await control.decision(change["decision_id"]), self._began_s)
            if news is not None:
                self.history.append(news)
                self._screen.say(f"{news.at_s:4.0f} s  {news.headline}", "bold")

    def _result(
        self,
        endings: Sequence[Ending],
        traffic: Traffic,
        directory: Path,
        judge: Judged | None,
    ) -> DemoResult:
        facts = {
            "seed": self._options.seed,
            "seconds": round(self._clock.now_s() - self._began_s, 1),
            "answered": traffic.answered.total(),
            "failed": traffic.failed.total(),
            "directory": str(directory),
            "database": str(directory / "llm_canary.db"),
            **({} if judge is None else {"judge": asdict(judge)}),
        }
        found = document(endings, self.history, facts)
        return DemoResult(ok=found["ok"], document=found)


def _judge(options: DemoOptions) -> Judge | None:
    if options.judge is None:
        if options.judge_url is not None:
            raise DemoError("--judge-url is the server of --judge NAME; name the judge as well")
        return None
    if options.judge.startswith("openai/") and _key() is None:
        raise DemoError(
            f"--judge {options.judge} needs a key; set OPENAI_API_KEY, to any word where "
            "--judge-url asks for none"
        )
    return Judge(options.judge, options.judge_url, _key())


def _key() -> str | None:
    return "${OPENAI_API_KEY}" if os.environ.get("OPENAI_API_KEY") else None


@contextmanager
def _model_server(options: DemoOptions, directory: Path, screen: Screen) -> Iterator[ModelServer]:
    if options.upstream is not None and options.model is not None:
        screen.say(f"model: {options.model} at {options.upstream}")
        yield ModelServer(options.upstream, options.model, _key())
        return
    screen.say("model: SmolLM2-135M-Instruct on this machine's processor")
    with LocalModel(directory) as model:
        yield ModelServer(model.base_url, MODEL)


@contextmanager
def _terminable() -> Iterator[None]:
    """End the children in order on SIGTERM and when the terminal closes, too."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        signal.raise_signal(signal.SIGINT)

    before = {each: signal.signal(each, interrupt) for each in (signal.SIGTERM, signal.SIGHUP)}
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # so a shell starts its background jobs
        before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _say_where(
    screen: Screen,
    gateway: Gateway,
    directory: Path,
    history: Sequence[Decided],
    options: DemoOptions,
) -> None:
    command = shutil.which("llm-canary") or str(Path(sys.executable).parent / "llm-canary")
    which = history[0].decision_id if history else "ID"
    screen.say("")
    screen.say(f"everything is in {directory}: canary.yaml, prompts/, llm_canary.db (SQLite), logs")
    if options.keep:
        screen.say(
            f"still running until Ctrl-C: {gateway.url}/ (page), {gateway.url}/v1 (for apps)"
        )
        screen.say(f"one decision: LLM_CANARY_URL={gateway.url} {command} decision show {which}")
        return
    screen.say(f"look again: cd {directory} && {command} serve")
    screen.say(f"one decision, while it serves: {command} decision show {which}")


def _first(group: ExceptionGroup) -> Exception:
    error: Exception = group
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def _wait(gateway: Gateway) -> None:
    try:
        while True:
            gateway.child.require_alive()
            time.sleep(_POLL_S)
    except KeyboardInterrupt:
        return
