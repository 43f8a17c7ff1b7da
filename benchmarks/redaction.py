"""What redaction costs, and how often it is wrong on text that nobody wrote to hide anything.

`python benchmarks/redaction.py` prints times of one text; with `--load FOLDER` (the harness of
README.md) also requests per second with and without redaction, in interleaved rounds of one run.
"""

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from pydoc_data.topics import topics

from llm_canary.gateway.content import keep
from llm_canary.privacy.redact import Redactor
from llm_canary.routing.table import ContentStore

HERE = Path(__file__).parent
PROSE = re.sub(r"\s+", " ", topics["customization"] + topics["objects"] + topics["execmodel"])
PRIVATE = " write to jane.doe@mail.example or +43 660 1234567, card 4242 4242 4242 4242."
MOCK, PORTS = 9100, {"none": 9311, "full": 9312, "redacted": 9313}


def body(size, *, private):
    text = (PROSE * (size // len(PROSE) + 1))[:size]
    if private:
        text = text[: size - len(PRIVATE)] + PRIVATE
    return [{"role": "user", "content": text}]


def microseconds(act, seconds=0.5):
    times = []
    ends = time.perf_counter() + seconds
    while time.perf_counter() < ends:
        began = time.perf_counter()
        act()
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e6


def single():
    redactor = Redactor(b"k")
    print("| prompt | what `redacted` adds to `hash` | text alone |")
    print("|---|---|---|")
    for size in (1_000, 20_000, 200_000):
        for private in (False, True):
            request = json.dumps(body(size, private=private), ensure_ascii=False).encode()
            text = body(size, private=private)[0]["content"]
            took = {
                policy: microseconds(lambda: keep(policy, request, "yes", b"k", redactor))  # noqa: B023
                for policy in (ContentStore.HASH, ContentStore.REDACTED)
            }
            alone = microseconds(lambda: redactor.redact(text))  # noqa: B023
            added = took[ContentStore.REDACTED] - took[ContentStore.HASH]
            what = "three private things" if private else "none"
            print(f"| {size // 1000} KB, {what} | {added:.0f} us | {alone:.0f} us |")


def precision():
    redactor, found, chars = Redactor(b"k"), Counter(), 0
    for text in topics.values():
        chars += len(text)
        found.update(re.findall(r"\[([A-Z_]+)_[0-9a-f]{4}\]", redactor.redact(text)))
    print(f"\nin {chars:,} characters of Python's reference: {dict(found) or 'nothing'} replaced")


def load(folder, rounds):
    gateways = {policy: start(policy, port) for policy, port in PORTS.items()}
    mock = subprocess.Popen(["taskset", "-c", "1", folder / "mock", str(MOCK)])
    time.sleep(3)
    try:
        for size in (1_000, 20_000):
            for private in (False, True):
                request = {"model": "mock-model", "user": "u", "max_tokens": 60}
                request["messages"] = body(size, private=private)
                with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
                    file.write(json.dumps(request, ensure_ascii=False))
                    file.flush()
                    what = f"{size // 1000} KB, {'three private things' if private else 'none'}"
                    measured(folder, gateways, file.name, what, rounds)
    finally:
        for process in (*gateways.values(), mock):
            process.send_signal(signal.SIGCONT)
            process.terminate()


def measured(folder, gateways, file, what, rounds):
    rates = {policy: [] for policy in gateways}
    costs = {policy: [] for policy in gateways}
    for _ in range(rounds):
        for policy, process in gateways.items():
            for other in gateways.values():
                other.send_signal(signal.SIGCONT if other is process else signal.SIGSTOP)
            began = cpu_s(process)
            command = ["taskset", "-c", "1", folder / "loadgen", str(PORTS[policy])]
            command += ["/v1/chat/completions", file, "conc=64", "dur=4", "warm=0"]
            out = json.loads(subprocess.check_output(command))
            assert out["bad"] == 0, out
            while cpu_s(process) - began > 0:  # what waits to be redacted is part of the cost
                before = cpu_s(process)
                time.sleep(0.5)
                if cpu_s(process) - before < 0.05:
                    break
            rates[policy].append(out["ok"] / 4)
            costs[policy].append((cpu_s(process) - began) / out["ok"] * 1e6)
    for policy, each in rates.items():
        rate, cost = statistics.median(each), statistics.median(costs[policy])
        share = rate / statistics.median(rates["none"])
        print(f"{what}: `{policy}` {share:.2f} of the requests/s, {cost:.0f} us CPU a request")


def cpu_s(process):
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def start(policy, port):
    environment = os.environ | {"LLM_CANARY_BENCH_CONTENT": policy}
    command = ["taskset", "-c", "0", sys.executable, HERE / "gateway_app.py", str(port)]
    return subprocess.Popen(command, env=environment)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--load", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    single()
    precision()
    if chosen.load:
        load(chosen.load, chosen.rounds)
