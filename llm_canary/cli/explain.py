"""`llm-canary explain`: which variant a request gets, and why."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from llm_canary.cli.output import ABSENT, json_option, print_facts, print_json, print_table
from llm_canary.opaque import Opaque

if TYPE_CHECKING:
    from llm_canary.gateway.explain import Explanation
    from llm_canary.gateway.keys import Caller
    from llm_canary.gateway.snapshot import Snapshot
    from llm_canary.routing.table import KeyRef, RoutingTable, StoredKey

ENDPOINTS = ("chat/completions", "responses", "completions", "embeddings", "messages")


def _pairs(separator: str) -> Any:  # noqa: ANN401 - a callback of click's
    def split(
        _context: click.Context, _parameter: click.Parameter, given: tuple[str, ...]
    ) -> dict[str, str]:
        pairs = {}
        for text in given:
            name, found, value = text.partition(separator)
            if not found or not name.strip():
                raise click.BadParameter(f"{text!r} is not NAME{separator}VALUE")
            pairs[name.strip()] = value.strip()
        return pairs

    return split


@click.command()
@click.argument("model", required=False)
@click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path),
    envvar="LLM_CANARY_CONFIG",
    default=Path("canary.yaml"),
    show_default=True,
)
@click.option("--user", help="The x-canary-user header.")
@click.option("--session", help="The x-canary-session header.")
@click.option(
    "--segment",
    "segments",
    metavar="NAME=VALUE",
    multiple=True,
    callback=_pairs("="),
    help="A segment that comes in a header; may be repeated.",
)
@click.option("--pin", metavar="VARIANT", help="The x-canary-pin header.")
@click.option("--no-log", is_flag=True, help="The x-canary-no-log header.")
@click.option(
    "--header",
    "headers",
    metavar="'NAME: VALUE'",
    multiple=True,
    callback=_pairs(":"),
    help="Any other header; may be repeated.",
)
@click.option("--key", metavar="NAME", help="The name of the API key, as in the file.")
@click.option("--text", default="Hi", show_default=True, help="The user's message.")
@click.option(
    "--body",
    type=click.File("rb"),
    help="The request's body as JSON, - for standard input; instead of MODEL and --text.",
)
@click.option("--endpoint", type=click.Choice(ENDPOINTS), default=ENDPOINTS[0], show_default=True)
@json_option
def explain(path: Path, *, as_json: bool, **asked: Any) -> None:  # noqa: ANN401 - as click calls it
    """Say which variant a request for MODEL gets, and why.

    The routing table is the one that the gateway of this data directory serves by
    (LLM_CANARY_DATA_DIR); before there is one, the file's, in which no rollout runs.

    \b
    llm-canary explain support-bot --user user-4711
    llm-canary explain support-bot --user user-4711 --segment geo=at --json
    llm-canary explain --body request.json --header 'x-canary-user: user-4711'
    """  # noqa: D301 - \b is for click
    from llm_canary.clock import SystemClock  # noqa: PLC0415
    from llm_canary.gateway.app import DIALECTS  # noqa: PLC0415
    from llm_canary.gateway.explain import explain as explained  # noqa: PLC0415
    from llm_canary.gateway.snapshot import Snapshot  # noqa: PLC0415

    table, source = _table(path)
    # That an upstream's key is not set here says nothing about the gateway.
    logging.getLogger("llm_canary").setLevel(logging.ERROR)
    snapshot = Snapshot(table)
    body = _body(asked)
    found = explained(
        snapshot,
        DIALECTS[f"/v1/{asked['endpoint']}"],
        body,
        _headers(snapshot, body, asked),
        _caller(table, asked["key"]),
        at_s=SystemClock().now_s(),
    )
    if as_json:
        from msgspec import to_builtins  # noqa: PLC0415

        print_json(to_builtins(found) | {"table": source})
        return
    print_facts(_facts(found, source))
    if found.rules:
        click.echo()
        rows = [
            (rule.segment, str(rule.rule), rule.value or ABSENT, "yes" if rule.holds else "no")
            for rule in found.rules
        ]
        print_table(("eligible by", "rule", "value", "holds"), rows)


def _table(path: Path) -> tuple[RoutingTable, str]:
    """Return the table that is served by, else the file's, and where it is from."""
    from llm_canary.config.load import load  # noqa: PLC0415
    from llm_canary.config.settings import Settings  # noqa: PLC0415
    from llm_canary.rollout.publish import TABLE_FILE, Effective, build_table  # noqa: PLC0415
    from llm_canary.routing.table import decode  # noqa: PLC0415

    published = Settings().data_dir / TABLE_FILE
    if published.is_file():
        table = decode(published.read_bytes())
        return table, f"{published}, version {table.version}, as the gateway serves by it"
    table = build_table(
        load(path),
        Effective((), {}),
        lambda _model, _provider: None,
        unit_secret=Opaque(),
        version=0,
    )
    return table, f"{path}; nothing is published in {published.parent} yet, so no rollout runs"


def _body(asked: dict[str, Any]) -> bytes:
    if asked["body"] is not None:
        if asked["model"] is not None:
            raise click.UsageError("give MODEL or --body, not both: the body names its model")
        given: bytes = asked["body"].read()
        return given
    if asked["model"] is None:
        raise click.UsageError("say which MODEL is asked for, or give the request with --body")
    text = asked["text"]
    fields: dict[str, Any] = {"messages": [{"role": "user", "content": text}]}
    if asked["endpoint"] in ("responses", "embeddings"):
        fields = {"input": text}
    elif asked["endpoint"] == "completions":
        fields = {"prompt": text}
    elif asked["endpoint"] == "messages":
        fields["max_tokens"] = 1
    return orjson.dumps({"model": asked["model"], **fields})


def _headers(snapshot: Snapshot, body: bytes, asked: dict[str, Any]) -> dict[bytes, bytes]:
    """Return the request's header as the gateway would see it."""
    named = {
        "x-canary-user": asked["user"],
        "x-canary-session": asked["session"],
        "x-canary-pin": asked["pin"],
        "x-canary-no-log": "1" if asked["no_log"] else None,
    }
    named |= {_segment_header(snapshot, body, name): v for name, v in asked["segments"].items()}
    named |= asked["headers"]
    return {
        name.lower().encode(): value.encode() for name, value in named.items() if value is not None
    }


def _segment_header(snapshot: Snapshot, body: bytes, name: str) -> str:
    """Return the header that the request's route reads the segment from."""
    try:
        route = snapshot.table.routes.get(orjson.loads(body).get("model"))
    except (orjson.JSONDecodeError, AttributeError, TypeError):
        route = None
    kind, _, header = (route.segments.get(name, "") if route is not None else "").partition(":")
    if route is not None and name in route.segments and kind != "header":
        raise click.BadParameter(
            f"segment {name!r} of route {route.name!r} is not sent in a header: it is `{kind}`",
            param_hint="--segment",
        )
    if route is not None and not header:
        read = route.split.eligible if route.split is not None else {}
        if name not in read:
            click.echo(f"note: route {route.name!r} does not read segment {name!r}", err=True)
    return header or f"x-canary-segment-{name.replace('_', '-')}"


def _caller(table: RoutingTable, name: str | None) -> Caller:
    from llm_canary.gateway.keys import Caller, GatewayKey  # noqa: PLC0415

    if name is None:
        return Caller(None, "", may_pin=True)  # whoever asks here need not be an app
    known: list[KeyRef | StoredKey] = [*table.keys, *table.stored.keys]
    for each in reversed(known):  # of two with one name, the one that was made last
        if each.name == name:
            return GatewayKey(each, None).caller
    names = ", ".join(each.name for each in known) or "none"
    raise click.BadParameter(f"there is no key {name!r}; keys: {names}", param_hint="--key")


def _facts(found: Explanation, source: str) -> list[tuple[str, str]]:
    facts = [("table", source), ("model", found.model), ("route", found.route or ABSENT)]
    if found.route is not None:
        share = "" if found.share is None else f", stage {found.stage}, share {found.share:.2%}"
        unit = "nobody is named" if found.unit is None else f"{found.unit} ({found.unit_source})"
        facts += [
            ("rollout", f"{found.rollout}{share}" if found.rollout is not None else "none"),
            ("unit", unit),
            ("bucket", ABSENT if found.bucket is None else f"{found.bucket} of {found.buckets}"),
            *((f"segment {name}", value or ABSENT) for name, value in found.segments.items()),
            ("variant", f"{found.variant} ({found.variant_id})"),
        ]
    facts += [("upstream", found.upstream), ("sent as", found.sent_model)]
    if found.prompt is not None:
        facts.append(("prompt", found.prompt))
    if found.params:
        facts.append(("params", orjson.dumps(found.params).decode()))
    return [*facts, ("compared", "yes" if found.is_compared else "no"), ("why", found.why)]
