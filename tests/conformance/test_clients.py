"""Some of other people's clients, both ways; `make conformance` runs all of them."""

import re

import pytest

from tests.conformance.client_matrix import ALL, ARMS, PAGE, REQUIREMENTS, run_clients
from tests.conformance.workshop import CannotBeMade


@pytest.mark.node
def test_clients_see_no_difference_through_a_running_rollout(require):
    names = ("openai (Python)", "openai (Node)", "anthropic", "litellm")
    try:
        outcomes = run_clients(names)
    except CannotBeMade as reason:
        require(f"the clients cannot be run: {reason}")

    assert {outcome.client: outcome.differences for outcome in outcomes} == dict.fromkeys(names, ())
    assert all(len(outcome.exercised) >= 5 for outcome in outcomes)
    served = [outcome.models.keys() for outcome in outcomes]
    assert all(ARMS <= models <= ARMS | {"simulated-e"} for models in served), served


def test_the_page_has_every_client_and_the_locked_versions():
    page = PAGE.read_text()
    locked = dict(re.findall(r"^([a-z-]+)==([0-9.]+)", REQUIREMENTS.read_text(), re.MULTILINE))
    for client in ALL:
        assert re.search(rf"^\| {re.escape(client.name)} \|.*\| the same \|$", page, re.MULTILINE)
    for package in ("anthropic", "instructor", "langchain-openai"):
        assert f"| {package} | {locked[package]} |" in page
