"""Whether a judge's probabilities mean what they say, and how to make them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llm_canary.errors import DataError

_EDGE = 1e-6


@dataclass(frozen=True, slots=True)
class Reliability:
    """One bin of the reliability curve."""

    mean_probability: float
    observed: float
    n: int


def brier(probabilities: Sequence[float], outcomes: Sequence[float]) -> float:
    """Return the mean squared distance of probability and outcome (Brier 1950); 0 is best."""
    p, y = _pair(probabilities, outcomes)
    return float(((p - y) ** 2).mean())


def reliability(
    probabilities: Sequence[float], outcomes: Sequence[float], *, bins: int = 10
) -> list[Reliability]:
    """Return the reliability curve over equal parts of [0, 1]; empty bins are left out."""
    p, y = _pair(probabilities, outcomes)
    index = np.minimum((p * bins).astype(int), bins - 1)
    found = []
    for k in range(bins):
        inside = index == k
        if inside.any():
            found.append(
                Reliability(float(p[inside].mean()), float(y[inside].mean()), int(inside.sum()))
            )
    return found


def calibration_error(
    probabilities: Sequence[float], outcomes: Sequence[float], *, bins: int = 10
) -> float:
    """Return the expected calibration error: mean |probability - observed| over bins."""
    curve = reliability(probabilities, outcomes, bins=bins)
    return sum(each.n * abs(each.mean_probability - each.observed) for each in curve) / len(
        probabilities
    )


def temperature(probabilities: Sequence[float], outcomes: Sequence[float]) -> float:
    """Return the T that minimises the log loss of sigmoid(logit(p) / T) (Guo et al. 2017)."""
    p, y = _pair(probabilities, outcomes)
    logits = np.log(np.clip(p, _EDGE, 1 - _EDGE) / (1 - np.clip(p, _EDGE, 1 - _EDGE)))

    def loss(log_t: float) -> float:
        q = 1.0 / (1.0 + np.exp(-logits / np.exp(log_t)))
        q = np.clip(q, _EDGE, 1 - _EDGE)
        return float(-(y * np.log(q) + (1 - y) * np.log(1 - q)).mean())

    from scipy.optimize import minimize_scalar  # noqa: PLC0415 - takes long to load, rarely used

    return float(np.exp(minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded").x))


@dataclass(frozen=True, slots=True)
class CascadePoint:
    """Answers at least this confident are kept, the rest goes to the second judge."""

    threshold: float
    kept: float  # share of items that the first judge decides
    accuracy: float | None  # of those; None: there are none


def coverage_accuracy(
    confidences: Sequence[float], right: Sequence[float], *, points: int = 11
) -> list[CascadePoint]:
    """Return the share that is kept and its accuracy for thresholds from 0 to 1."""
    c, ok = _pair(confidences, right)
    found = []
    for threshold in np.linspace(0.0, 1.0, points):
        kept = c >= threshold
        accuracy = float(ok[kept].mean()) if kept.any() else None
        found.append(CascadePoint(float(threshold), float(kept.mean()), accuracy))
    return found


def _pair(
    first: Sequence[float], second: Sequence[float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if len(first) != len(second) or not len(first):
        raise DataError(f"{len(first)} probabilities and {len(second)} outcomes: give pairs")
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    for array in (a, b):
        if not (np.isfinite(array) & (array >= 0.0) & (array <= 1.0)).all():
            raise DataError("a probability or outcome is outside [0, 1]")
    return a, b
