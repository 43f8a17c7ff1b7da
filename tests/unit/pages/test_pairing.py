"""Which answers of the two arms stand side by side."""

from hypothesis import given
from hypothesis import strategies as st

from llm_canary.pages.pairing import pair_up


def test_the_same_prompt_comes_first_then_similar_ones_then_the_latest_of_each():
    control = ["hello", "where is my parcel now", "reset my password"]
    canary = ["how do I cancel", "reset my password", "where is my parcel today"]

    pairs = pair_up(control, canary, 10)

    assert [(each.control, each.canary) for each in pairs] == [(2, 1), (1, 2), (0, 0)]
    assert pairs[0].likeness == 1.0
    assert pairs[1].likeness == 4 / 6
    assert pairs[2].likeness == 0.0


def test_case_and_marks_make_no_other_prompt():
    assert pair_up(["Where is it?"], ["where is it"], 1)[0].likeness == 1.0


@given(
    st.lists(st.text(alphabet="ab ?", max_size=8), max_size=8),
    st.lists(st.text(alphabet="ab ?", max_size=8), max_size=8),
    st.integers(0, 10),
)
def test_each_answer_is_shown_once(control, canary, limit):
    pairs = pair_up(control, canary, limit)

    assert len(pairs) == min(len(control), len(canary), limit)
    assert (
        len({each.control for each in pairs}) == len({each.canary for each in pairs}) == len(pairs)
    )
