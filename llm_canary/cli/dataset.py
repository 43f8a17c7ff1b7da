"""`llm-canary dataset freeze|convert|sample`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from llm_canary.cli.output import json_option, print_json, print_lines

_FILE = click.Path(path_type=Path)


@click.group()
def dataset() -> None:
    """Freeze, convert and draw datasets."""


@dataset.command()
@click.argument("file", type=_FILE)
@click.option("--version", "number", type=click.IntRange(1), help="[default: one more]")
@json_option
def freeze(*, file: Path, number: int | None, as_json: bool) -> None:
    """Check FILE and note its hash beside it: from then on a check refuses it when it changed."""
    from llm_canary.checks.dataset import Dataset, frozen_path, read_frozen  # noqa: PLC0415

    found = Dataset(file, frozen=False)
    known = read_frozen(file)
    same = known is not None and known["hash"] == found.hash
    version = number or (known["version"] + (not same) if known else 1)
    facts = {"name": found.name, "version": version, "hash": found.hash, "rows": len(found)}
    frozen_path(file).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    if as_json:
        print_json(facts)
    else:
        print_lines([f"{file}: version {version}, {len(found)} rows, {found.hash[:12]}"])


@dataset.command()
@click.argument("source", type=_FILE)
@click.argument("target", type=_FILE)
@json_option
def convert(*, source: Path, target: Path, as_json: bool) -> None:
    """Write SOURCE as TARGET; the endings .jsonl, .csv and .parquet say how."""
    from llm_canary.checks.dataset import Dataset  # noqa: PLC0415
    from llm_canary.documents.rows import write_rows  # noqa: PLC0415
    from llm_canary.rubric.item import item_row  # noqa: PLC0415

    if target.exists() and target.samefile(source):
        raise click.UsageError(f"{target} is SOURCE itself; name another file")
    count = write_rows(target, (item_row(item) for item in Dataset(source)))
    if as_json:
        print_json({"rows": count, "file": str(target)})
    else:
        print_lines([f"wrote {count} rows to {target}"])


@dataset.command()
@click.argument("target", type=_FILE)
@click.option("--route", help="Only of this route.")
@click.option("--rows", default=200, show_default=True, type=click.IntRange(1, 100_000))
@click.option("--days", default=30, show_default=True, type=click.IntRange(1, 3650))
@json_option
def sample(*, target: Path, route: str | None, rows: int, days: int, as_json: bool) -> None:
    """Draw a dataset from recorded traffic, with the answers that were given.

    Only routes whose `content.store` is `redacted` or `full` keep text; what is drawn is what was
    kept. Draws by a hash of the id, so that the same traffic gives the same rows.
    """
    from llm_canary.documents.rows import write_rows  # noqa: PLC0415

    drawn = list(_drawn(route, rows, days))
    if not drawn:
        raise click.ClickException(
            "no answer with its text is recorded; set `content: {store: redacted}` on the route"
        )
    count = write_rows(target, drawn)
    if as_json:
        print_json({"rows": count, "file": str(target)})
    else:
        print_lines([f"wrote {count} rows to {target}"])


def _drawn(route: str | None, rows: int, days: int) -> Iterator[dict[str, Any]]:
    from llm_canary.clock import SystemClock  # noqa: PLC0415
    from llm_canary.config.settings import Settings  # noqa: PLC0415
    from llm_canary.judging.material import recorded_turns  # noqa: PLC0415
    from llm_canary.storage.engine import make_engine, read_session  # noqa: PLC0415
    from llm_canary.storage.migrate import check  # noqa: PLC0415
    from llm_canary.storage.repositories.inferences import with_content  # noqa: PLC0415

    since = datetime.fromtimestamp(SystemClock().now_s(), UTC) - timedelta(days=days)
    engine = make_engine(Settings().database_url.get_secret_value())
    try:
        check(engine)
        with read_session(engine) as session:
            for name, request, response, segments in with_content(
                session, route=route, since=since, limit=rows
            ):
                messages = recorded_turns(request)
                if messages is not None:
                    yield {
                        "id": name,
                        "messages": messages,
                        "response": response,
                        "tags": {key: str(value) for key, value in segments.items()},
                    }
    finally:
        engine.dispose()
