"""Describes the answers, which are msgspec types, in the document that FastAPI writes."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import FastAPI, Response

from llm_canary.api.schemas import ErrorBody

_REF = "#/components/schemas/{name}"
_JSON = "application/json"
# By status and not as a default, so that an answer that nobody meant is not what the document says.
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody, "description": description}
    for status, description in (
        (400, "Impossible as it is asked"),
        (401, "No key, or a wrong one"),
        (403, "The key's role may not"),
        (404, "There is no such thing"),
        (405, "Another method"),
        (409, "The present state forbids it"),
        (413, "Too large a body"),
        (422, "A body or parameter of another form"),
        (500, "A fault of the server"),
        (503, "The database cannot be used"),
    )
}


def answer(value: object) -> Response:
    """Return `value` as JSON; floats keep every bit, and what is no number becomes null."""
    return Response(msgspec.json.encode(value), media_type=_JSON)


def describe(app: FastAPI, answers: dict[str, Any]) -> None:
    """Document the answer of each operation (by its name) instead of the framework's own errors."""
    schemas, components = msgspec.json.schema_components(answers.values(), ref_template=_REF)
    by_operation = dict(zip(answers, schemas, strict=True))
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is not None:
            return app.openapi_schema
        document = generate()
        known = document.setdefault("components", {}).setdefault("schemas", {})
        known.update(components)
        known.pop("HTTPValidationError", None)
        known.pop("ValidationError", None)
        for path in document["paths"].values():
            for operation in path.values():
                schema = by_operation[operation["operationId"]]
                operation["responses"]["200"] = {
                    "description": "Success",
                    "content": {_JSON: {"schema": schema}},
                }
        return document

    app.openapi = openapi  # type: ignore[method-assign]
