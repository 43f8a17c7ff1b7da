"""Importing does no work, and the data plane does not even import what it must not need."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "llm_canary").rglob("*.py")
    if path.stem != "__main__"  # it runs the command line
)
BANNED_IN_GATEWAY = [
    "alembic", "fastapi", "jinja2", "litellm", "numpy", "openai", "pydantic", "ruamel", "scipy",
    "sqlalchemy", "sqlmodel", "llm_canary.storage", "llm_canary.rollout", "llm_canary.stats",
    "llm_canary.decision",
]  # fmt: skip
IMPORT_AND_REPORT = """
import importlib, json, sys, threading
acts = []
def audit(event, arguments):
    if event == "open":
        path, mode, flags = arguments
        if isinstance(flags, int) and flags & 0o3 and str(path) != "/dev/null":
            acts.append(f"opens {path} for writing")
    elif event in ("socket.connect", "socket.bind", "socket.getaddrinfo", "subprocess.Popen",
                   "os.mkdir", "os.remove", "os.rename", "sqlite3.connect"):
        acts.append(f"{event} {arguments[1:2]}")
sys.addaudithook(audit)
found = {}
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
    if threading.active_count() > 1:
        acts.append("starts a thread")
    if acts:
        found[name] = list(acts)
        acts.clear()
print(json.dumps([found, sorted(sys.modules)]))
"""


def imported(modules: list[str]) -> tuple[dict[str, list[str]], set[str]]:
    """Import them in a fresh process; return what each did, and everything that was loaded."""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", IMPORT_AND_REPORT, json.dumps(modules)],
        cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    acts, loaded = json.loads(run.stdout)
    return acts, set(loaded)


def test_importing_any_module_opens_no_socket_and_writes_no_file():
    acts, _ = imported(MODULES)

    assert acts == {}


def test_the_watch_over_imports_notices_what_it_must(tmp_path):
    (tmp_path / "busy.py").write_text(
        f"import socket\nopen({str(tmp_path / 'x')!r}, 'w')\n"
        "try: socket.create_connection(('127.0.0.1', 9))\nexcept OSError: pass\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", IMPORT_AND_REPORT, '["busy"]'],
        env={**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )

    acts = "\n".join(json.loads(run.stdout)[0]["busy"])
    assert "for writing" in acts and "socket.connect" in acts


def test_the_data_plane_loads_no_database_no_statistics_and_no_template():
    _, loaded = imported([name for name in MODULES if name.startswith("llm_canary.gateway")])

    assert sorted(loaded & set(BANNED_IN_GATEWAY)) == []


def test_nothing_loads_litellm():
    _, loaded = imported(MODULES)

    assert "litellm" not in loaded
