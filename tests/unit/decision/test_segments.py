"""Segments in the alarm and before a promotion, protected ones in particular."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_canary.decision.harm import Process, flagged_segments, processes
from tests.support.evidence import gate, gather, plan, respond

OF = plan(gate("error_rate"), gate("refusal_rate", margin=0.1))


def process(slice_, e):
    return Process(metric="error_rate", slice=slice_, weight=0.01, log_e=e)


def test_many_other_segments_do_not_dilute_a_protected_one():
    others = [process(f"geo={k}", 0.0) for k in range(40)]
    harmed = process("gender=f", 2.5)  # e = 12

    assert flagged_segments([*others, harmed], ("gender",)) == (harmed,)
    assert flagged_segments([*others, harmed]) == ()


def test_a_harmed_protected_segment_is_named_before_the_others():
    geo, gender = process("geo=de", 9.0), process("gender=f", 9.0)

    assert flagged_segments([geo, gender], ("gender",)) == (gender, geo)


@given(
    st.lists(st.sampled_from("abcde"), unique=True),
    st.sets(st.sampled_from("abcde")),
    st.integers(1, 6),
)
def test_the_weights_never_add_up_to_more_than_one(segments, protected, values):
    rows = [
        (f"u{k}", k % 3 == 0, respond(), {name: str(k % values) for name in segments})
        for k in range(30)
    ]
    evidence = msgspec.structs.replace(
        gather(OF, rows, segments=segments),
        protected=tuple(name for name in segments if name in protected),
    )

    weights = [each.weight for each in processes(OF, evidence)]

    assert sum(weights) <= 1.0 + 1e-12
    assert all(weight > 0.0 for weight in weights)


@pytest.mark.parametrize(("protected", "weight"), [((), 0.25 / 3 / 2), (("a",), 0.25 / 2 / 2)])
def test_protected_segments_have_half_of_the_segments_half(protected, weight):
    rows = [(f"u{k}", bool(k), respond(), {"a": "x", "b": "x", "c": "x"}) for k in (0, 1)]
    evidence = gather(OF, rows, segments=("a", "b", "c"))

    found = processes(OF, msgspec.structs.replace(evidence, protected=protected))

    own = next(each.weight for each in found if each.slice == "a=x")
    assert own == pytest.approx(weight)
