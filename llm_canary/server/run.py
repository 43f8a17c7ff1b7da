"""Starts uvicorn on the composed application."""

from __future__ import annotations

import gc
import os
from typing import TYPE_CHECKING, Literal

import uvicorn

from llm_canary.clock import SystemClock
from llm_canary.errors import ConfigError
from llm_canary.server.app import App, AsgiApp, Part
from llm_canary.server.data_plane import PROCESSES, DataPlane, default_data_dir
from llm_canary.server.http_protocol import HttpProtocol
from llm_canary.server.log_scrubber import scrub_logs

if TYPE_CHECKING:
    from llm_canary.server.control_plane import ControlPlane

Only = Literal["gateway", "control", "workers"]
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_ONLY = "LLM_CANARY_ONLY"


def serve(*, host: str, port: int, workers: int, only: Only | None) -> None:
    """Serve until a signal ends the process.

    SIGTERM lets running exchanges finish and flushes telemetry. Raises ConfigError when `host` is
    not loopback and no API key is configured.
    """
    scrub_logs()
    if only == "workers":
        from llm_canary.server.workers import run_workers  # noqa: PLC0415 - heavy

        run_workers()
        return
    if only is None:
        os.environ.pop(_ONLY, None)
    else:
        os.environ[_ONLY] = only
    options = {
        "host": host,
        "port": port,
        "loop": "uvloop",
        "http": HttpProtocol,
        "ws": "none",
        "lifespan": "on",
        "access_log": False,
        "server_header": False,
        "date_header": False,
        "proxy_headers": False,
        "log_level": "warning",
        "backlog": 4096,
        "timeout_keep_alive": 75,
        "timeout_graceful_shutdown": 20,
    }
    if host not in _LOOPBACK:
        _refuse_keyless(host)
    _tune_collector()
    os.environ[PROCESSES] = str(workers)
    if workers > 1:
        uvicorn.run("llm_canary.server.run:create_app", factory=True, workers=workers, **options)  # type: ignore[arg-type]
    else:
        uvicorn.run(create_app(), **options)  # type: ignore[arg-type]


def create_app() -> App:
    """Return the application that the environment asks for; nothing runs before its lifespan."""
    scrub_logs()  # here too: uvicorn's workers are processes of their own
    only = os.environ.get(_ONLY)
    data_dir = default_data_dir()
    data_plane = None if only == "control" else DataPlane(data_dir)
    control_plane = None
    if only != "gateway":
        control_plane = _control_plane(data_plane, with_workers=only is None)
    parts: list[Part] = [part for part in (control_plane, data_plane) if part is not None]
    control: AsgiApp | None = control_plane.app if control_plane is not None else None
    return App(
        data_plane.app if data_plane is not None else None,
        control,
        parts,
        keyless=lambda: control_plane is None or control_plane.is_keyless,
    )


def _control_plane(data_plane: DataPlane | None, *, with_workers: bool) -> ControlPlane:
    from llm_canary.server.control_plane import ControlPlane  # noqa: PLC0415 - heavy, and never in a gateway-only process

    return ControlPlane(data_plane, SystemClock(), with_workers=with_workers)


def _tune_collector() -> None:
    """Keep the collector off what start-up made; it halves the p99 of the data plane."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def _refuse_keyless(host: str) -> None:
    from llm_canary.config.load import load  # noqa: PLC0415
    from llm_canary.config.settings import Settings  # noqa: PLC0415

    if os.environ.get(_ONLY) == "gateway":
        return  # the gateway itself refuses foreign hosts while its table has no key
    settings = Settings()
    url = settings.database_url.get_secret_value()
    if not load(settings.config).keys and not _has_stored_keys(url):
        raise ConfigError(
            f"--host {host} would serve the network without any API key: make one by "
            f"`llm-canary keys create`, add `keys:` to {settings.config}, or listen on 127.0.0.1"
        )


def _has_stored_keys(database_url: str) -> bool:
    from llm_canary.storage.engine import make_engine, read_session  # noqa: PLC0415
    from llm_canary.storage.migrate import current  # noqa: PLC0415
    from llm_canary.storage.repositories.keys import any_key  # noqa: PLC0415

    engine = make_engine(database_url)
    try:
        if current(engine) is None:
            return False  # a database that is to be made
        with read_session(engine) as session:
            return any_key(session)
    finally:
        engine.dispose()
