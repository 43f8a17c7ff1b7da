"""The geometry of the small interval picture beside each metric.

Every row is measured in its own margin: zero in the middle, the margin always at the same place,
better to the left, worse to the right. So a column reads at a glance.
"""

from __future__ import annotations

from dataclasses import dataclass

WIDTH = 240.0
REACH_IN_MARGINS = 2.5
_ARROW = 8.0


@dataclass(frozen=True)
class IntervalPlot:
    """Horizontal positions in the viewBox of WIDTH, and the words for who cannot see it."""

    zero_x: float
    margin_x: float
    low_x: float
    high_x: float
    estimate_x: float | None
    is_low_cut: bool
    is_high_cut: bool
    text: str


def interval_plot(
    estimate: float | None, low: float | None, high: float | None, margin: float | None, text: str
) -> IntervalPlot | None:
    """Place an interval of "how much worse" against the margin; None when there is nothing to draw.

    An end that is None is infinite: it and every end beyond the picture become an arrow.
    """
    if margin is None or margin <= 0 or (low is None and high is None):
        return None
    low_x, is_low_cut = (_ARROW, True) if low is None else _place(low / margin)
    high_x, is_high_cut = (WIDTH - _ARROW, True) if high is None else _place(high / margin)
    estimate_x = None
    if estimate is not None:
        estimate_x, is_cut = _place(estimate / margin)
        estimate_x = None if is_cut else estimate_x
    return IntervalPlot(
        zero_x=_place(0.0)[0],
        margin_x=_place(1.0)[0],
        low_x=low_x,
        high_x=high_x,
        estimate_x=estimate_x,
        is_low_cut=is_low_cut,
        is_high_cut=is_high_cut,
        text=text,
    )


def _place(margins: float) -> tuple[float, bool]:
    """Return the position of a number of margins, and whether it lies outside of the picture."""
    x = WIDTH / 2 * (1 + margins / REACH_IN_MARGINS)
    if x < 0:
        return _ARROW, True
    if x > WIDTH:
        return WIDTH - _ARROW, True
    return round(x, 1), False
