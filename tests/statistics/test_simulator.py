"""The vectorised simulator computes what the shipped code computes."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from canary_sim import NAMES, Clusters, binary_paths, log_e, log_e_three

from llm_canary.stats import mixture
from llm_canary.stats.score import ScoreState, UnitRow, update, variance


@pytest.mark.parametrize("d0", [0.0, 0.03, -0.4])
def test_clusters_equal_the_shipped_update_also_for_falling_shares(d0):
    rng = np.random.default_rng(5)
    runs, units, shares = 3, 7, [0.05, 0.5, 0.25]
    clusters = Clusters(runs, units, shares, margins=True)
    states = [ScoreState() for _ in range(runs)]
    rows = [[UnitRow() for _ in range(units)] for _ in range(runs)]
    centre = np.array([[0.1], [0.2], [0.4]])
    for share in (0.05, 0.5, 0.25, 0.05):
        unit = rng.integers(0, units, (runs, 25))
        arm = (rng.random((runs, 25)) < share) * 1.0
        value = (rng.random((runs, 25)) < 0.3) * 1.0
        value[rng.random((runs, 25)) < 0.1] = np.nan
        clusters.feed(unit, arm, share, value, centre)
        clusters.look()
        for run in range(runs):
            for u, a, y in zip(unit[run], arm[run], value[run], strict=True):
                if np.isnan(y):
                    continue
                update(
                    states[run],
                    rows[run][u],
                    canary=bool(a),
                    share=share,
                    value=float(y),
                    centre=float(centre[run, 0]),
                    binary=True,
                )
    paths = clusters.paths()

    for run, state in enumerate(states):
        assert [getattr(paths, name)[run, -1] for name in NAMES] == pytest.approx(
            [asdict(state)[name] for name in NAMES], rel=1e-9, abs=1e-12
        )
        for proof in (False, True):
            v = variance(state, d0, noninferiority=proof, binary=True)
            assert paths.variance(d0, noninferiority=proof, running=False)[
                run, -1
            ] == pytest.approx(v)


def test_counts_equal_the_shipped_update():
    share, rates = 0.25, (0.2, 0.3)
    paths = binary_paths(
        np.random.default_rng(9),
        1,
        per_look=40,
        share=np.full(3, share),
        control=rates[0],
        canary=rates[1],
        centre=0.25,
    )
    state = ScoreState()
    counts = [
        getattr(paths, name)[0, -1] for name in ("n_canary", "n_control", "y_canary", "y_control")
    ]
    for canary, n, events in ((True, counts[0], counts[2]), (False, counts[1], counts[3])):
        for k in range(int(n)):
            value = float(k < events)
            update(
                state, UnitRow(), canary=canary, share=share, value=value, centre=0.25, binary=True
            )

    assert [getattr(paths, name)[0, -1] for name in NAMES] == pytest.approx(
        [asdict(state)[name] for name in NAMES], rel=1e-9
    )


def test_vectorised_evidence_equals_the_shipped():
    s, v = np.array([3.0, -2.0, 50.0]), np.array([4.0, 9.0, 100.0])

    assert log_e(s, v, 2.0) == pytest.approx(
        [mixture.log_e(a, b, 2.0) for a, b in zip(s, v, strict=True)]
    )
    assert log_e_three(s, v, 2.0) == pytest.approx(
        [mixture.log_e_three(a, b, 2.0) for a, b in zip(s, v, strict=True)]
    )
