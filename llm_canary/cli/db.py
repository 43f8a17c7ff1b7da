"""`llm-canary db migrate|doctor|rollups`."""

from __future__ import annotations

import sys

import click


@click.group()
def db() -> None:
    """Look after the database (LLM_CANARY_DATABASE_URL)."""


@db.command()
def migrate() -> None:
    """Bring the schema to the version that this release needs; does nothing when it is there."""
    from llm_canary.config.settings import Settings  # noqa: PLC0415
    from llm_canary.errors import StorageError  # noqa: PLC0415
    from llm_canary.storage.engine import make_engine  # noqa: PLC0415
    from llm_canary.storage.migrate import current, upgrade  # noqa: PLC0415

    engine = make_engine(Settings().database_url.get_secret_value())
    try:
        before = current(engine)
        upgrade(engine)
        click.echo(f"schema {before or 'empty'} -> {current(engine)}")
    except StorageError as error:
        click.echo(error.message, err=True)
        sys.exit(5)


@db.command()
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def doctor(as_json: bool) -> None:
    """Say whether the database answers and has the right schema. Exit 0 when so, else 5."""
    import orjson  # noqa: PLC0415

    from llm_canary.config.settings import Settings  # noqa: PLC0415
    from llm_canary.errors import StorageError  # noqa: PLC0415
    from llm_canary.storage.engine import make_engine  # noqa: PLC0415
    from llm_canary.storage.migrate import check, current  # noqa: PLC0415

    engine = make_engine(Settings().database_url.get_secret_value())
    problem: str | None = None
    schema: str | None = None
    try:
        schema = current(engine)
        check(engine)
    except StorageError as error:
        problem = error.message
    facts = {
        "ok": problem is None,
        "dialect": engine.dialect.name,
        "schema": schema,
        "problem": problem,
    }
    if as_json:
        click.echo(orjson.dumps(facts))
    else:
        click.echo(
            problem or f"{engine.dialect.name}: reachable, schema {schema} is current",
            err=problem is not None,
        )
    sys.exit(0 if problem is None else 5)


@db.command()
@click.option("--rebuild", is_flag=True, required=True, help="Make them anew from stored rows.")
def rollups(rebuild: bool) -> None:
    """Make the sums that charts read anew, e.g. after an upgrade from before there were any.

    The server may go on: what it receives meanwhile waits on its disk.
    """
    from llm_canary.clock import SystemClock  # noqa: PLC0415
    from llm_canary.config.settings import Settings  # noqa: PLC0415
    from llm_canary.errors import StorageError  # noqa: PLC0415
    from llm_canary.storage import rollup_upkeep  # noqa: PLC0415
    from llm_canary.storage.engine import make_engine  # noqa: PLC0415
    from llm_canary.storage.migrate import check  # noqa: PLC0415

    del rebuild  # asked for by name, because it takes a while and holds up the drain
    engine = make_engine(Settings().database_url.get_secret_value())
    try:
        check(engine)
        count = rollup_upkeep.rebuild(engine, SystemClock().now_s())
        click.echo(f"rollups rebuilt from {count:,} inferences")
    except StorageError as error:
        click.echo(error.message, err=True)
        sys.exit(5)
