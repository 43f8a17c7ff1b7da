"""Writes the reference tables of docs/configuration.md from the models.

`python -m llm_canary.config.reference docs/configuration.md` renews the text between the markers.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from llm_canary.config.file import CanaryFile
from llm_canary.config.settings import Settings
from llm_canary.metrics.builtin import BUILT_IN
from llm_canary.metrics.spec import Unit

BEGIN = "<!-- reference: begin (generated; see llm_canary/config/reference.py) -->"
END = "<!-- reference: end -->"
# Where each model stands in the file; the order of the page.
_PLACES = {
    "CanaryFile": "The file",
    "OpenAIUpstream": "`upstreams.NAME`, kind `openai`",
    "AnthropicUpstream": "`upstreams.NAME`, kind `anthropic`",
    "LiteLLMUpstream": "`upstreams.NAME`, kind `litellm`",
    "PriceEntry": "`upstreams.NAME.price`",
    "TiersEntry": "`upstreams.NAME.price.tiers`",
    "TierPriceEntry": "`upstreams.NAME.price.tiers.TIER`",
    "TimeoutsEntry": "`upstreams.NAME.timeouts`",
    "BreakerEntry": "`upstreams.NAME.breaker`",
    "AzureEntry": "`upstreams.NAME.azure`",
    "RouteEntry": "`routes.NAME`",
    "VariantEntry": "`routes.NAME.control`, `rollouts.NAME.canary`",
    "ContentEntry": "`routes.NAME.content`",
    "RolloutEntry": "`rollouts.NAME`",
    "RangeEntry": "`rollouts.NAME.eligible.SEGMENT`",
    "GateEntry": "`….gates.METRIC`",
    "PlanEntry": "`plans.NAME`",
    "StageEntry": "`plans.NAME.stages[]`",
    "AlphaEntry": "`plans.NAME.alpha`",
    "KeyEntry": "`keys.NAME`",
    "MetricEntry": "`metrics.NAME`",
    "LimitsEntry": "`limits`",
    "CheckEntry": "`checks.NAME`",
}
_CHOICES = frozenset({"Anonymous", "ContentStore", "MetricKind", "Missing", "OnDisconnect"})
_UNITS = {
    Unit.RATE: "rate, 0-1",
    Unit.MILLISECONDS: "milliseconds",
    Unit.NANOUSD: "nano-dollars",
    Unit.TOKENS: "tokens",
}
_TYPES = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true, false"}


def reference() -> str:
    """Return the tables of the file and of the environment as Markdown."""
    schema = CanaryFile.model_json_schema(by_alias=True)
    models = {**schema["$defs"], "CanaryFile": schema}
    missing = {name for name, model in models.items() if "properties" in model} - _PLACES.keys()
    if missing:
        raise ValueError(f"{sorted(missing)} have no place in the reference; add them to _PLACES")
    parts = [_section(title, models[name]) for name, title in _PLACES.items()]
    return "\n\n".join([*parts, _metrics(), _environment()])


def renew(page: str) -> str:
    """Return `page` with the text between the markers renewed."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page lacks the markers {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{reference()}\n\n{END}{after}"


def _section(title: str, model: dict[str, Any]) -> str:
    required = model.get("required", [])
    fields = sorted(model["properties"].items(), key=lambda item: item[0] not in required)
    rows = [
        f"| `{name}` | {_kind(field)} | {_default(field, is_required=name in required)} "
        f"| {field.get('description', '')} |"
        for name, field in fields
    ]
    head = ["| key | kind | default | meaning |", "|---|---|---|---|"]
    return "\n".join([f"### {title}", "", model["description"], "", *head, *rows])


def _kind(field: dict[str, Any]) -> str:
    if "$ref" in field:
        return "choice" if _is_choice(field["$ref"]) else "mapping"
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return "choice"
    if alternatives := field.get("anyOf", field.get("oneOf")):
        kinds = [_kind(one) for one in alternatives if one.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if field.get("type") == "array":
        return f"list of {_kind(field['items'])}"
    if field.get("type") == "object":
        inner = field.get("additionalProperties")
        return f"name → {_kind(inner)}" if isinstance(inner, dict) else "mapping"
    return str(field.get("format") or _TYPES[field["type"]])


def _is_choice(reference_: str) -> bool:
    return reference_.rpartition("/")[2] in _CHOICES


def _default(field: dict[str, Any], *, is_required: bool) -> str:
    if is_required:
        return "**required**"
    value = field.get("default")
    if value in (None, [], {}):
        return ""
    if field.get("format") == "duration":
        return f"`{value:g}s`"
    if isinstance(value, list):
        return ", ".join(f"`{item}`" for item in value)
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _metrics() -> str:
    names = {
        unit: [f"`{name}`" for name, spec in BUILT_IN.items() if spec.unit is unit] for unit in Unit
    }
    rows = [f"| {', '.join(own)} | {_UNITS[unit]} |" for unit, own in names.items() if own]
    head = ["| metric | unit of its values |", "|---|---|"]
    intro = "What a gate can be about, beside `rubric`, `rubric:NAME`, `net_benefit` and your own."
    return "\n".join(["### Metrics", "", intro, "", *head, *rows])


def _environment() -> str:
    rows = [
        f"| `LLM_CANARY_{name.upper()}` | {_plain(field.default)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    head = ["| variable | default | meaning |", "|---|---|---|"]
    return "\n".join(["### Environment", "", "What the process itself is told.", "", *head, *rows])


def _plain(default: object) -> str:
    return "" if default is None else f"`{default}`"


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.write_text(renew(target.read_text(encoding="utf-8")), encoding="utf-8")
