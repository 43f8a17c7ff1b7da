"""The demonstration's project: a `canary.yaml` with its prompts, as a user would write them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ORDERS, SUPPORT, FACTS = "order-extractor", "support-bot", "facts-bot"  # the routes
ORDERS_ROLLOUT, SUPPORT_ROLLOUT, FACTS_ROLLOUT = "orders-v2", "support-v13", "facts-v2"
RUBRIC, JUDGED_RUBRIC = "facts", "facts_judged"
# Shares, and floors of canary users: as many as four answers per second allow in three minutes. The
# built-in plan asks for 200 at each share.
STAGES = {"initial": ("10%", 30), "expanded": ("25%", 40), "broad": ("50%", 40)}

_ORDER_PROMPT = "Extract the order. Reply with one line, like {quantity: 4}\n"
_LONG_PROMPT = (
    "You are the support assistant of Parcel Point, a shop for household goods. "
    "Customers write to you about their parcels. Always be polite, use plain words, and never "
    "argue with a customer. Never ask for a password or a card number. Do not promise anything "
    "that is not written here. What you know: the delivery takes 3 days. A return is free for "
    "30 days. The warranty is 2 years. Answer with one short sentence.\n"
)
_SHORT_PROMPT = (
    "Parcel Point support. The delivery takes 3 days. A return is free for 30 days. "
    "The warranty is 2 years. Answer with one short sentence.\n"
)
_NO_FACTS_PROMPT = (
    "Parcel Point support. Customers write about their parcels. Be polite and friendly to them "
    "all. Answer with one short sentence.\n"
)
# What an answer must say. A program decides it.
_RUBRIC = """\
schema: llm_canary.rubric/v1
id: facts
version: 1
criteria:
  - id: says_how_long
    kind: check
    weight: 3
    check: {type: regex, pattern: '(?i)\\b(3|three|2|two|30|thirty)[ -]+(days?|years?)'}
  - id: short
    kind: check
    weight: 1
    check: {type: length, unit: words, min: 1, max: 40}
"""
# The same question to a judge, where one is configured: shown beside it, and decides nothing,
# because no people have graded yet.
_JUDGED_RUBRIC = """\
schema: llm_canary.rubric/v1
id: facts_judged
version: 1
criteria:
  - id: says_how_long
    kind: binary
    requirement: "The answer says how many days or years, as it was asked."
    anchors: {met: "It names a number of days or of years.", unmet: "It names none."}
"""
_SECONDARY = f"\n    gates: {{rubric:{JUDGED_RUBRIC}: {{kind: secondary}}}}"
PROMPTS = {
    "orders/v1": _ORDER_PROMPT,
    "support/v12": _LONG_PROMPT,
    "support/v13": _SHORT_PROMPT,
    "facts/v1": _SHORT_PROMPT,
    "facts/v2": _NO_FACTS_PROMPT,
}
_JSON_ORDER = {
    "type": "json_schema",
    "json_schema": {
        "name": "order",
        "schema": {
            "type": "object",
            "properties": {"quantity": {"type": "integer", "minimum": 1, "maximum": 99}},
            "required": ["quantity"],
            "additionalProperties": False,
        },
    },
}
# Both arms of a route may answer equally long, so that only the difference under test is compared.
_ORDER_PARAMS: dict[str, Any] = {"max_tokens": 32, "temperature": 0.2}
_SUPPORT_PARAMS: dict[str, Any] = {"max_tokens": 20, "temperature": 0.2}


@dataclass(frozen=True, slots=True)
class ModelServer:
    """The model behind both arms."""

    base_url: str
    model: str
    api_key: str | None = None  # a reference such as ${OPENAI_API_KEY}


@dataclass(frozen=True, slots=True)
class Judge:
    """The model that grades the answers of the third act as well."""

    model: str  # as LiteLLM names it
    api_base: str | None = None
    api_key: str | None = None  # a reference such as ${OPENAI_API_KEY}

    def yaml(self) -> str:
        """Return the rubric's `judges`."""
        known = {"backend": "chat", "model": self.model}
        known |= {} if self.api_base is None else {"api_base": self.api_base}
        known |= {} if self.api_key is None else {"api_key": self.api_key}
        return f"judges:\n  primary: {json.dumps(known)}\n"


@dataclass(frozen=True, slots=True)
class Arms:
    """Control and canary of one route."""

    control: Mapping[str, Any]
    canary: Mapping[str, Any]


def arms(model: str, *, swap: bool, identical: bool) -> dict[str, Arms]:
    """Return the two arms of each route; `swap` exchanges them, `identical` repeats the control."""
    base: dict[str, Any] = {"upstream": "model", "model": model}
    with_json = base | {
        "prompt": "orders/v1",
        "params": _ORDER_PARAMS | {"response_format": _JSON_ORDER},
    }
    without_json = base | {"prompt": "orders/v1", "params": _ORDER_PARAMS}
    long = base | {"prompt": "support/v12", "params": _SUPPORT_PARAMS}
    short = base | {"prompt": "support/v13", "params": _SUPPORT_PARAMS}
    knows = base | {"prompt": "facts/v1", "params": _SUPPORT_PARAMS}
    knows_not = base | {"prompt": "facts/v2", "params": _SUPPORT_PARAMS}
    pairs = {
        ORDERS: (with_json, without_json),
        SUPPORT: (long, short),
        FACTS: (knows, knows_not),
    }
    if swap:
        pairs = {route: (canary, control) for route, (control, canary) in pairs.items()}
    if identical:
        pairs = {route: (control, control) for route, (control, _) in pairs.items()}
    return {route: Arms(*pair) for route, pair in pairs.items()}


def write_project(
    directory: Path,
    model_server: ModelServer,
    both: Mapping[str, Arms],
    judge: Judge | None = None,
) -> Path:
    """Write `canary.yaml`, prompts and rubrics into `directory`; return the path of the file."""
    for name, text in PROMPTS.items():
        path = directory / "prompts" / f"{name}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    rubrics = {RUBRIC: _RUBRIC}
    if judge is not None:
        rubrics[JUDGED_RUBRIC] = _JUDGED_RUBRIC + judge.yaml()
    (directory / "rubrics").mkdir(exist_ok=True)
    for name, text in rubrics.items():
        (directory / "rubrics" / f"{name}.yaml").write_text(text, encoding="utf-8")
    path = directory / "canary.yaml"
    path.write_text(canary_yaml(model_server, both, tuple(rubrics)), encoding="utf-8")
    return path


def canary_yaml(
    model_server: ModelServer, both: Mapping[str, Arms], rubrics: Sequence[str] = (RUBRIC,)
) -> str:
    """Return the configuration; values are written as JSON, which is YAML."""
    key = f"\n    api_key: {json.dumps(model_server.api_key)}" if model_server.api_key else ""
    stages = "\n".join(
        f"      - {{name: {name}, share: {share}, min: 5s, max: 20m, min_units: {units}}}"
        for name, (share, units) in STAGES.items()
    )
    return f"""\
version: 1
upstreams:
  model:
    kind: openai
    base_url: {json.dumps(model_server.base_url)}{key}
    price: {{input_per_million: 2.50, output_per_million: 10}} # made up, so that answers cost
routes:
  {ORDERS}:
    control: {json.dumps(both[ORDERS].control)}
    content: {{store: full}}
  {SUPPORT}:
    control: {json.dumps(both[SUPPORT].control)}
    content: {{store: full}}
  {FACTS}:
    control: {json.dumps(both[FACTS].control)}
    content: {{store: full}}
    rubrics: [{", ".join(rubrics)}]
rollouts:
  {ORDERS_ROLLOUT}:
    route: {ORDERS}
    canary: {json.dumps(both[ORDERS].canary)}
    plan: minutes
  {SUPPORT_ROLLOUT}:
    route: {SUPPORT}
    canary: {json.dumps(both[SUPPORT].canary)}
    plan: minutes
  {FACTS_ROLLOUT}:
    route: {FACTS}
    canary: {json.dumps(both[FACTS].canary)}
    plan: minutes{_SECONDARY if JUDGED_RUBRIC in rubrics else ""}
judging: {{window: 3s, samples_per_day: 1000000}} # of a compressed day, all
plans:
  minutes: # days pressed into minutes: low floors and wide margins; not for production
    full_cycle: 0s
    warmup: 0s
    settle: 0s
    stages:
{stages}
      - {{name: full, holdback: 0%}}
      - {{name: standby, for: 5s}}
    gates:
      invalid_output: {{kind: guardrail, margin: 15pp}}
      error_rate: {{kind: guardrail, margin: 15pp}}
      latency_mean: {{kind: guardrail, margin: 100%}}
      cost_per_request: {{kind: goal, margin: 25%}}
      thumbs_up_rate: {{kind: goal, margin: 25pp}}
      rubric: {{kind: goal, margin: 0.25}} # of routes that have one
metrics:
  thumbs_up_rate: {{window: 3s}}
"""
