"""Whether a judge still says what it said about a frozen set of anchors.

Each look compares the verdicts on the same anchors, paired; the looks share one error rate, so that
a daily look over a year raises a false alarm no more often than a single one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from math import pi
from pathlib import Path

import msgspec
from msgspec import Struct

from llm_canary.errors import ConfigError
from llm_canary.stats.paired import mcnemar_p

ALPHA = 0.05
MIN_ANCHORS = 100


class Drift(StrEnum):
    """What a look comes to."""

    STABLE = "stable"
    JUDGE_DRIFT = "judge_drift"  # the verdicts have moved
    SYSTEM_CHANGE = "system_change"  # another judge, or the provider says it is another model


class Anchors(Struct, frozen=True):
    """The verdicts on the frozen set: by anchor whether it passed, or whom it prefers."""

    label_hash: str
    judge_id: str  # of what grades: with a second judge, of both and when it is asked
    reported_models: tuple[str, ...]
    verdicts: dict[str, str]
    looks: int = 0
    second_id: str = ""  # of the judge that is asked where the first is in doubt
    second_models: tuple[str, ...] = ()
    second_asked: int = 0  # anchors


class Look(Struct, frozen=True):
    """One comparison with the first verdicts."""

    drift: Drift
    look: int
    anchors: int
    changed: int
    p_value: float
    alpha: float  # what this look may spend
    reasons: tuple[str, ...]
    models: tuple[str, ...] = ()  # reported now, and not at the first look


def compare(
    first: Anchors, now: Anchors, *, right: Mapping[str, str], not_asked: Sequence[str] = ()
) -> Look:
    """Return what the verdicts of `now` come to; `right` holds people's, by anchor.

    `not_asked` are the judges of the rubric that the looks leave out, so that the look says so.

    The test is two-sided and exact (McNemar): anchors on which the judge was right and is wrong,
    against the reverse. Look k may spend alpha x 6 / (pi k)^2, which adds up to alpha.
    """
    if first.label_hash != now.label_hash:
        raise ConfigError(
            "the anchors are not those of the first look; keep the frozen file, or start anew"
        )
    if now.second_id and not first.second_id:
        raise ConfigError(
            "the first look did not ask the second judge of the rubric; start anew with another "
            "--record"
        )
    look = first.looks + 1
    common = first.verdicts.keys() & now.verdicts.keys()
    if not common:
        raise ConfigError(
            f"nothing can be compared: of the {len(first.verdicts)} anchors with a verdict at the "
            f"first look none has one now ({len(now.verdicts)} have); see whether the judge answers"
        )
    changed = [name for name in common if first.verdicts[name] != now.verdicts[name]]
    lost = sum(first.verdicts[name] == right[name] for name in changed)
    won = sum(now.verdicts[name] == right[name] for name in changed)
    p_value = min(1.0, 2.0 * min(mcnemar_p(lost, won), mcnemar_p(won, lost)))
    alpha = ALPHA * 6.0 / (pi * look) ** 2
    reasons = []
    drift = Drift.STABLE
    if p_value < alpha:
        drift = Drift.JUDGE_DRIFT
        reasons.append(f"{lost} anchors are lost and {won} won (p {p_value:.2g} < {alpha:.2g})")
    if other := _other_system(first, now):
        drift = Drift.SYSTEM_CHANGE
        reasons += other
    if now.second_id and not now.second_asked:
        reasons.append("the second judge was asked about no anchor: the first was sure of all")
    if not_asked:
        reasons.append(f"not asked: {', '.join(not_asked)}")
    known = {*first.reported_models, *first.second_models}
    new = sorted({*now.reported_models, *now.second_models} - known)
    return Look(
        drift,
        look,
        len(common),
        len(changed),
        p_value,
        alpha,
        tuple(reasons),
        tuple(new),
    )


def _other_system(first: Anchors, now: Anchors) -> list[str]:
    """Return what tells that other judges have answered."""
    if first.judge_id != now.judge_id:
        return ["the judge is another version: its model, parameters or wording changed"]
    both = [(first.reported_models, now.reported_models)]
    if (
        first.second_models and now.second_models
    ):  # it may have been asked about nothing at one look
        both.append((first.second_models, now.second_models))
    return [
        f"the provider reports another model: {', '.join(was)} before, {', '.join(is_)} now"
        for was, is_ in both
        if was != is_
    ]


def read_anchors(path: Path) -> Anchors | None:
    """Return the verdicts of the first look, None when there was none."""
    if not path.exists():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=Anchors)
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigError(
            f"the record {path} cannot be read ({error}); remove it to start anew"
        ) from None


def write_anchors(path: Path, anchors: Anchors) -> None:
    """Write the verdicts of the first look, and how many looks there were."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(anchors), indent=1) + b"\n")
