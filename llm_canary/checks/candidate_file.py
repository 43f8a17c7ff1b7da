"""A candidate in a file of its own: a model at a server, for what is not in canary.yaml yet."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from llm_canary.addresses import Network
from llm_canary.checks.live_candidate import Endpoint
from llm_canary.config.secrets import resolve
from llm_canary.config.values import SecretReference
from llm_canary.documents.document import Hints, read_document
from llm_canary.documents.entry import Entry
from llm_canary.documents.problems import Problems
from llm_canary.documents.validate import Form, validate
from llm_canary.judging.cache import Cache
from llm_canary.providers.model_calls import Target


class CandidateFile(Entry):
    """The whole file."""

    base_url: str = Field(min_length=1, description="an OpenAI-compatible server, with its /v1")
    model: str = Field(min_length=1, description="the model's name there")
    api_key: SecretReference | None = Field(default=None, description="a reference to the key")
    prompt: str | None = Field(default=None, description="file of the system message, beside this")
    network: Annotated[Network, Field(strict=False)] = Field(
        default=Network.PUBLIC,
        description="`private`: the name in its URL may lead to this machine or a private network",
    )
    params: dict[str, Any] = Field(default={}, description="fields of the body")


_FORM = Form(CandidateFile, stand_ins={"base_url": "-", "model": "-"})
_HINTS = Hints(begins="base_url: http://...")


def read_candidate(path: Path, cache: Cache | None) -> Endpoint:
    """Return the candidate of a file; raise ConfigError with every problem at once."""
    problems = Problems(path.name)
    document = read_document(path, problems, _HINTS)
    problems.line_of = document.line_of
    file = validate(document, problems, _FORM)
    system = _prompt(path.parent / file.prompt, problems) if file.prompt else None
    if problems:
        raise problems.error()
    key = resolve(file.api_key) if file.api_key else None
    return Endpoint(
        Target(file.model, file.base_url, key, network=file.network),
        params=file.params,
        system=(system,) if system else (),
        cache=cache,
    )


def _prompt(path: Path, problems: Problems) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        problems.add(("prompt",), f"{path.name} cannot be read", expected="a file of UTF-8 text")
        return None
