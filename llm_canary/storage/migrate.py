"""The schema of the database: brought up to date, or found to be another one."""

from __future__ import annotations

import importlib
import pkgutil

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import MetaData
from sqlalchemy.engine import Engine
from sqlmodel import SQLModel

from llm_canary.errors import StorageError
from llm_canary.resources import resource_dir
from llm_canary.storage import models
from llm_canary.storage.dialect import is_sqlite
from llm_canary.storage.engine import connected, read_session

_ADVISORY_LOCK = 0x6C6C6D63  # "llmc"


def metadata() -> MetaData:
    """Return the metadata with every table of `storage.models` in it."""
    for module in pkgutil.iter_modules(models.__path__, f"{models.__name__}."):
        importlib.import_module(module.name)
    return SQLModel.metadata


def alembic_config() -> Config:
    """Return Alembic's configuration; there is no alembic.ini to be missing from the wheel."""
    config = Config()
    location = str(resource_dir("migrations")).replace("%", "%%")
    config.set_main_option("script_location", location)
    config.set_main_option("path_separator", "os")
    config.set_main_option(
        "file_template", "%%(year)d%%(month).2d%%(day).2d_%%(hour).2d%%(minute).2d_%%(slug)s"
    )
    config.attributes["metadata"] = metadata()
    return config


def expected() -> str:
    """Return the revision that this version of the package needs."""
    head = ScriptDirectory.from_config(alembic_config()).get_current_head()
    if head is None:
        raise StorageError(f"there is no migration in {resource_dir('migrations')}; reinstall")
    return head


def current(engine: Engine) -> str | None:
    """Return the revision of the database; None when it has no schema."""
    with read_session(engine) as session:
        return MigrationContext.configure(session.connection()).get_current_revision()


def upgrade(engine: Engine) -> None:
    """Bring the schema up to date in one transaction; processes that start together take turns."""
    with connected(engine), engine.begin() as connection:
        if not is_sqlite(engine):
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})")
        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def check(engine: Engine) -> None:
    """Raise StorageError unless the schema is the one that this version needs."""
    found, needed = current(engine), expected()
    if found == needed:
        return
    where = engine.url.render_as_string(hide_password=True)
    scripts = ScriptDirectory.from_config(alembic_config())
    if found is not None and found not in {script.revision for script in scripts.walk_revisions()}:
        raise StorageError(
            f"database {where} is at revision {found}, which this version does not know; "
            "it was migrated by a newer one: install that, or restore a backup"
        )
    raise StorageError(
        f"database {where} is at revision {found or 'none'}, this version needs {needed}; "
        "run `llm-canary db migrate`"
    )
