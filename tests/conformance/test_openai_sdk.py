"""The OpenAI SDK's own tests pass through the gateway as they do without it."""

import pytest

from tests.conformance.openai_sdk import run_modes
from tests.conformance.workshop import CannotBeMade

ALL = 462  # tests of openai 3.3.1 for chat, completions, embeddings, models and responses


@pytest.mark.node
def test_every_test_of_the_sdk_passes_and_every_request_is_a_row(require):
    try:
        relayed, rollout = run_modes(("relayed", "rollout"))
    except CannotBeMade as reason:
        require(f"the SDK's tests cannot be run: {reason}")

    for outcome in (relayed, rollout):
        assert outcome.failures == ()
        assert outcome.passed == ALL
        assert outcome.rows == outcome.requests > 300
    assert min(rollout.arms["control"], rollout.arms["canary"]) > 0
