"""Other people's clients, each directly against a simulated provider and through the gateway.

    python -m tests.conformance.client_matrix [--client NAME ...] [--write] [--json]

Each client is one script in `clients/` that prints what it has seen. The gateway has a rollout with
a canary at 50 % that has a model and a prompt of its own; a client must not see any difference. No
client names a user: its API key and its conversations decide which arms it has, so it is run with
one key after another until both arms have served it.
`--write` renews the table in docs/compatibility.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.conformance.provider import Provider
from tests.conformance.workshop import ROOT, CannotBeMade, environment, node_with, python_with, run
from tests.support.server import RunningServer

CLIENTS = Path(__file__).parent / "clients"
PAGE = ROOT / "docs" / "compatibility.md"
REQUIREMENTS = ROOT / "requirements" / "clients.txt"
ARMS = {"simulated-a", "simulated-b"}  # the models of control and canary
KEYS = 24  # all a client's conversations fall into one arm 24 times: less than once in 2^22
MARKS = ("<!-- clients: begin -->\n", "<!-- clients: end -->")
NODE_PACKAGES = (
    "openai@7.57.0",
    "ai@6.0.325",
    "@ai-sdk/openai@3.0.141",
    "@ai-sdk/openai-compatible@2.0.92",
    "zod@4.6.7",
)
PROMPTFOO = "promptfoo@0.120.19"
CONFIG = """
version: 1
upstreams:
  openai: {{kind: openai, base_url: "{url}"}}
  anthropic: {{kind: anthropic, base_url: "{url}"}}
prompts: prompts/
routes:
  support-bot: {{control: {{upstream: openai, model: simulated-a}}}}
  embedder: {{control: {{upstream: openai, model: simulated-e}}}}
  claude-bot: {{control: {{upstream: anthropic, model: simulated-a}}}}
rollouts:
  support:
    {{route: support-bot, plan: half, canary: {{upstream: openai, model: simulated-b, prompt: support/v2}}}}
  claude:
    {{route: claude-bot, plan: half, canary: {{upstream: anthropic, model: simulated-b, prompt: support/v2}}}}
plans:
  half: {{extends: standard, stages: [{{name: broad, share: 50%, min: 24h, max: 72h}}, {{name: full}}]}}
"""


@dataclass(frozen=True)
class Outcome:
    """What one client saw."""

    client: str
    version: str
    exercised: tuple[str, ...]
    differences: tuple[str, ...]  # between directly and through the gateway
    models: dict[str, int]  # that the provider was asked for through the gateway


@dataclass(frozen=True)
class Client:
    """One client: where it runs, and how its version is found."""

    name: str
    script: str
    command: Callable[[], Sequence[str]]
    version: Callable[[], str]


def _ours(script: str) -> Callable[[], Sequence[str]]:
    """Run a script in the environment of the tests, where litellm is."""
    return lambda: (sys.executable, str(CLIENTS / script))


def _python(script: str) -> Callable[[], Sequence[str]]:
    return lambda: (
        str(python_with("clients-python", "--require-hashes", "-r", str(REQUIREMENTS))),
        str(CLIENTS / script),
    )


def _python_version(package: str) -> Callable[[], str]:
    def find() -> str:
        python = str(python_with("clients-python", "--require-hashes", "-r", str(REQUIREMENTS)))
        code = f"from importlib.metadata import version; print(version({package!r}))"
        return run(python, "-c", code).strip()

    return find


def _node(script: str) -> Callable[[], Sequence[str]]:
    def find() -> Sequence[str]:
        home = node_with("clients-node", *NODE_PACKAGES)
        copy = home / script  # so that node finds the packages beside it
        copy.write_text((CLIENTS / script).read_text())
        return ("node", str(copy))

    return find


def _node_version(package: str) -> Callable[[], str]:
    return lambda: f"{package.rpartition('@')[2]} on Node {run('node', '--version').strip()}"


def _promptfoo() -> Sequence[str]:
    home = node_with("promptfoo", PROMPTFOO)
    config = CLIENTS / "promptfoo.yaml"
    return (str(home / "node_modules" / ".bin" / "promptfoo"), "eval", "--no-cache", "--no-table",
            "--no-progress-bar", "-c", str(config), "-o", "out.json")  # fmt: skip


ALL = (
    Client("openai (Python)", "openai_client.py", _python("openai_client.py"), _python_version("openai")),
    Client("openai (Node)", "openai_client.mjs", _node("openai_client.mjs"), _node_version(NODE_PACKAGES[0])),
    Client("langchain-openai", "langchain_client.py", _python("langchain_client.py"), _python_version("langchain-openai")),
    Client("pydantic-ai", "pydantic_ai_client.py", _python("pydantic_ai_client.py"), _python_version("pydantic-ai-slim")),
    Client("instructor", "instructor_client.py", _python("instructor_client.py"), _python_version("instructor")),
    Client("Vercel AI SDK", "vercel_ai.mjs", _node("vercel_ai.mjs"), _node_version(NODE_PACKAGES[1])),
    Client("anthropic", "anthropic_client.py", _python("anthropic_client.py"), _python_version("anthropic")),
    Client("litellm", "litellm_client.py", _ours("litellm_client.py"), lambda: version("litellm")),
    Client("promptfoo", "promptfoo.yaml", _promptfoo, _node_version(PROMPTFOO)),
)  # fmt: skip


def main() -> int:
    """Run the clients that are asked for; exit with 1 when one sees a difference."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    names = [client.name for client in ALL]
    parser.add_argument("--client", action="append", choices=names, help="default: all of them")
    parser.add_argument("--write", action="store_true", help="renew docs/compatibility.md")
    parser.add_argument("--json", action="store_true", help="print outcomes as JSON")
    asked = parser.parse_args()
    try:
        outcomes = run_clients(tuple(asked.client or names))
    except CannotBeMade as reason:
        print(f"error: {reason}", file=sys.stderr)
        return 2
    if asked.json:
        print(json.dumps([asdict(outcome) for outcome in outcomes], indent=2))
    else:
        for each in outcomes:
            verdict = "; ".join(each.differences) or "no difference"
            arms = ", ".join(f"{model} {count}" for model, count in sorted(each.models.items()))
            print(f"{each.client:18} {each.version:26} {len(each.exercised):3} {verdict} ({arms})")
    if asked.write and not asked.client:
        before, _, rest = PAGE.read_text().partition(MARKS[0])
        after = rest.partition(MARKS[1])[2]
        PAGE.write_text(before + MARKS[0] + table(outcomes) + MARKS[1] + after)
    return 1 if any(outcome.differences for outcome in outcomes) else 0


def run_clients(names: tuple[str, ...]) -> list[Outcome]:
    """Run each client both ways; raise CannotBeMade for what is missing."""
    with tempfile.TemporaryDirectory() as folder, Provider() as provider:
        directory = Path(folder)
        prompt = directory / "prompts" / "support" / "v2.md"
        prompt.parent.mkdir(parents=True)
        prompt.write_text("You are kind.")
        with RunningServer(directory, CONFIG.format(url=provider.base_url)) as server:
            for rollout in ("support", "claude"):
                started = server.cli("rollout", "start", rollout)
                assert started.returncode == 0, started.stderr
            return [
                _compare(client, provider, f"{server.url}/v1", directory)
                for client in ALL
                if client.name in names
            ]


def table(outcomes: list[Outcome]) -> str:
    """Return the rows of the page."""
    lines = ["| client | version | exercised | seen through the gateway |", "|---|---|---|---|"]
    for each in outcomes:
        seen = "; ".join(each.differences) or "the same"
        lines.append(f"| {each.client} | {each.version} | {', '.join(each.exercised)} | {seen} |")
    return "\n".join(lines) + "\n"


def _compare(client: Client, provider: Provider, gateway_url: str, directory: Path) -> Outcome:
    command = client.command()
    provider.forget()
    direct = _seen(client, command, provider.base_url, directory)
    if failure := direct.get("the script") or direct.get("the evaluation failed"):
        raise CannotBeMade(f"{client.name} without the gateway {failure}")
    differences: list[str] = []
    models: Counter[str] = Counter()
    for number in range(KEYS):
        provider.forget()
        relayed = _seen(client, command, gateway_url, directory, key=f"key-{number}-of-the-app")
        differences += (
            f"{name}: {relayed.get(name)!r:.300} instead of {direct.get(name)!r:.300}"
            for name in direct | relayed
            if direct.get(name) != relayed.get(name)
        )
        models += provider.models
        if differences or models.keys() >= ARMS:
            break
    return Outcome(client.name, client.version(), tuple(direct), tuple(differences), dict(models))


def _seen(
    client: Client, command: Sequence[str], url: str, directory: Path, key: str = "key-of-the-app"
) -> dict[str, Any]:
    """Return what the client has seen; raise CannotBeMade when it does not come to its end."""
    variables = {
        "OPENAI_BASE_URL": url,
        "OPENAI_API_BASE": url,
        "OPENAI_API_KEY": key,
        "ANTHROPIC_BASE_URL": url.removesuffix("/v1"),
        "ANTHROPIC_API_KEY": key,
        "MODEL": "claude-bot" if client.name == "anthropic" else "support-bot",
        "EMBEDDING_MODEL": "embedder",
        "PROMPTFOO_DISABLE_TELEMETRY": "1",
        "PROMPTFOO_DISABLE_UPDATE": "1",
        "PROMPTFOO_CONFIG_DIR": str(directory / "promptfoo"),
        "AI_SDK_LOG_WARNINGS": "false",
    }
    done = subprocess.run(
        command,
        cwd=directory,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if client.name == "promptfoo":
        return _of_promptfoo(directory / "out.json", done)
    if done.returncode != 0:
        return {"the script": f"failed: {done.stderr.strip()[-600:]}"}
    seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return seen


def _of_promptfoo(path: Path, done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    if not path.exists():
        return {"the evaluation failed": f"failed: {(done.stderr or done.stdout).strip()[-600:]}"}
    results = json.loads(path.read_text())["results"]
    path.unlink()
    answers = sorted(
        [each["prompt"]["raw"], each["response"].get("output"), each["success"]]
        for each in results["results"]
    )
    return {"evaluation": answers, "token usage": results["stats"]["tokenUsage"]["total"]}


if __name__ == "__main__":
    sys.exit(main())
