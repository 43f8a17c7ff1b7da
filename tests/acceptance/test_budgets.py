"""A budget through the whole server: what is spent is stored, published, and refuses."""

import time

import httpx

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
