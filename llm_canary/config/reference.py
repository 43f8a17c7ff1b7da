"""Writes the reference tables of docs/configuration.md from the models.

`python -m llm_canary.config.reference docs/configuration.md` renews the text between the markers.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pydantic import SecretStr

from llm_canary.config.file import CanaryFile
from llm_canary.config.settings import Settings
from llm_canary.documents.reference import renewed, sections
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
    "RedactEntry": "`routes.NAME.content.redact`",
    "RolloutEntry": "`rollouts.NAME`",
    "RangeEntry": "`rollouts.NAME.eligible.SEGMENT`",
    "GateEntry": "`….gates.METRIC`",
    "PlanEntry": "`plans.NAME`",
    "StageEntry": "`plans.NAME.stages[]`",
    "AlphaEntry": "`plans.NAME.alpha`",
    "KeyEntry": "`keys.NAME`",
    "UseEntry": "`keys.NAME.limits`, `routes.NAME.limits`",
    "FeedbackEntry": "`feedback`",
    "WebEntry": "`web`",
    "OidcEntry": "`web.oidc`",
    "MetricEntry": "`metrics.NAME`",
    "JudgingEntry": "`judging`",
    "LimitsEntry": "`limits`",
    "CheckEntry": "`checks.NAME`",
}
_UNITS = {
    Unit.RATE: "rate, 0-1",
    Unit.MILLISECONDS: "milliseconds",
    Unit.NANOUSD: "nano-dollars",
    Unit.TOKENS: "tokens",
}


def reference() -> str:
    """Return the tables of the file and of the environment as Markdown."""
    parts = sections(CanaryFile, _PLACES)
    return "\n\n".join([*parts, _metrics(), _environment()])


def renew(page: str) -> str:
    """Return `page` with the text between the markers renewed."""
    return renewed(page, BEGIN, END, reference())


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
    if isinstance(default, SecretStr):  # what is written in the code is no secret
        default = default.get_secret_value()
    return "" if default is None else f"`{default}`"


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.write_text(renew(target.read_text(encoding="utf-8")), encoding="utf-8")
