"""What the demonstration's users do, and how its acts must end."""

import inspect

import pytest

from llm_canary.demo.project import ORDERS, SUPPORT
from llm_canary.demo.script import THUMBS_UP, acts, visit

ROUTES = [ORDERS, SUPPORT]


def visits(route, seed=1, n=1_000):
    return [visit(route, seed, number) for number in range(n)]


@pytest.mark.parametrize("route", ROUTES)
def test_the_same_seed_brings_the_same_users_and_another_one_brings_others(route):
    assert visits(route) == visits(route)
    assert not {each.user for each in visits(route)} & {each.user for each in visits(route, seed=2)}
    assert [each.text for each in visits(route)] != [each.text for each in visits(route, seed=2)]


@pytest.mark.parametrize("route", ROUTES)
def test_every_visit_is_another_user(route):
    assert len({each.user for each in visits(route)}) == 1_000


def test_no_user_comes_to_both_routes():
    assert not {each.user for each in visits(ORDERS)} & {each.user for each in visits(SUPPORT)}


@pytest.mark.parametrize("route", ROUTES)
def test_users_ask_many_different_questions(route):
    assert len({each.text for each in visits(route)}) >= 32


@pytest.mark.parametrize("route", ROUTES)
def test_nine_of_ten_votes_are_good(route):
    up = sum(each.thumb for each in visits(route, n=10_000)) / 10_000

    assert up == pytest.approx(THUMBS_UP, abs=0.01)


def test_the_votes_cannot_depend_on_the_arm():
    assert list(inspect.signature(visit).parameters) == ["route", "seed", "number"]


@pytest.mark.parametrize(
    ("variation", "expected"),
    [
        pytest.param(
            {}, ["rolled_back", "finished", "rolled_back"], id="worse-goes-back-cheaper-goes-on"
        ),
        pytest.param(
            {"swap": True}, ["finished", "rolled_back", "finished"], id="swap-reverses-both"
        ),
    ],
)
def test_each_act_has_one_right_end(variation, expected):
    found = acts(**{"swap": False, "identical": False, **variation})

    assert [act.expected for act in found] == [{end} for end in expected]


def test_identical_arms_may_end_in_any_way_but_a_rollback():
    for act in acts(swap=False, identical=True):
        assert "finished" in act.expected
        assert not act.expected & {"rolled_back", "aborted"}
