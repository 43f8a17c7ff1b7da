"""Pairs of answers: found where both arms got the same request, compared blind, counted once each."""

from __future__ import annotations

import json
import threading
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import text
from sqlalchemy.engine import Engine

from llm_canary.cli import main
from llm_canary.clock import ManualClock
from llm_canary.errors import Conflict, InvalidRequest, NotFound
from llm_canary.review.pairs import Choice, PairEntry, Pairs
from llm_canary.review.people import People
from tests.factories import NOON_S
from tests.support.review_world import SUPPORT, drawn, rubric


def entry(number: int, **more) -> PairEntry:
    messages = [{"role": "user", "content": f"question {number}"}]
    return PairEntry(f"p{number}", messages, f"a{number}", f"b{number}", **more)


def pairs_of(
    engine: Engine, count: int, *, wanted: int = 1, clock: ManualClock | None = None
) -> Pairs:
    made = Pairs(engine, clock or ManualClock(NOON_S), lease_s=60.0)
    entries = [entry(n, arm_a="canary", arm_b="control") for n in range(count)]
    assert made.add(entries, rubric(), source="pairs.jsonl", wanted=wanted) == count
    return made


def say(pairs: Pairs, who: str, wanted: str) -> str:
    """Prefer the stored answer `wanted` (a, b) or say tie, both_bad; return the pair."""
    name = pairs.claim("support", who)
    assert name is not None
    opened = pairs.open(name, who)
    choice = wanted
    if wanted in {"a", "b"}:
        choice = "a" if opened.first.startswith(wanted) else "b"
    pairs.prefer(name, who, opened.token or "", Choice(choice))
    return name


def test_twenty_reviewers_give_each_of_sixty_pairs_two_preferences_and_nobody_two(
    engine: Engine,
) -> None:
    pairs_of(engine, 60, wanted=2)
    given: list[tuple[str, str]] = []
    lock = threading.Lock()

    def work(number: int) -> None:
        own, who = Pairs(engine, ManualClock(NOON_S)), f"reviewer-{number}"
        while True:
            try:
                name = own.claim("support", who)
            except Conflict:
                continue
            if name is None:
                return
            own.prefer(name, who, own.open(name, who).token or "", Choice("a"))
            with lock:
                given.append((name, who))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)

    assert not any(thread.is_alive() for thread in threads)
    assert len(given) == len(set(given)) == 120
    assert set(Counter(name for name, _ in given).values()) == {2}
    report = Pairs(engine, ManualClock(NOON_S)).report("support")
    assert (report.pairs, report.preferences) == (60, 120)
    assert report.first_rate is not None
    assert report.first_rate.mean == 1.0  # everybody took what was shown first


def test_live_pairs_are_the_same_request_to_both_arms_with_different_answers(
    engine: Engine,
) -> None:
    drawn(
        engine,
        [
            ("Where is it?", "In Graz."), ("Where is it?", "In Linz."),
            ("Hello", "Hi."), ("Hello", "Hi."),
            ("Only control", "x"), ("Only canary", "y"),
            ("Where is it?", "In Wien."), ("Where is it?", "In Bern."),
        ],
    )  # fmt: skip
    pairs = Pairs(engine, ManualClock(NOON_S))

    name = pairs.claim("support", "mara")

    assert name is not None
    opened = pairs.open(name, "mara")
    assert opened.prompt.prompt == "Where is it?"
    assert {opened.first, opened.second} == {"In Graz.", "In Linz."}
    pairs.prefer(name, "mara", opened.token or "", Choice("a"))
    assert pairs.claim("support", "mara") is None
    assert pairs.find_live("support") == 0


def test_looking_for_live_pairs_keeps_few_texts_in_memory(engine: Engine) -> None:
    long = "x" * 50_000
    drawn(engine, [(f"{number // 2 % 99:03}{long}", f"{number} {long}") for number in range(200)])
    pairs = Pairs(engine, ManualClock(NOON_S))

    tracemalloc.start()
    try:
        found = [pairs.find_live("support") for _ in range(2)]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert found == [99, 0]
    assert peak < 5e6  # all of them are 20 MB


def test_a_live_pair_whose_text_is_gone_is_dropped_and_not_shown(engine: Engine) -> None:
    drawn(engine, [("q", "one"), ("q", "two")])
    pairs = Pairs(engine, ManualClock(NOON_S))
    assert pairs.find_live("support") == 1
    with engine.begin() as connection:
        connection.execute(text("UPDATE inference SET response_text = NULL"))

    assert pairs.claim("support", "mara") is None
    with engine.connect() as connection:
        assert connection.execute(text("SELECT state FROM review_pair")).scalar_one() == "dropped"


def test_sides_are_drawn_by_person_and_stored(engine: Engine) -> None:
    pairs = pairs_of(engine, 40, wanted=3)
    firsts: dict[str, list[str]] = {"mara": [], "jon": []}
    for who, own in firsts.items():
        for _ in range(40):
            name = pairs.claim("support", who)
            assert name is not None
            opened = pairs.open(name, who)
            own.append(opened.first[0])
            pairs.prefer(name, who, opened.token or "", Choice("a"))

    assert all(8 < own.count("a") < 32 for own in firsts.values())
    assert firsts["mara"] != firsts["jon"]
    rows = pairs.export_rows("support")
    assert all(row["preferred"] == row["shown_first"] for row in rows)


def test_a_pair_counts_once_by_its_majority_and_ties_stand_beside_the_rate(engine: Engine) -> None:
    pairs = pairs_of(engine, 5, wanted=2)
    for said in (("a", "a"), ("a", "tie"), ("b", "b"), ("tie", "tie"), ("both_bad", "both_bad")):
        for who, wanted in zip(("mara", "jon"), said, strict=True):
            say(pairs, who, wanted)

    report = pairs.report("support")

    assert (report.canary, report.control) == (1, 1)
    assert (report.tie, report.both_bad, report.divided, report.unknown_arm) == (1, 1, 1, 0)
    assert report.win_rate is not None
    assert (report.win_rate.mean, report.win_rate.n) == (0.5, 2)
    assert report.win_rate.lower == pytest.approx(0.0945, abs=1e-3)  # Wilson, 1 of 2
    People(engine, ManualClock(NOON_S))


def test_an_excluded_reviewer_s_preferences_are_left_out_and_counted(engine: Engine) -> None:
    drawn(engine, [("q", "one")])
    pairs = pairs_of(engine, 1, wanted=2)
    say(pairs, "mara", "a")
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO reviewer_exclusion (reviewer, at, excluded_by, reason) "
                "VALUES ('mara', '2027-01-15 08:00:00+00', 'lead', 'bot')"
            )
        )

    report = pairs.report("support")

    assert (report.pairs, report.left_out, report.win_rate) == (0, 1, None)
    with pytest.raises(Conflict, match="do not count"):
        pairs.claim("support", "mara")


def test_who_cannot_tell_gives_the_pair_to_others(engine: Engine) -> None:
    pairs = pairs_of(engine, 1)
    say(pairs, "mara", "cannot_assess")

    assert pairs.claim("support", "mara") is None
    assert pairs.report("support").pairs == 0
    say(pairs, "jon", "a")
    assert pairs.report("support").canary == 1


def test_forged_and_stale_preferences_store_nothing(engine: Engine) -> None:
    clock = ManualClock(NOON_S)
    pairs = pairs_of(engine, 1, clock=clock)
    name = pairs.claim("support", "mara")
    assert name is not None
    token = pairs.open(name, "mara").token or ""

    with pytest.raises(InvalidRequest):
        pairs.prefer(name, "mara", token, Choice("canary"))
    with pytest.raises(Conflict):
        pairs.prefer(name, "jon", token, Choice("a"))
    with pytest.raises(Conflict):
        pairs.prefer(name, "mara", "made up", Choice("a"))
    with pytest.raises(NotFound):
        pairs.open(name, "jon")
    with pytest.raises(NotFound):
        pairs.prefer("nowhere", "mara", token, Choice("a"))
    clock.advance(61.0)
    assert pairs.claim("support", "jon") == name
    with pytest.raises(Conflict):
        pairs.prefer(name, "mara", token, Choice("a"))
    say(pairs, "jon", "a")
    jon = pairs.open(name, "jon").token or ""
    said = "a" if pairs.open(name, "jon").first.startswith("a") else "b"
    pairs.prefer(name, "jon", jon, Choice(said))  # sent twice
    with pytest.raises(Conflict, match="already"):
        pairs.prefer(name, "jon", jon, Choice("tie"))
    assert pairs.report("support").preferences == 1


def test_pairs_come_from_a_file_and_preferences_go_into_one(
    engine: Engine, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLM_CANARY_DATABASE_URL", database_url)
    source, out, form = tmp_path / "pairs.jsonl", tmp_path / "out.jsonl", tmp_path / "support.yaml"
    form.write_text(SUPPORT)
    row = {
        "id": "1",
        "prompt": "q",
        "a": "long",
        "b": "short",
        "arm_a": "canary",
        "arm_b": "control",
    }
    source.write_text(json.dumps(row) + "\n")
    run = CliRunner()

    assert (
        run.invoke(main, ["review", "export", str(out), "--rubric", str(form), "--pairs"]).exit_code
        != 0
    )
    first = run.invoke(main, ["review", "pairs", str(source), "--rubric", str(form), "--json"])
    again = run.invoke(main, ["review", "pairs", str(source), "--rubric", str(form), "--json"])
    pairs = Pairs(engine, ManualClock(NOON_S))
    name = pairs.claim("support", "mara")
    assert name is not None
    pairs.prefer(
        name,
        "mara",
        pairs.open(name, "mara").token or "",
        Choice("tie", {"helpfulness": "a", "nothing": "a"}),
    )
    done = run.invoke(main, ["review", "export", str(out), "--rubric", str(form), "--pairs"])

    assert json.loads(first.output) == {"pairs": 1, "new": 1}
    assert json.loads(again.output) == {"pairs": 1, "new": 0}
    assert done.exit_code == 0, done.output
    [written] = [json.loads(line) for line in out.read_text().splitlines()]
    assert (written["preferred"], written["arm_a"], written["reviewer"]) == (
        "tie",
        "canary",
        "mara",
    )
    assert list(written["criteria"]) == ["helpfulness"]


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"a": ""}, "`a` is no text"),
        ({"b": 3}, "`b` is no text"),
        ({"arm_a": "canary"}, "both absent"),
        ({"arm_a": "canary", "arm_b": "canary"}, "both absent"),
        ({"c": "x"}, "unknown key"),
        ({"prompt": None}, "is missing"),
    ],
)
def test_a_wrong_row_of_pairs_refuses_the_file(tmp_path: Path, change, part) -> None:
    from llm_canary.cli.pair_rows import read_pairs
    from llm_canary.errors import ConfigError

    path = tmp_path / "pairs.jsonl"
    row = {"id": "1", "prompt": "q", "a": "x", "b": "y"} | change
    path.write_text(json.dumps({key: each for key, each in row.items() if each is not None}))

    with pytest.raises(ConfigError, match=part):
        read_pairs(path)
