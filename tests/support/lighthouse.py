"""Lighthouse on every page of the seeded instance, logged in: `make lighthouse`; fails below 95.

python -m tests.support.lighthouse [--keep DIR] [--only PART-OF-A-PATH]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx

from llm_canary.pages.visit import COOKIE
from llm_canary.storage.engine import make_engine
from tests.conformance.workshop import environment, node_with
from tests.support.browser import chromium_path
from tests.support.pages import html_pages, log_in
from tests.support.seeded import ADMIN, DATABASE, Seeded
from tests.support.server import RunningServer

LIGHTHOUSE = "lighthouse@12.8.2"
CATEGORIES = ("performance", "accessibility", "best-practices")
LEAST = 95
RUNS = 3  # at most, where Chromium loses the trace of a page: a score it gives is never asked again


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--keep", type=Path, help="make the instance there, or take what is there")
    parser.add_argument("--only", default="", help="pages whose path holds this")
    given = parser.parse_args()
    home = node_with("lighthouse", LIGHTHOUSE)
    with tempfile.TemporaryDirectory() as made:
        folder = given.keep or Path(made)
        if not (folder / DATABASE).exists():
            print("making the instance (half a minute)")
            Seeded(folder).build()
        is_low = measure_all(folder, home, given.only)
    sys.exit(is_low)


def measure_all(folder: Path, home: Path, only: str) -> bool:
    """Print a line for each page; return whether any score is too low."""
    config = (folder / "canary.yaml").read_text()
    engine = make_engine(f"sqlite:///{folder / DATABASE}")
    is_low = False
    with (
        RunningServer(folder, config) as server,
        httpx.Client(base_url=server.url, timeout=30) as client,
    ):
        cookie = log_in(client, ADMIN)
        firsts = {page.path: page for page in reversed(html_pages(client, engine))}
        print(f"{'page':40}{''.join(f'{name:>16}' for name in CATEGORIES)}")
        for path, page in sorted(firsts.items()):
            if only in path:
                found, why = scores(home, server.url + page.url, cookie)
                print(f"{page.url:40}{''.join(f'{found[name]:>16}' for name in CATEGORIES)}")
                is_low |= min(found.values()) < LEAST
                for each in why:
                    print(f"    {each}")
    engine.dispose()
    return is_low


def scores(home: Path, url: str, cookie: str) -> tuple[dict[str, int], list[str]]:
    """Return the scores of one page, and what was found wanting below `LEAST`."""
    command = [
        str(home / "node_modules/.bin/lighthouse"),
        url,
        "--quiet",
        "--output=json",
        f"--only-categories={','.join(CATEGORIES)}",
        "--chrome-flags=--no-sandbox --headless=new",
        f"--extra-headers={json.dumps({'cookie': f'{COOKIE}={cookie}'})}",
    ]
    path = chromium_path()
    more = {} if path is None else {"CHROME_PATH": path}
    for _ in range(RUNS):
        done = subprocess.run(
            command,
            env=environment(**more),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if done.returncode == 0:
            break
    else:
        sys.exit(f"lighthouse failed {RUNS} times on {url}: {done.stderr[-800:]}")
    report = json.loads(done.stdout)
    found, why = {}, []
    for name in CATEGORIES:
        category = report["categories"][name]
        found[name] = round(100 * (category["score"] or 0.0))
        if found[name] < LEAST:
            audits = [
                report["audits"][each["id"]] for each in category["auditRefs"] if each["weight"]
            ]
            low = [
                each for each in audits if (each["score"] if each["score"] is not None else 1) < 0.9
            ]
            why += [f"{name}: {each['title']} {each.get('displayValue', '')}" for each in low]
    return found, why


if __name__ == "__main__":
    main()
