"""`/review`: what there is to review, and how one's own work stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from fastapi.responses import Response

from llm_canary.auth import Permission
from llm_canary.clock import utc
from llm_canary.pages.quantity import ABSENT, ago_text, count_text, duration_text, share_text
from llm_canary.pages.site import Site
from llm_canary.pages.visit import Visit
from llm_canary.review.desk import Desk
from llm_canary.review.people import AGREEMENT_OF, Share, agreement, gold_shares
from llm_canary.storage.engine import read_session
from llm_canary.storage.repositories.desk import drafts_of
from llm_canary.storage.repositories.pairs import PairCounts, pair_counts
from llm_canary.storage.repositories.review_counts import Due, done_since, due, held_by
from llm_canary.storage.repositories.reviewed import reviewed_rows
from llm_canary.storage.repositories.reviews import QueueCounts, queues

WEEK, GOLD_DAYS = 7, 30


@dataclass(frozen=True)
class Fact:
    """One number of a queue."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class QueueCard:
    """One rubric's queue."""

    rubric: str
    facts: tuple[Fact, ...]
    is_held: bool
    is_open: bool
    pairs: int
    to_adjudicate: int


@dataclass(frozen=True)
class QueuesPage:
    """All queues, the ones with work first."""

    cards: tuple[QueueCard, ...]
    done: int  # one's own, of the last seven days
    gold: str
    drafts: tuple[tuple[str, str, str], ...]  # sample, rubric, when


@dataclass(frozen=True)
class QueueFacts:
    """What the cards are made of."""

    counts: Sequence[QueueCounts]
    due: Mapping[str, Due]
    held: Mapping[str, str]
    mine: Mapping[str, int]
    agreements: Mapping[str, Share]
    pairs: Mapping[str, PairCounts]


def add_review(site: Site) -> None:
    """Add `/review`."""
    services = site.services
    desk = Desk(services.engine, services.clock, services.reviews)

    def page(visit: Visit) -> Response:
        me, now = visit.viewer.principal.name, utc(services.clock.now_s())
        with read_session(services.engine) as session:
            counts = queues(session, now)
            facts = QueueFacts(
                counts,
                due(session, now),
                held_by(session, me, now),
                done_since(session, me, now - timedelta(days=WEEK)),
                {
                    name: agreement(reviewed_rows(session, name, AGREEMENT_OF))
                    for name in {each.rubric_id for each in counts}
                },
                pair_counts(session),
            )
            gold = gold_shares(session, me, now - timedelta(days=GOLD_DAYS)).get(me, Share())
            drafts = drafts_of(session, me)
        return site.html(
            visit,
            "review/queues.html",
            page=queues_page(facts, gold, drafts, now),
            was_empty=bool(visit.query.get("empty")),
            undo=desk.undoable(me) is not None,
        )

    site.page("/review", Permission.REVIEW, page)


def queues_page(
    facts: QueueFacts, gold: Share, drafts: Sequence[tuple[str, str, datetime]], now: datetime
) -> QueuesPage:
    """Return the page of the queues."""
    by_rubric: dict[str, list[QueueCounts]] = {name: [] for name in facts.pairs}
    for each in facts.counts:
        by_rubric.setdefault(each.rubric_id, []).append(each)
    cards = [_card(name, own, facts, now) for name, own in sorted(by_rubric.items())]
    return QueuesPage(
        cards=tuple(sorted(cards, key=lambda card: not (card.is_open or card.is_held))),
        done=sum(facts.mine.values()),
        gold=share_words(gold),
        drafts=tuple(
            (name, rubric, ago_text((now - at).total_seconds())) for name, rubric, at in drafts
        ),
    )


def share_words(share: Share) -> str:
    """Write a share with what it is of."""
    if share.value is None:
        return ABSENT
    return f"{share_text(round(share.value, 3))} of {count_text(share.total)}"


def _card(rubric: str, own: Sequence[QueueCounts], facts: QueueFacts, now: datetime) -> QueueCard:
    is_open = sum(each.open for each in own)
    oldest = [each.oldest_at for each in own if each.oldest_at is not None]
    age = duration_text((now - min(oldest)).total_seconds()) if oldest else ABSENT
    agreed = facts.agreements.get(rubric, Share())
    pairs = facts.pairs.get(rubric)
    return QueueCard(
        rubric=rubric,
        facts=(
            Fact("Open", count_text(is_open), _leased(own)),
            Fact("Done", count_text(sum(each.done for each in own))),
            Fact("Yours, 7 days", count_text(facts.mine.get(rubric, 0))),
            Fact("Oldest", age),
            Fact("Due", *_due(facts.due.get(rubric), now)),
            Fact(
                "Agreement",
                ABSENT if agreed.value is None else share_text(round(agreed.value, 3)),
                f"of {count_text(agreed.total)} labels"
                if agreed.total
                else "nobody reviewed twice",
            ),
        ),
        is_held=rubric in facts.held,
        is_open=is_open > 0,
        pairs=pairs.open if pairs else 0,
        to_adjudicate=sum(each.adjudicate for each in own),
    )


def _leased(own: Sequence[QueueCounts]) -> str:
    leased = sum(each.leased for each in own)
    return f"{count_text(leased)} being reviewed" if leased else ""


def _due(due: Due | None, now: datetime) -> tuple[str, str]:
    if due is None:
        return ABSENT, ""
    late = f"{count_text(due.late)} too late for their gates" if due.late else ""
    if due.next_at is None:
        return ABSENT, late
    return f"in {duration_text((due.next_at - now).total_seconds())}", late
