"""`llm-canary privacy delete|list|prune`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from llm_canary.cli.client import ControlClient, connect, server_options
from llm_canary.cli.output import (
    ABSENT,
    json_option,
    print_facts,
    print_json,
    print_lines,
    print_table,
)


@click.group()
def privacy() -> None:
    """Erase what is stored of a user, of a request, or beyond an age."""


@privacy.command()
@click.option("--user", help="The user's id as apps send it; a session's id, too.")
@click.option("--request", "request_id", help="The x-request-id, or the id of the answer.")
@click.option("--before", help="All texts older than an age (30d) or a date (2026-11-01).")
@click.option("--yes", is_flag=True, help="Erase; without it only what would be erased is counted.")
@server_options
@json_option
def delete(
    *,
    user: str | None,
    request_id: str | None,
    before: str | None,
    yes: bool,
    url: str,
    as_json: bool,
) -> None:
    """Count what would be erased, and with --yes erase it.

    A user's or a request's facts become nobody's and lose their texts; --before removes texts only.
    Sums and decisions stay.
    """
    client = connect(url)
    found = _erase(client, user, request_id, before, dry_run=not yes)
    if as_json:
        print_json(found)
        return
    print_facts(
        [
            ("requests", str(found["inferences"])),
            ("with text", ABSENT if found["texts"] is None else str(found["texts"])),
            ("comments", str(found["comments"])),
            ("state", found["state"]),
        ]
    )
    print_lines([_what_next(found)])


def _erase(
    client: ControlClient,
    user: str | None,
    request_id: str | None,
    before: str | None,
    *,
    dry_run: bool,
) -> dict[str, Any]:
    params: dict[str, str | int] = {"dry_run": "true" if dry_run else "false"}
    match (user, request_id, before):
        case (str(), None, None):
            found = client.delete("privacy", "users", user, params=params)
        case (None, str(), None):
            found = client.delete("privacy", "requests", request_id, params=params)
        case (None, None, str()):
            found = client.delete("privacy", "texts", params=params | {"before": before})
        case _:
            raise click.UsageError("say what to erase: one of --user, --request and --before")
    result: dict[str, Any] = found
    return result


def _what_next(found: dict[str, Any]) -> str:
    match found["state"]:
        case "preview":
            return "nothing was erased; add --yes to erase it"
        case "running":
            return f"it goes on; `llm-canary privacy list` shows how far erasure {found['id']} is"
        case "settling":
            return "erased; it looks again in a day, for facts that waited on a gateway's disk"
        case _:
            return "erased"


@privacy.command("list")
@server_options
@json_option
def list_erasures(*, url: str, as_json: bool) -> None:
    """Show what was asked to be erased, and how far that has come."""
    found = connect(url).get("privacy", "erasures")
    if as_json:
        print_json(found)
        return
    rows = [
        (
            each["id"],
            each["kind"],
            each["state"],
            str(each["inferences"]),
            str(each["comments"]),
            _time(each["requested_at_s"]),
            each["requested_by"] or ABSENT,
        )
        for each in found
    ]
    print_table(("id", "kind", "state", "requests", "comments", "asked", "by"), rows)


@privacy.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@json_option
def prune(*, file: Path, as_json: bool) -> None:
    """Remove from a drawn dataset the rows whose text is not stored any more.

    Rows that were not drawn by `dataset sample` stay. A frozen dataset has to be frozen again.
    """
    from llm_canary.checks.dataset import Dataset  # noqa: PLC0415
    from llm_canary.config.settings import Settings  # noqa: PLC0415
    from llm_canary.documents.rows import write_rows  # noqa: PLC0415
    from llm_canary.rubric.item import item_row  # noqa: PLC0415
    from llm_canary.storage.engine import make_engine, read_session  # noqa: PLC0415
    from llm_canary.storage.migrate import check  # noqa: PLC0415
    from llm_canary.storage.repositories.inferences import without_text  # noqa: PLC0415

    rows = [item_row(item) for item in Dataset(file, frozen=False)]
    engine = make_engine(Settings().database_url.get_secret_value())
    try:
        check(engine)
        with read_session(engine) as session:
            gone = without_text(session, [str(row["id"]) for row in rows])
    finally:
        engine.dispose()
    kept = [row for row in rows if row["id"] not in gone]
    if len(kept) < len(rows):
        write_rows(file, kept)
    if as_json:
        print_json({"rows": len(kept), "removed": len(rows) - len(kept), "file": str(file)})
    else:
        print_lines([f"{file}: {len(rows) - len(kept)} rows removed, {len(kept)} kept"])


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
