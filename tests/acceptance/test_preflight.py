"""A rollout with `preflight` starts only after its checks have passed this very canary."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.server import RunningServer
from tests.support.upstream import SimulatedUpstream

CONFIG = """\
version: 1
upstreams: {{simulated: {{kind: openai, base_url: "{base_url}"}}}}
routes: {{bot: {{control: {{upstream: simulated, model: good}}}}}}
rollouts:
  next:
    route: bot
    canary: {{upstream: simulated, model: "{model}"}}
    preflight: [golden]
checks:
  golden: {{rubric: shape, dataset: data.jsonl, min_pass: {min_pass}}}
"""
RUBRIC = """\
schema: llm_canary.rubric/v1
id: shape
version: 1
criteria:
  - {id: way, kind: check, check: {type: contains, texts: ["on its way"]}}
"""


def test_a_rollout_waits_for_its_checks(tmp_path: Path) -> None:
    (tmp_path / "rubrics").mkdir()
    (tmp_path / "rubrics" / "shape.yaml").write_text(RUBRIC)
    rows = [{"id": f"q{n}", "prompt": f"Where is {n}?"} for n in range(40)]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    check = ("check", "golden", "--candidate", "next", "--record")
    with SimulatedUpstream() as upstream:
        url = upstream.base_url

        def config(model: str, min_pass: str) -> str:
            return CONFIG.format(base_url=url, model=model, min_pass=min_pass)

        with RunningServer(tmp_path, config("good", "99%")) as server:
            unchecked = server.cli("rollout", "start", "next")
            held = server.cli(*check)
            refused = server.cli("rollout", "start", "next")
            server.config_path.write_text(config("good", "80%"))
            passed = server.cli(*check)
        with RunningServer(tmp_path, config("slow-1", "80%")) as server:
            another = server.cli("rollout", "start", "next")
        with RunningServer(tmp_path, config("good", "80%")) as server:
            started = server.cli("rollout", "start", "next")
            unnamed = server.cli("check", "golden", "--record")

    assert unchecked.returncode == 1
    assert (
        "needs the check 'golden' of this canary: run `llm-canary check golden" in unchecked.stderr
    )
    assert held.returncode == 3, held.stdout + held.stderr
    assert "ended with 'hold'" in refused.stderr
    assert passed.returncode == 0, passed.stdout + passed.stderr
    assert another.returncode == 1
    assert "needs the check" in another.stderr  # the check was of another model
    assert started.returncode == 0, started.stderr
    assert unnamed.returncode == 2
