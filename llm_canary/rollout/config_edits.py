"""What an edited configuration file may not change: what users are served, what is compared."""

from __future__ import annotations

from sqlalchemy.engine import Engine

from llm_canary.config.load import LoadedConfig
from llm_canary.errors import ConfigError
from llm_canary.rollout.preflight import variant_identity
from llm_canary.routing.table import Variant
from llm_canary.storage.engine import read_session
from llm_canary.storage.repositories.prompts import served_prompts
from llm_canary.storage.repositories.rollouts import RolloutRecord, RolloutRepository

_SHOWN_HASH = 12  # characters


def refuse_edits(engine: Engine, config: LoadedConfig) -> None:
    """Raise ConfigError when `config` edits what users are served or a rollout compares."""
    with read_session(engine) as session:
        repository = RolloutRepository(session)
        active, controls = repository.active(), repository.controls()
        served = served_prompts(session)
    problems = [
        problem
        for record in active
        for problem in _edits(record, config, is_seed=record.route not in controls)
    ]
    problems += [
        f"prompt {name!r} was changed after it was first served on "
        f"{served[name].first_served_at:%Y-%m-%d %H:%M} UTC (its text is now "
        f"{changed[:_SHOWN_HASH]}, not {served[name].content_hash[:_SHOWN_HASH]}); "
        "take the change back and write a new version instead"
        for name, changed in sorted(config.prompt_hashes.items())
        if name in served and served[name].content_hash != changed
    ]
    if problems:
        raise ConfigError("; ".join(problems), problems=tuple(problems))


def is_same(one: Variant, other: Variant) -> bool:
    """Say whether two variants answer alike; prices may differ."""
    return variant_identity(one) == variant_identity(other)


def _edits(record: RolloutRecord, config: LoadedConfig, *, is_seed: bool) -> list[str]:
    where = f"rollout {record.name!r} is {record.state.value}"
    what = "; end the rollout first, or undo the edit and start a new rollout"
    route, spec = config.routes.get(record.route), config.rollouts.get(record.name)
    if route is None:
        return [f"{where} and its route {record.route!r} is gone from the file{what}"]
    found = []
    if spec is not None and not is_same(spec.canary, record.spec.canary):
        found.append(f"{where} and its canary was edited{what}")
    if is_seed and record.control is not None and not is_same(route.control, record.control):
        found.append(f"{where} and the control of route {record.route!r} was edited{what}")
    variants = [record.spec.canary, *([record.control] if record.control else [])]
    gone = sorted({each.upstream for each in variants} - config.upstreams.keys())
    return [
        *found,
        *(f"{where} and its upstream {name!r} is gone from the file{what}" for name in gone),
    ]
