"""The promises of assignment: deterministic, uniform, monotone, independent."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, chisquare

from llm_canary.routing.bucket import canary_buckets, in_canary, unit_bucket, unit_hash
from llm_canary.routing.table import BUCKETS

UNITS = [f"user-{number}" for number in range(20_000)]
shares = st.floats(0.0, 1.0)


def test_another_process_with_another_hash_seed_gives_the_same_buckets():
    code = (
        "from llm_canary.routing.bucket import unit_bucket, unit_hash;"
        "print([unit_bucket('s', f'ü{i}') for i in range(50)], unit_hash(b'k', 'ü'))"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("0", "12345")
    }

    here = f"{[unit_bucket('s', f'ü{i}') for i in range(50)]} {unit_hash(b'k', 'ü')}"
    assert seen == {here}


def test_reference_vectors_hold_for_ever():
    # A change of these numbers would move every user of every running rollout.
    assert unit_bucket("salt", "user-1234") == 828499
    assert unit_bucket("", "") == 485896
    assert unit_hash(b"secret", "user-1234") == "cb1cf8a08d66b13c087d3dcc90682ea3"


def test_buckets_are_uniform():
    counts = [0] * 100
    for unit in UNITS:
        counts[unit_bucket("salt", unit) * 100 // BUCKETS] += 1

    assert chisquare(counts).pvalue > 0.001


@pytest.mark.parametrize("share", [0.01, 0.05, 0.25, 0.5])
def test_the_realised_share_is_the_configured_one(share):
    canary = sum(in_canary(unit_bucket("salt", unit), share) for unit in UNITS)

    assert abs(canary / len(UNITS) - share) < 4 * (share * (1 - share) / len(UNITS)) ** 0.5


def test_two_rollouts_are_independent():
    table = [[0, 0], [0, 0]]
    for unit in UNITS:
        first, second = (in_canary(unit_bucket(salt, unit), 0.3) for salt in ("one", "two"))
        table[first][second] += 1

    assert chi2_contingency(table).pvalue > 0.001


@given(st.text(), shares, shares)
def test_raising_the_share_only_adds_units(unit, one, other):
    low, high = sorted((one, other))
    bucket = unit_bucket("salt", unit)

    assert in_canary(bucket, high) or not in_canary(bucket, low)


@given(st.text(), st.text())
def test_a_bucket_is_always_in_range(salt, unit):
    assert 0 <= unit_bucket(salt, unit) < BUCKETS


@given(st.text())
def test_the_ends_are_nobody_and_everybody(unit):
    bucket = unit_bucket("salt", unit)

    assert in_canary(bucket, 1.0) and not in_canary(bucket, 0.0)


def test_a_holdback_keeps_the_last_buckets():
    assert canary_buckets(0.99) == 990_000
    assert not in_canary(BUCKETS - 1, 0.99)


def test_salt_and_unit_do_not_run_into_each_other():
    assert unit_bucket("ab", "c") != unit_bucket("a", "bc")


def test_the_stored_hash_needs_the_secret():
    assert unit_hash(b"one", "jane") != unit_hash(b"two", "jane")
