"""The configuration as it is in force: the file with every default, and with what SQL has changed.

Secrets are in it as references only. Parameters that are called like a credential are hidden.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML

from llm_canary.config.load import LoadedConfig
from llm_canary.config.secrets import is_reference
from llm_canary.routing.table import Variant

HIDDEN = "(hidden)"
_SECRET = re.compile(r"key|token|secret|password|authorization|credential|cookie", re.IGNORECASE)
_NO_SECRET = re.compile(r"max_(\w+_)?tokens|min_tokens|logit_bias|prompt_cache_key")


def effective(config: LoadedConfig, controls: Mapping[str, Variant]) -> dict[str, Any]:
    """Return the file's keys with defaults; `controls` are those that rollouts have changed."""
    plain: dict[str, Any] = config.file.model_dump(mode="json", by_alias=True, exclude_none=True)
    for name, control in controls.items():
        if name in plain["routes"]:
            plain["routes"][name]["control"] = _variant(control)
    for owner in (*plain["routes"].values(), *plain["rollouts"].values()):
        for role in ("control", "canary"):
            if role in owner:
                owner[role]["params"] = _hidden(owner[role].get("params", {}))
    return plain


def as_yaml(plain: Mapping[str, Any]) -> str:
    """Return the configuration as YAML, in the order of the file's form."""
    out = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.width = 100
    yaml.dump(dict(plain), out)
    return out.getvalue()


def _variant(variant: Variant) -> dict[str, Any]:
    facts = {"upstream": variant.upstream, "model": variant.model, "prompt": variant.prompt}
    return {name: value for name, value in facts.items() if value} | {"params": variant.params}


def _hidden(value: Any) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, list):
        return [_hidden(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        name: HIDDEN if _is_secret(str(name), each) else _hidden(each)
        for name, each in value.items()
    }


def _is_secret(name: str, value: Any) -> bool:  # noqa: ANN401 - JSON
    if not isinstance(value, str) or is_reference(value):
        return False
    return _SECRET.search(name) is not None and _NO_SECRET.fullmatch(name) is None
