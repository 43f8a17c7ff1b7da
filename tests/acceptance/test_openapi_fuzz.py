"""Schemathesis on every operation of a running server with two days' history: it answers as it says.

Drawn from `/openapi.json`: valid and invalid requests. None may fail with a 5xx, and each answer has
the status, the content type and the form that the document names.
"""

from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode, checks
from schemathesis.specs.openapi import checks as openapi_checks

from tests.support.hostile import HOSTILE
from tests.support.matrix import api
from tests.support.seeded import Seeded
from tests.support.server import RunningServer

EXAMPLES = 15  # of each operation
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("openapi_fuzz")]
CHECKS = [
    checks.not_a_server_error,
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_schema_conformance,
]


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory):
    folder: Path = tmp_path_factory.mktemp("seeded")
    made = Seeded(folder, matter=HOSTILE).build()
    config = (folder / "canary.yaml").read_text()
    with RunningServer(folder, config, database_url=made.database_url) as server:
        yield schemathesis.openapi.from_url(f"{server.url}/openapi.json")


def test_every_operation_answers_as_it_is_described(described):
    tried = 0
    for result in described.get_all_operations():
        fuzz(result.ok())
        tried += 1

    assert tried == len(api()) - 1  # all but the document itself


def fuzz(operation) -> None:
    """Send what is drawn for one operation; raise with the first request that is answered wrongly."""

    @seed(20261128)
    @settings(
        max_examples=EXAMPLES,
        database=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy() | operation.as_strategy(GenerationMode.NEGATIVE))
    def send(case) -> None:
        case.call_and_validate(checks=CHECKS)

    send()
