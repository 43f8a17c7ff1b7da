"""Whether a judge still says what it said about a frozen set of anchors.

Each look compares the verdicts on the same anchors, paired; the looks share one error rate, so that
a daily look over a year raises a false alarm no more often than a single one.
"""

from __future__ import annotations

from collections.abc import Mapping
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
    judge_id: str
    reported_models: tuple[str, ...]
    verdicts: dict[str, str]
    looks: int = 0


class Look(Struct, frozen=True):
    """One comparison with the first verdicts."""

    drift: Drift
    look: int
    anchors: int
    changed: int
    p_value: float
    alpha: float  # what this look may spend
    reasons: tuple[str, ...]
    models: tuple[str, ...] = ()  # as providers report them now


def compare(first: Anchors, now: Anchors, *, right: Mapping[str, str]) -> Look:
    """Return what the verdicts of `now` come to; `right` holds people's, by anchor.

    The test is two-sided and exact (McNemar): anchors on which the judge was right and is wrong,
    against the reverse. Look k may spend alpha x 6 / (pi k)^2, which adds up to alpha.
    """
    if first.label_hash != now.label_hash:
        raise ConfigError(
            "the anchors are not those of the first look; keep the frozen file, or start anew"
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
    if first.judge_id != now.judge_id:
        drift = Drift.SYSTEM_CHANGE
        reasons.append("the judge is another version: its model, parameters or wording changed")
    elif first.reported_models != now.reported_models:
        drift = Drift.SYSTEM_CHANGE
        was, is_ = ", ".join(first.reported_models), ", ".join(now.reported_models)
        reasons.append(f"the provider reports another model: {was} before, {is_} now")
    return Look(
        drift,
        look,
        len(common),
        len(changed),
        p_value,
        alpha,
        tuple(reasons),
        now.reported_models,
    )


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
