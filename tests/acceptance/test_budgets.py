"""A budget through the whole server: what is spent is stored, published, and refuses."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import psycopg
import pytest

from tests.support import postgresql
from tests.support.server import RunningServer
from tests.support.upstream import SimulatedUpstream

CONFIG = """
version: 1
upstreams:
  simulated:
    kind: openai
    base_url: "{base_url}"
    price: {{input_per_million: 1000, output_per_million: 1000}}
keys:
  app: {{key: "${{BUDGET_APP_KEY}}", limits: {{budget_usd_per_day: 0.000001}}}}
  ops: {{key: "${{BUDGET_OPS_KEY}}", role: operator}}
routes:
  support-bot: {{control: {{upstream: simulated, model: good}}}}
"""


def ask(server, key):
    return httpx.post(
        f"{server.url}/v1/chat/completions",
        json={"model": "support-bot", "messages": [{"role": "user", "content": "Hi"}]},
        headers={"authorization": f"Bearer {key}"},
    )


def test_a_spent_budget_is_refused_at_once_and_after_a_restart(tmp_path, monkeypatch):
    monkeypatch.setenv("BUDGET_APP_KEY", "the-key-of-the-app")
    monkeypatch.setenv("BUDGET_OPS_KEY", "the-key-of-the-operator")
    with SimulatedUpstream() as upstream:
        config = CONFIG.format(base_url=upstream.base_url)
        with RunningServer(tmp_path, config) as server:
            assert ask(server, "the-key-of-the-app").status_code == 200
            time.sleep(0.5)  # the writer's thread reads what it has cost
            assert ask(server, "the-key-of-the-app").status_code == 429

            deadline = time.monotonic() + 15.0
            while ask(server, "the-key-of-the-app").headers.get("x-should-retry") != "false":
                assert time.monotonic() < deadline, "the sum is not published"
                time.sleep(0.1)
            status = httpx.get(
                f"{server.url}/api/v1/status",
                headers={"authorization": "Bearer the-key-of-the-operator"},
            ).json()
            assert status["limited"]["keys"]["app"] >= 2
            assert ask(server, "the-key-of-the-operator").status_code == 200

        with RunningServer(tmp_path, config) as server:
            refused = ask(server, "the-key-of-the-app")

    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "insufficient_quota"


SLOTS, ANSWER_S, COST_USD, BUDGET_REQUESTS = 10, 1.0, 0.02, 100
PUBLISHED_WITHIN_S = 4.0  # about two on a machine with nothing else to do
TWO = """
version: 1
upstreams:
  simulated:
    kind: openai
    base_url: "{base_url}"
    price: {{input_per_million: 1000, output_per_million: 1000}}
keys:
  app:
    key: "${{BUDGET_APP_KEY}}"
    limits: {{budget_usd_per_day: {budget}, concurrent_streams: {slots}}}
routes:
  support-bot: {{control: {{upstream: simulated, model: slow-{wait_ms}}}}}
"""


class Crowd:
    """Clients that ask one gateway again and again until its budget is refused for the day."""

    def __init__(self, url, clients):
        self.served = []  # (when it began, when it ended)
        self._clients = clients
        limits = httpx.Limits(max_connections=clients)
        self._http = httpx.Client(base_url=url, timeout=60, limits=limits)

    def start(self, pool):
        return [pool.submit(self._ask_on) for _ in range(self._clients)]

    def _ask_on(self):
        body = {"model": "support-bot", "messages": [{"role": "user", "content": "Hi"}]}
        headers = {"authorization": "Bearer the-key-of-the-app"}
        while True:
            began_s = time.monotonic()
            answer = self._http.post("/v1/chat/completions", json=body, headers=headers)
            if answer.status_code == 200:
                self.served.append((began_s, time.monotonic()))
            elif answer.headers.get("x-should-retry") == "false":
                assert answer.json()["error"]["code"] == "insufficient_quota"
                return
            else:
                assert answer.status_code == 429, answer.text
                time.sleep(1.0)

    def close(self):
        self._http.close()


def spent_usd(database_url):
    with psycopg.connect(database_url) as connection:
        query = "SELECT sum(spent_nanousd) FROM budget_day WHERE kind = 'key' AND name = 'app'"
        return float(connection.execute(query).fetchone()[0]) / 1e9


@pytest.mark.slow
def test_two_gateways_overspend_by_what_was_under_way_and_not_yet_published(tmp_path, monkeypatch):
    monkeypatch.setenv("BUDGET_APP_KEY", "the-key-of-the-app")
    budget = COST_USD * BUDGET_REQUESTS
    with (
        postgresql.server() as uri,
        postgresql.database(uri) as url,
        SimulatedUpstream() as upstream,
        ExitStack() as stack,
    ):
        config = TWO.format(
            base_url=upstream.base_url, budget=budget, slots=SLOTS, wait_ms=int(ANSWER_S * 1000)
        )
        servers = []
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            servers.append(RunningServer(tmp_path / name, config, database_url=url))
        assert servers[0].cli("db", "migrate").returncode == 0
        for server in servers:
            stack.enter_context(server)
        crowds = [Crowd(server.url, 100) for server in servers]
        with ThreadPoolExecutor(200) as pool:
            for done in [each for crowd in crowds for each in crowd.start(pool)]:
                done.result(120)
        for crowd in crowds:
            crowd.close()
        served = sorted(each for crowd in crowds for each in crowd.served)
        deadline = time.monotonic() + 15.0
        while spent_usd(url) < COST_USD * len(served) - 1e-9 and time.monotonic() < deadline:
            time.sleep(0.1)
        spent = spent_usd(url)

    spent_at_s = sorted(ended for _, ended in served)[BUDGET_REQUESTS - 1]
    latest_s = max(began for began, _ in served) - spent_at_s
    over = len(served) - BUDGET_REQUESTS

    assert spent == pytest.approx(COST_USD * len(served))  # each counts once, whoever served it
    assert min(len(crowd.served) for crowd in crowds) > BUDGET_REQUESTS / 4
    assert latest_s < PUBLISHED_WITHIN_S
    rate_per_s = len(servers) * SLOTS / ANSWER_S
    assert 0 <= over <= len(servers) * SLOTS + rate_per_s * max(0.0, latest_s)
