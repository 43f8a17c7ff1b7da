"""`llm-canary plan`: what a plan will take, before it starts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llm_canary.cli.output import json_option, print_json, print_lines
from llm_canary.cli.traffic_options import amounts, share, shares

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from llm_canary.config.load import LoadedConfig
    from llm_canary.config.rollout_spec import RolloutSpec
    from llm_canary.decision.plan import Plan
    from llm_canary.decision.planner import Forecast
    from llm_canary.decision.traffic import MetricTraffic, Traffic
    from llm_canary.routing.table import Price

_NANO = 1e9
JUDGE_TOKENS = 1_500, 150  # read and written for one answer, as usual ones are
REVIEW_S = 60.0


@click.command()
@click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path),
    envvar="LLM_CANARY_CONFIG",
    default=Path("canary.yaml"),
    show_default=True,
)
@click.option("--rollout", help="Forecast this rollout's plan with its gates.")
@click.option("--plan", "plan_name", metavar="NAME", help="Forecast a plan without a rollout.")
@click.option("--route", help="Whose recorded traffic, for a plan without a rollout.")
@click.option(
    "--daily",
    metavar="N",
    type=click.FloatRange(min=0, min_open=True),
    help="Requests a day [default: what the database has recorded].",
)
@click.option(
    "--days",
    metavar="N",
    type=click.IntRange(1, 90),
    default=7,
    show_default=True,
    help="How many recorded days to learn from, without --daily.",
)
@click.option(
    "--requests-per-user",
    "per_unit",
    metavar="N",
    type=click.FloatRange(min=1),
    help="Requests that a user makes on a day on which they come.",
)
@click.option(
    "--returning", metavar="SHARE", callback=share, help="Users of one day who come on another."
)
@click.option("--rated", metavar="SHARE", callback=share, help="Responses that get a thumb.")
@click.option(
    "--icc",
    metavar="N",
    type=click.FloatRange(min=0, max=1),
    help="Correlation of two responses of one user.",
)
@click.option(
    "--rate",
    "rates",
    metavar="METRIC=SHARE",
    multiple=True,
    callback=shares,
    help="A rate of the control, such as error_rate=1%; may be repeated.",
)
@click.option(
    "--mean",
    "means",
    metavar="METRIC=MEAN[:SD]",
    multiple=True,
    callback=amounts,
    help="A mean of the control, in ms, tokens or dollars, such as latency_mean=900:400.",
)
@click.option(
    "--observed",
    metavar="METRIC=SHARE",
    multiple=True,
    callback=shares,
    help="Responses that have a value of the metric, such as task_completion=10%.",
)
@click.option(
    "--cost", metavar="USD", type=click.FloatRange(min=0), help="Cost of a control response."
)
@click.option(
    "--canary-cost", metavar="USD", type=click.FloatRange(min=0), help="Cost of a canary response."
)
@click.option(
    "--needed",
    metavar="N",
    type=click.FloatRange(min=0, min_open=True),
    help="Forecast no plan; say how many days N canary responses take at --share of --daily.",
)
@click.option("--share", metavar="SHARE", callback=share, help="The canary's share, for --needed.")
@json_option
def plan(path: Path, *, as_json: bool, **options: Any) -> None:  # noqa: ANN401 - as click calls it
    """Say how long a plan takes, what it can show and what it costs, before it starts.

    \b
    llm-canary plan --daily 50000 --share 5% --needed 10000
    llm-canary plan --rollout support-v13 --daily 50000 --rated 3%
    llm-canary plan --rollout support-v13

    The last one reads the route's recorded traffic (LLM_CANARY_DATABASE_URL). What is neither given
    nor recorded is assumed, and listed with its source.
    """  # noqa: D301 - \b keeps click from joining the lines
    if options["needed"] is not None:
        _print_collection(options, as_json=as_json)
        return
    if options["share"] is not None:
        raise click.UsageError("--share goes with --needed; a plan has its stages' shares")
    _print_forecast(path, options, as_json=as_json)


def _print_collection(options: Mapping[str, Any], *, as_json: bool) -> None:
    import msgspec  # noqa: PLC0415

    from llm_canary.cli.forecast_text import collection_lines  # noqa: PLC0415
    from llm_canary.decision.sample_size import collection  # noqa: PLC0415

    if options["daily"] is None or options["share"] is None:
        raise click.UsageError("--needed asks for --daily and --share too")
    found = collection(daily=options["daily"], share=options["share"], needed=options["needed"])
    if as_json:
        print_json(msgspec.to_builtins(found))
    else:
        print_lines(collection_lines(found))


def _print_forecast(path: Path, options: Mapping[str, Any], *, as_json: bool) -> None:
    import msgspec  # noqa: PLC0415

    from llm_canary.cli.forecast_text import print_forecast  # noqa: PLC0415
    from llm_canary.config.load import load  # noqa: PLC0415
    from llm_canary.decision.plan_warnings import warnings_of  # noqa: PLC0415
    from llm_canary.decision.planner import forecast  # noqa: PLC0415

    config = load(path)
    spec = _rollout(config, options)
    of = _plan(config, spec, options)
    traffic = _with_given(_traffic(config, spec, of, options), of, options)
    found = forecast(of, traffic)
    warnings = warnings_of(of, traffic, found)
    costs = _grading_costs(config, found)
    if as_json:
        known = {"rollout": spec.name if spec else None, "warnings": list(warnings)}
        print_json(msgspec.to_builtins(found) | known | {"grading_usd": costs})
    else:
        print_forecast(found, warnings, traffic, rollout=spec, grading_usd=costs)


def _grading_costs(config: LoadedConfig, found: Forecast) -> dict[str, dict[str, float | None]]:
    """Return, by rubric, what judges and reviewers cost until full; None where it is not known."""
    from llm_canary.providers.price_list import lookup  # noqa: PLC0415

    costs: dict[str, dict[str, float | None]] = {}
    hourly = config.file.judging.reviewer_usd_per_hour
    for each in found.grading:
        judge: float | None = None if each.judge else 0.0
        if each.judge is not None:
            provider, _, model = each.judge.rpartition("/")
            price = lookup(model, provider or None)
            if price is not None:
                tokens = price.input * JUDGE_TOKENS[0] + price.output * JUDGE_TOKENS[1]
                judge = each.judged * tokens / _NANO
        people = None if hourly is None else each.reviews * REVIEW_S / 3_600.0 * hourly
        costs[each.rubric] = {"judge": judge, "reviewers": people}
    return costs


def _rollout(config: LoadedConfig, options: Mapping[str, Any]) -> RolloutSpec | None:
    name, plan_name = options["rollout"], options["plan_name"]
    if name is not None and plan_name is not None:
        raise click.UsageError("--rollout and --plan exclude each other: a rollout has its plan")
    if name is None and plan_name is None and len(config.rollouts) == 1:
        return next(iter(config.rollouts.values()))
    if name is None:
        return None
    if name not in config.rollouts:
        raise click.UsageError(_unknown("rollout", name, config.rollouts))
    return config.rollouts[name]


def _plan(config: LoadedConfig, spec: RolloutSpec | None, options: Mapping[str, Any]) -> Plan:
    if spec is not None:
        return spec.plan
    name = options["plan_name"]
    if name is None:
        raise click.UsageError(
            f"say which: --rollout ({', '.join(config.rollouts) or 'there is none'}) "
            f"or --plan ({', '.join(config.plans)})"
        )
    if name not in config.plans:
        raise click.UsageError(_unknown("plan", name, config.plans))
    return config.plans[name]


def _unknown(kind: str, name: str, known: Mapping[str, object]) -> str:
    return f"there is no {kind} {name!r}; the file has {', '.join(known) or 'none'}"


def _traffic(
    config: LoadedConfig, spec: RolloutSpec | None, of: Plan, options: Mapping[str, Any]
) -> Traffic:
    from llm_canary.decision.traffic import Number, Traffic  # noqa: PLC0415

    if options["daily"] is not None:
        return Traffic(daily=Number(options["daily"]))

    from llm_canary.clock import SystemClock  # noqa: PLC0415
    from llm_canary.config.settings import Settings  # noqa: PLC0415
    from llm_canary.errors import StorageError  # noqa: PLC0415
    from llm_canary.rollout.traffic import learn_traffic  # noqa: PLC0415
    from llm_canary.storage.engine import make_engine  # noqa: PLC0415

    route = spec.route if spec is not None else _route(config, options)
    price = _canary_price(config, spec) if spec is not None else None
    engine = make_engine(Settings().database_url.get_secret_value())
    try:
        _check_database(engine)
        return learn_traffic(engine, SystemClock(), of, route, days=options["days"], canary=price)
    except StorageError as error:
        raise StorageError(f"{error.message}; without recorded traffic give --daily") from error
    finally:
        engine.dispose()


def _check_database(engine: Engine) -> None:
    """Refuse a database that is not there: to connect to a file would make it."""
    from llm_canary.errors import StorageError  # noqa: PLC0415
    from llm_canary.storage.dialect import is_sqlite  # noqa: PLC0415
    from llm_canary.storage.migrate import check  # noqa: PLC0415

    if is_sqlite(engine) and not Path(engine.url.database or "").is_file():
        raise StorageError(f"there is no database {engine.url.database}")
    check(engine)


def _route(config: LoadedConfig, options: Mapping[str, Any]) -> str:
    name: str | None = options["route"]
    if name is None and len(config.routes) == 1:
        return next(iter(config.routes))
    if name is None:
        raise click.UsageError(f"say whose traffic with --route ({', '.join(config.routes)})")
    if name not in config.routes:
        raise click.UsageError(_unknown("route", name, config.routes))
    return name


def _canary_price(config: LoadedConfig, spec: RolloutSpec) -> Price | None:
    from llm_canary.providers.price_list import lookup  # noqa: PLC0415
    from llm_canary.rollout.publish import priced  # noqa: PLC0415

    return priced(spec.canary, config.upstreams, lookup).price


def _with_given(traffic: Traffic, of: Plan, options: Mapping[str, Any]) -> Traffic:
    """Return the traffic with what the options say; they win over what is recorded."""
    import msgspec  # noqa: PLC0415

    from llm_canary.decision.traffic import Number  # noqa: PLC0415

    given: dict[str, Any] = {
        field: Number(options[field])
        for field in ("per_unit", "returning", "icc")
        if options[field] is not None
    }
    if "per_unit" in given:
        given["spread"] = None
    if "per_unit" in given or "returning" in given:
        given["repeat"] = None
    for field in ("cost", "canary_cost"):
        if options[field] is not None:
            given[field] = Number(options[field] * _NANO)
    return msgspec.structs.replace(traffic, metrics=_metrics(traffic, of, options), **given)


def _metrics(traffic: Traffic, of: Plan, options: Mapping[str, Any]) -> dict[str, MetricTraffic]:
    import msgspec  # noqa: PLC0415

    from llm_canary.decision.rules import kinds, specs_of  # noqa: PLC0415
    from llm_canary.decision.traffic import MetricTraffic, Number  # noqa: PLC0415
    from llm_canary.metrics.spec import Scale, Unit  # noqa: PLC0415

    specs, found = specs_of(of), dict(traffic.metrics)

    def change(name: str, **fields: Any) -> None:  # noqa: ANN401 - fields of MetricTraffic
        if name not in kinds(of):
            raise click.UsageError(_unknown("gate about", name, kinds(of)))
        found[name] = msgspec.structs.replace(found.get(name, MetricTraffic()), **fields)

    if options["rated"] is not None and "thumbs_up_rate" in specs:
        change("thumbs_up_rate", observed=Number(options["rated"]))
    for name, part in options["observed"]:
        change(name, observed=Number(part))
    for name, rate in options["rates"]:
        if name in specs and specs[name].scale is not Scale.RATE:
            raise click.UsageError(f"{name} is no rate; give its --mean {name}=MEAN:SD")
        change(name, rate=Number(rate), values=())
    for name, numbers in options["means"]:
        if name in specs and specs[name].scale is Scale.RATE:
            raise click.UsageError(f"{name} is a rate; give --rate {name}=1%")
        unit = _NANO if name in specs and specs[name].unit is Unit.NANOUSD else 1.0
        mean, *sd = (Number(number * unit) for number in numbers)
        change(name, mean=mean, sd=sd[0] if sd else None, values=(), denominators=())
    return found
