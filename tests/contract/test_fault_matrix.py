"""The table of faults in docs/faults.md is what happens."""

import os
import re
import resource
import sqlite3
import time
from pathlib import Path

import fault_matrix
import httpx
import psycopg
import pytest

from tests.support.postgresql import database, server
from tests.support.server import RunningServer
from tests.support.upstream import SimulatedUpstream

PAGE = Path(__file__).resolve().parents[2] / "docs" / "faults.md"
BEGIN, END = "<!-- faults: begin -->\n", "<!-- faults: end -->"
CONFIG = """
version: 1
upstreams:
  simulated: {{kind: openai, base_url: "{base_url}"}}
routes:
  bot: {{control: {{upstream: simulated, model: good}}}}
"""
BODY = {"model": "bot", "messages": [{"role": "user", "content": "Hi"}]}


def test_the_table_of_the_page_is_what_happens():
    """`LLM_CANARY_WRITE_DOCS=1` renews the page."""
    made = fault_matrix.markdown(fault_matrix.rows())
    before, _, rest = PAGE.read_text().partition(BEGIN)
    written, _, after = rest.partition(END)
    if os.environ.get("LLM_CANARY_WRITE_DOCS") == "1":
        PAGE.write_text(before + BEGIN + made + END + after)
        return

    assert written == made, "docs/faults.md is not true; renew it with LLM_CANARY_WRITE_DOCS=1"


def ask(running):
    return httpx.post(f"{running.url}/v1/chat/completions", json=BODY, timeout=10).status_code


def wait_for(condition, seconds=20.0):
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it did not come to that"
        time.sleep(0.1)


def test_without_a_database_requests_are_served_and_their_rows_come_later(tmp_path):
    with server() as uri, database(uri) as url, SimulatedUpstream() as upstream:
        config = CONFIG.format(base_url=upstream.base_url)
        name = url.partition("?")[0].rpartition("/")[2]
        running = RunningServer(tmp_path, config, database_url=url)
        assert running.cli("db", "migrate").returncode == 0
        with (
            running,
            psycopg.connect(uri, autocommit=True) as admin,
        ):

            def rows():
                with psycopg.connect(url) as connection:
                    (count,) = connection.execute("SELECT count(*) FROM inference").fetchone()
                return count

            assert ask(running) == 200
            wait_for(lambda: rows() == 1)
            admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
            )
            with pytest.raises(psycopg.OperationalError):
                rows()

            assert [ask(running) for _ in range(5)] == [200] * 5

            time.sleep(1)
            admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
            wait_for(lambda: rows() == 6, seconds=60)


def test_on_a_full_disk_requests_are_served_and_what_is_lost_is_counted(tmp_path):
    """No file may grow beyond what the log still needs: so a full disk looks to a process."""
    with (
        SimulatedUpstream() as upstream,
        RunningServer(tmp_path, CONFIG.format(base_url=upstream.base_url)) as running,
    ):
        assert ask(running) == 200
        _, hard = resource.prlimit(running.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(running.pid, resource.RLIMIT_FSIZE, (3_000, hard))

        assert [ask(running) for _ in range(20)] == [200] * 20
        time.sleep(1)
        assert httpx.get(f"{running.url}/healthz").status_code == 200

        resource.prlimit(running.pid, resource.RLIMIT_FSIZE, (hard, hard))
        assert ask(running) == 200

        def accounted_for():
            lost = re.findall(r"telemetry: (\d+) event\(s\) lost", running.log())
            with sqlite3.connect(tmp_path / "llm_canary.db") as connection:
                (stored,) = connection.execute("SELECT count(*) FROM inference").fetchone()
            return len(lost) > 0 and stored > 0 and stored + sum(map(int, lost)) == 22

        wait_for(accounted_for, seconds=30)

    assert "Traceback" not in running.log()
