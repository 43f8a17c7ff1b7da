"""The command line. A subcommand's module is imported when it runs, so that `--help` stays fast.

Exit codes: 0 done; 1 refused or failed; 2 wrong usage; 5 operational: the server or
the database cannot be reached. Checks and judges also have 3, held, and 4, the judge is not
trusted.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import NamedTuple

import click

from llm_canary import __version__
from llm_canary.cli.output import CommandFailed, Exit
from llm_canary.errors import ConfigError, LlmCanaryError, StorageError


class Lazy(NamedTuple):
    """Where a subcommand lives, and the line that the list of commands shows for it."""

    module: str
    attribute: str
    help: str


COMMANDS = {
    "init": Lazy("llm_canary.cli.init", "init", "Write a commented starter canary.yaml."),
    "demo": Lazy("llm_canary.cli.demo", "demo", "Run the main job end to end on a local model."),
    "serve": Lazy("llm_canary.cli.serve", "serve", "Serve the gateway, the API and the page."),
    "config": Lazy("llm_canary.cli.config", "config", "Check or export the configuration."),
    "plan": Lazy("llm_canary.cli.plan", "plan", "Say how many users and days a plan needs."),
    "rollout": Lazy("llm_canary.cli.rollout", "rollout", "Start, watch and steer rollouts."),
    "explain": Lazy("llm_canary.cli.explain", "explain", "Say which variant a user gets, and why."),
    "decision": Lazy("llm_canary.cli.decision", "decision", "Show or replay a decision."),
    "simulate": Lazy("llm_canary.cli.simulate", "simulate", "Rehearse a plan on simulated users."),
    "check": Lazy("llm_canary.cli.check", "check", "Grade a candidate by a rubric, as CI does."),
    "rubric": Lazy("llm_canary.cli.rubric", "rubric", "Lint, compare and test rubrics."),
    "judge": Lazy("llm_canary.cli.judge", "judge", "Find out whether a judge may be trusted."),
    "review": Lazy("llm_canary.cli.review", "review", "Bring human labels in, and out."),
    "dataset": Lazy("llm_canary.cli.dataset", "dataset", "Freeze, convert and draw datasets."),
    "accounts": Lazy("llm_canary.cli.accounts", "accounts", "Say who may log in to the pages."),
    "keys": Lazy("llm_canary.cli.keys", "keys", "Make, rotate and revoke API keys."),
    "privacy": Lazy("llm_canary.cli.privacy", "privacy", "Erase what is stored of a user."),
    "db": Lazy("llm_canary.cli.db", "db", "Migrate or examine the database."),
}

EPILOG = (
    "Exit codes: 0 done, 1 refused or failed, 2 wrong usage, "
    "3 held, 4 judge not trusted, 5 the server, database or provider cannot be reached."
)


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports only the one that runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names of the commands that this installation has."""
        return [name for name, lazy in COMMANDS.items() if find_spec(lazy.module) is not None]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        if cmd_name not in self.list_commands(ctx):
            return None
        lazy = COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(lazy.module), lazy.attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name].help) for name in self.list_commands(ctx)])

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; errors raised on purpose end it without a traceback."""
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            raise CommandFailed("\n".join(error.problems), Exit.FAILED) from error
        except StorageError as error:
            raise CommandFailed(error.message, Exit.OPERATIONAL) from error
        except LlmCanaryError as error:
            raise CommandFailed(error.message, Exit.FAILED) from error


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="llm-canary")
def main() -> None:
    """Canary gateway for LLM applications."""
    from llm_canary.server.log_scrubber import scrub_logs  # noqa: PLC0415 - not for `--help`

    scrub_logs()
