"""`llm-canary serve`."""

from __future__ import annotations

import click


@click.command()
@click.option(
    "--config",
    "config_path",
    type=click.Path(),
    envvar="LLM_CANARY_CONFIG",
    help="Configuration file [default: canary.yaml].",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    default=8484,
    show_default=True,
    type=click.IntRange(1, 65535),
    help="Port to listen on.",
)
@click.option(
    "--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="Processes."
)
@click.option(
    "--only",
    type=click.Choice(["gateway", "control", "workers"]),
    help="Run one part; gateway and control share a data directory, workers need the database.",
)
def serve(config_path: str | None, host: str, port: int, workers: int, only: str | None) -> None:
    """Serve the gateway, the control API and the web page."""
    import os  # noqa: PLC0415

    from llm_canary.server.run import serve as run  # noqa: PLC0415 - keeps `--help` fast

    if config_path is not None:
        os.environ["LLM_CANARY_CONFIG"] = config_path  # read by Settings, also in worker processes
    if only == "workers":
        click.echo("llm-canary: workers grade answers (no port is opened)", err=True)
        run(host=host, port=port, workers=workers, only="workers")
        return
    where = f"http://{host}:{port}"
    click.echo(
        f"llm-canary on {where}  (apps: OPENAI_BASE_URL={where}/v1, page: {where}/)", err=True
    )
    run(host=host, port=port, workers=workers, only=only)  # type: ignore[arg-type]
