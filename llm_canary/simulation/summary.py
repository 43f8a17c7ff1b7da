"""What many rehearsed rollouts say together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec
import numpy as np
from scipy.stats import beta

from llm_canary.simulation.picture import Bar, Chart, Layer, Part, bars, layers, svg
from llm_canary.simulation.rehearsal import End, Run

_CONFIDENCE = 0.95
_HOUR_S = 3_600.0
_TIMES = 121  # of the picture
_EXPOSURES = (100, 300, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000)
_STYLES = ("a", "b", "c")


class Share(msgspec.Struct, frozen=True):
    """How many of the runs, with the exact 95 % interval (Clopper and Pearson 1934)."""

    runs: int
    share: float
    low: float
    high: float


class Spread(msgspec.Struct, frozen=True):
    """Median and 90th percentile."""

    median: float
    p90: float


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """Ends, times and exposures of rehearsed rollouts; hours since the start."""

    runs: int
    ends: dict[str, Share]  # promoted, held, rolled_back
    hours_to_promotion: Spread | None  # until all traffic went to the canary
    hours_to_rollback: Spread | None
    requests_to_rollback: Spread | None  # that the canary answered until then
    users_to_rollback: Spread | None
    accused: dict[str, int]  # the metric that weighed most -> rollbacks
    held_for: dict[str, int]  # reason -> holds


def summarise(found: Sequence[Run]) -> Summary:
    """Return the summary of the runs."""
    back = [run for run in found if run.end is End.ROLLED_BACK]
    promoted = [run.promoted_s for run in found if run.promoted_s is not None]
    ends = Counter(run.end for run in found)
    accused = Counter(run.accused[0] for run in back if run.accused)
    held = Counter(code for run in found if run.end is End.HELD for code in run.codes)
    return Summary(
        runs=len(found),
        ends={end.value: share_of(ends[end], len(found)) for end in End},
        hours_to_promotion=_spread([each / _HOUR_S for each in promoted]),
        hours_to_rollback=_spread([run.ended_s / _HOUR_S for run in back]),
        requests_to_rollback=_spread([run.canary_requests for run in back]),
        users_to_rollback=_spread([run.canary_units for run in back]),
        accused=dict(accused.most_common()),
        held_for=dict(held.most_common()),
    )


def share_of(count: int, runs: int) -> Share:
    """Return `count` of `runs` with its interval."""
    tail = 0.5 * (1.0 - _CONFIDENCE)
    low = float(beta.ppf(tail, count, runs - count + 1)) if count else 0.0
    high = float(beta.ppf(1.0 - tail, count + 1, runs - count)) if count < runs else 1.0
    return Share(count, count / runs, low, high)


def picture(found: Sequence[Run], title: str) -> str:
    """Return an SVG: where the rollouts are over time, and how many requests harm has cost."""
    charts = [_places(found, title)]
    if any(run.end is End.ROLLED_BACK for run in found):
        charts.append(_exposures(found))
    return svg(*charts)


def _places(found: Sequence[Run], title: str) -> Chart:
    end_s = max(run.ended_s for run in found)
    times = [end_s * k / (_TIMES - 1) for k in range(_TIMES)]
    stages = list(dict.fromkeys(stage for run in found for _, stage in run.path))
    measured = [stage for stage in stages if stage not in ("full", "standby")]
    names = ["promoted", *reversed(measured), "held", "rolled back"]
    counts = {name: [0] * _TIMES for name in names}
    for run in found:
        for index, time_s in enumerate(times):
            counts[_place(run, time_s)][index] += 1
    styles = {"promoted": "good", "held": "person", "rolled back": "bad"}
    styles |= {stage: _STYLES[k % len(_STYLES)] for k, stage in enumerate(measured)}
    stack = [
        Layer(name, styles[name], tuple(n / len(found) for n in counts[name])) for name in names
    ]
    return layers(title, [time_s / _HOUR_S for time_s in times], stack)


def _place(run: Run, time_s: float) -> str:
    if time_s >= run.ended_s and run.end is not End.PROMOTED:
        return "held" if run.end is End.HELD else "rolled back"
    if run.promoted_s is not None and time_s >= run.promoted_s:
        return "promoted"
    return next(stage for since_s, stage in reversed(run.path) if since_s <= time_s)


def _exposures(found: Sequence[Run]) -> Chart:
    back = [run.canary_requests for run in found if run.end is End.ROLLED_BACK]
    rows, below = [], 0
    for limit in _EXPOSURES:
        n = sum(each <= limit for each in back)
        if n > below or (below and n < len(back)):
            label = f"up to {limit:,} canary requests"
            rows.append(Bar(label, (Part(n / len(back), "bad"),), f"{n / len(back):.0%}"))
        below = n
        if n == len(back):
            break
    return bars("Rolled back after", rows, [("bad", "of the rollbacks")], full=1.0)


def _spread(values: Sequence[float]) -> Spread | None:
    if not values:
        return None
    median, p90 = np.quantile(values, [0.5, 0.9])
    return Spread(float(median), float(p90))
