"""`llm-canary init`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("directory", type=click.Path(path_type=Path), default=Path())
@click.option("--force", is_flag=True, help="Overwrite files that are there.")
def init(directory: Path, force: bool) -> None:
    """Write a commented canary.yaml, its prompts, and a rubric to check with into DIRECTORY."""
    from llm_canary.config.starter import starter_files  # noqa: PLC0415

    files = {directory / name: text for name, text in starter_files().items()}
    there = [str(path) for path in files if path.exists()]
    if there and not force:
        raise click.ClickException(
            f"{', '.join(there)} exists: nothing was written (use --force to overwrite)"
        )
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        click.echo(f"wrote {path}")
    click.echo(
        "next: `llm-canary check assistant`; export OPENAI_API_KEY=..., then `llm-canary config "
        "check` and `llm-canary serve`"
    )
