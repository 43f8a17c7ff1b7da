"""The geometry of the small interval picture beside each metric.

Every row is measured in its own margin: zero in the middle, the margin always at the same place,
better to the left, worse to the right. So a column reads at a glance.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

WIDTH = 240.0
REACH_IN_MARGINS = 2.5
_ARROW = 8.0  # at both edges kept free for arrows, so that none covers a value that is drawn


@dataclass(frozen=True)
class IntervalPlot:
    """Horizontal positions in the viewBox of WIDTH, and the words for who cannot see it."""

    zero_x: float
    margin_x: float
    low_x: float
    high_x: float
    estimate_x: float | None
    is_low_cut: bool  # goes on to the left of the picture
    is_high_cut: bool  # goes on to the right of it
    beyond: str  # "better" or "worse" when the whole interval lies on that side of the picture
    text: str


def interval_plot(
    estimate: float | None, low: float | None, high: float | None, margin: float | None, text: str
) -> IntervalPlot | None:
    """Place an interval of "how much worse" against the margin; None when there is nothing to draw.

    An end that is None is infinite. An interval that leaves the picture has an arrow at the edge
    that it crosses; one wholly outside is nothing but a mark at that edge.
    """
    if margin is None or margin <= 0 or (low is None and high is None):
        return None
    left, right = (-inf if low is None else low / margin), (inf if high is None else high / margin)
    beyond = "worse" if left > REACH_IN_MARGINS else "better" if right < -REACH_IN_MARGINS else ""
    middle = None if estimate is None else estimate / margin
    return IntervalPlot(
        zero_x=_place(0.0),
        margin_x=_place(1.0),
        low_x=_place(left),
        high_x=_place(right),
        estimate_x=None if middle is None or abs(middle) > REACH_IN_MARGINS else _place(middle),
        is_low_cut=left < -REACH_IN_MARGINS,
        is_high_cut=right > REACH_IN_MARGINS,
        beyond=beyond,
        text=f"{text}; {beyond} than can be drawn" if beyond else text,
    )


def _place(margins: float) -> float:
    """Return the position of a number of margins, or the nearest that can be drawn."""
    reach = max(-1.0, min(1.0, margins / REACH_IN_MARGINS))
    return round(WIDTH / 2 + reach * (WIDTH / 2 - _ARROW), 1)
