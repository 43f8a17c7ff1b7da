"""Reads canary.yaml with everything it refers to, or says everything that is wrong with it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm_canary.config import references
from llm_canary.config.file import CanaryFile
from llm_canary.config.rollout_spec import RolloutSpec
from llm_canary.decision.plan import Plan
from llm_canary.documents.document import Document, Hints, read_document
from llm_canary.documents.problems import Problems
from llm_canary.documents.validate import Form, validate
from llm_canary.routing.table import KeyRef, Route, Upstream
from llm_canary.rubric.keep import keep
from llm_canary.rubric.load import LoadedRubric

_HINTS = Hints(
    begins="version: 1",
    absent="; `llm-canary init` writes a starter file",
    too_large="move prompts into files under prompts/",
)
_FORM = Form(
    CanaryFile,
    stand_ins={
        "api_version": "2024-10-21",
        "base_url": "http://localhost",
        "client_id": "-",
        "client_secret": "file:/-",
        "dataset": "-",
        "input_per_million": 0.0,
        "issuer": "https://localhost",
        "key": "file:/-",
        "model": "-",
        "output_per_million": 0.0,
        "provider": "-",
        "route": "unknown",
        "rubric": "unknown",
        "upstream": "unknown",
        "version": 1,
        "window": "1h",
    },
)


@dataclass(frozen=True)
class LoadedConfig:
    """A configuration that is right in itself; it holds references to secrets, never a secret."""

    file: CanaryFile
    path: Path
    hash: str  # SHA-256 of the canonical form with the prompts' contents
    routes: dict[str, Route]  # without splits: these come from the effective state
    upstreams: dict[str, Upstream]
    keys: tuple[KeyRef, ...]
    plans: dict[str, Plan]
    prompt_hashes: dict[str, str]  # of the text of each version that is referred to
    rollouts: dict[str, RolloutSpec]
    rubrics: dict[str, LoadedRubric]  # that routes and checks name
    default_upstream: str | None
    warnings: tuple[str, ...] = ()  # what works differently than one may hope


def load(path: Path) -> LoadedConfig:
    """Return the configuration of the file `path`; raise ConfigError with every problem at once."""
    path = Path(path)
    document, file, problems = _read(path)
    resolved = references.resolve_all(
        file, path.parent, references.names_of(document.data), problems
    )
    if problems:
        raise problems.error()
    return LoadedConfig(
        file=file,
        path=path,
        hash=_hash(file, resolved),
        routes=resolved.routes,
        upstreams=resolved.upstreams,
        keys=resolved.keys,
        plans=resolved.plans,
        prompt_hashes=resolved.prompt_hashes,
        rollouts=resolved.rollouts,
        rubrics=resolved.rubrics,
        default_upstream=file.default_upstream,
        warnings=tuple(resolved.warnings),
    )


def read_file(path: Path) -> CanaryFile:
    """Return what the file says, without what it refers to: secrets need not be at hand."""
    _, file, problems = _read(Path(path))
    if problems:
        raise problems.error()
    return file


def _read(path: Path) -> tuple[Document, CanaryFile, Problems]:
    problems = Problems(path.name)
    document = read_document(path, problems, _HINTS)
    problems.line_of = document.line_of
    return document, validate(document, problems, _FORM), problems


def _hash(file: CanaryFile, resolved: references.Resolved) -> str:
    """Return the hash that every request row carries: one meaning, one hash, however written."""
    meaning: Mapping[str, Any] = {
        "file": file.model_dump(mode="json", by_alias=True),
        "prompts": resolved.prompt_hashes,
        "rubrics": {name: keep(rubric).id for name, rubric in resolved.rubrics.items()},
        "base_urls": {name: upstream.base_url for name, upstream in resolved.upstreams.items()},
    }
    canonical = json.dumps(meaning, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()
