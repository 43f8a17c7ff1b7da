"""`llm-canary config check|export`."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import orjson


@click.group()
def config() -> None:
    """Check the configuration file."""


@config.command()
@click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path),
    envvar="LLM_CANARY_CONFIG",
    default=Path("canary.yaml"),
    show_default=True,
)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def check(path: Path, as_json: bool) -> None:
    """Read the file and print every problem with its line. Exit 0 when it is good, 1 when not."""
    from llm_canary.config.load import load  # noqa: PLC0415
    from llm_canary.errors import ConfigError  # noqa: PLC0415

    try:
        loaded = load(path)
    except ConfigError as error:
        if as_json:
            click.echo(orjson.dumps({"ok": False, "problems": error.problems}))
        else:
            for problem in error.problems:
                click.echo(problem, err=True)
            click.echo(f"{len(error.problems)} problem(s) in {path}", err=True)
        sys.exit(1)
    facts = {
        "ok": True,
        "hash": loaded.hash,
        "routes": sorted(loaded.routes),
        "rollouts": sorted(loaded.rollouts),
        "warnings": list(loaded.warnings),
    }
    if as_json:
        click.echo(orjson.dumps(facts))
        return
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(
        f"{path} is good: {len(loaded.routes)} route(s), {len(loaded.rollouts)} rollout(s), "
        f"hash {loaded.hash[:12]}"
    )
