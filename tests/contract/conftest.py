import pytest
from running_gateway import Gateway, make_table, running
from simulated_upstream import SimulatedUpstream


@pytest.fixture
def upstream():
    simulated = SimulatedUpstream().start()
    yield simulated
    simulated.stop()


@pytest.fixture
def gateway(upstream):
    with running(Gateway(make_table(upstream.base_url))) as started:
        yield started
