"""`llm-canary keys create|list|rotate|revoke`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from llm_canary.auth import AccessRole
from llm_canary.cli.accounts import shown_time
from llm_canary.cli.output import (
    json_option,
    print_facts,
    print_json,
    print_lines,
    print_table,
)

if TYPE_CHECKING:
    from llm_canary.access.keys import NewKey
    from llm_canary.routing.limits import Limits
    from llm_canary.storage.repositories.keys import KeyRecord

_LIMITS = ("requests_per_minute", "tokens_per_minute", "concurrent_streams", "budget_usd_per_day")
_WHICH = click.argument("which", metavar="NAME|PREFIX")


class _Duration(click.ParamType):  # type: ignore[type-arg]  # generic in newer releases only
    name = "duration"

    def convert(
        self,
        value: Any,  # noqa: ANN401 - click's signature
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> float:
        """Return the seconds of a text such as 90d."""
        from llm_canary.config.values import seconds_of  # noqa: PLC0415

        seconds = value if isinstance(value, float) else seconds_of(value)
        if seconds is None:
            self.fail(f"{value!r} is no duration such as 30m, 24h or 90d", param, ctx)
        return seconds


@click.group()
def keys() -> None:
    """Make, rotate and revoke API keys (LLM_CANARY_DATABASE_URL).

    Running gateways follow within two seconds.
    """


@keys.command()
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice([role.value for role in AccessRole]),
    default=AccessRole.APP.value,
    show_default=True,
    help="What the key may do.",
)
@click.option(
    "--route", "routes", multiple=True, help="A route that it is for, one of some; default: all."
)
@click.option("--expires", type=_Duration(), help="After so long, such as 90d; default: never.")
@click.option("--pin", is_flag=True, help="May choose a variant by `x-canary-pin`.")
@click.option("--rpm", _LIMITS[0], metavar="COUNT", help="Requests per minute.")
@click.option("--tpm", _LIMITS[1], metavar="COUNT", help="Tokens per minute.")
@click.option("--concurrent", _LIMITS[2], metavar="COUNT", help="Requests under way at once.")
@click.option("--budget-usd", _LIMITS[3], metavar="USD", help="Dollars per day (UTC).")
@json_option
def create(*, name: str, as_json: bool, **options: Any) -> None:  # noqa: ANN401 - click's options
    """Make a key called NAME, which owns what is asked with it. Its text is shown once."""
    from llm_canary.access.keys import ApiKeys, KeyWish, facts_of  # noqa: PLC0415
    from llm_canary.cli.access_database import access_database  # noqa: PLC0415

    wish = KeyWish(
        name,
        AccessRole(options["role"]),
        options["routes"] or None,
        options["pin"],
        options["expires"],
        _limits(options),
    )
    with access_database() as database:
        made = ApiKeys(database.engine, database.clock).create(wish, by=database.actor.name)
        database.note("key.create", name, facts_of(made.record))
    _print_new(made, as_json=as_json)


@keys.command("list")
@click.option("--all", "with_ended", is_flag=True, help="Also those that have ended.")
@json_option
def list_(*, with_ended: bool, as_json: bool) -> None:
    """Show the keys of the database; those of canary.yaml stand there."""
    from llm_canary.access.keys import ApiKeys  # noqa: PLC0415
    from llm_canary.cli.access_database import access_database  # noqa: PLC0415
    from llm_canary.clock import utc  # noqa: PLC0415

    with access_database() as database:
        now = utc(database.clock.now_s())
        found = ApiKeys(database.engine, database.clock).all()
    shown = [each for each in found if with_ended or each.serves_at(now)]
    if as_json:
        print_json([_facts(each) for each in shown])
        return
    if not shown:
        print_lines(["there is no key that serves; `llm-canary keys create NAME` makes one"])
        return
    print_table(
        ("name", "key", "role", "routes", "expires", "last used", "state"),
        [
            (
                each.name,
                f"{each.prefix}…",
                each.role,
                "all" if each.routes is None else ", ".join(each.routes),
                shown_time(each.expires_at),
                shown_time(each.last_used_at),
                each.state_at(now),
            )
            for each in shown
        ],
    )


@keys.command()
@_WHICH
@click.option(
    "--overlap",
    type=_Duration(),
    default="24h",
    show_default=True,
    help="So long the old key goes on serving.",
)
@json_option
def rotate(*, which: str, overlap: float, as_json: bool) -> None:
    """Make a new key in place of another one, which serves until the overlap has passed."""
    from llm_canary.access.keys import ApiKeys, facts_of  # noqa: PLC0415
    from llm_canary.cli.access_database import access_database  # noqa: PLC0415

    with access_database() as database:
        made = ApiKeys(database.engine, database.clock).rotate(
            which, overlap_s=overlap, by=database.actor.name
        )
        detail = facts_of(made.record) | {"overlap_s": overlap}
        database.note("key.rotate", made.record.name, detail)
    _print_new(made, as_json=as_json)


@keys.command()
@_WHICH
@json_option
def revoke(*, which: str, as_json: bool) -> None:
    """End every key called NAME, or the one that begins with PREFIX, at once."""
    from llm_canary.access.keys import ApiKeys  # noqa: PLC0415
    from llm_canary.cli.access_database import access_database  # noqa: PLC0415

    with access_database() as database:
        ended = ApiKeys(database.engine, database.clock).revoke(which)
        for each in ended:
            database.note("key.revoke", each.name, {"prefix": each.prefix})
    if as_json:
        print_json([{"name": each.name, "prefix": each.prefix} for each in ended])
    else:
        print_lines(f"revoked {each.name} ({each.prefix}…)" for each in ended)


def _limits(options: dict[str, Any]) -> Limits | None:
    from llm_canary.access.keys import limits_wished  # noqa: PLC0415

    return limits_wished({name: options[name] or "" for name in _LIMITS})


def _print_new(made: NewKey, *, as_json: bool) -> None:
    if as_json:
        print_json({**_facts(made.record), "key": made.text})
        return
    print_facts(
        [
            ("name", made.record.name),
            ("key", made.text),
            ("role", made.record.role),
            ("routes", "all" if made.record.routes is None else ", ".join(made.record.routes)),
            ("expires", shown_time(made.record.expires_at)),
        ]
    )
    click.echo("keep the key now: only its hash is stored", err=True)


def _facts(record: KeyRecord) -> dict[str, Any]:
    from llm_canary.access.keys import facts_of  # noqa: PLC0415

    return {
        "id": record.id,
        "name": record.name,
        **facts_of(record),
        "created_at": record.created_at.isoformat(),
        "created_by": record.created_by,
        "revoked_at": record.revoked_at.isoformat() if record.revoked_at else None,
        "last_used_at": record.last_used_at.isoformat() if record.last_used_at else None,
        "replaces": record.replaces,
    }
