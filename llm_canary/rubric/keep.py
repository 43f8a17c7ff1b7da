"""A rubric as one text that needs no file: kept with what is graded by it, and read again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

from llm_canary.documents.document import Document
from llm_canary.documents.problems import Problems
from llm_canary.documents.validate import validate
from llm_canary.errors import DataError
from llm_canary.rubric.load import FORM, LoadedRubric


class Kept(NamedTuple):
    """The text with its SHA-256, which also covers the judges: they grade by it."""

    id: str
    text: str


def keep(rubric: LoadedRubric) -> Kept:
    """Return the text from which `restore` makes the rubric again, on any machine."""
    facts = {
        "data": rubric.lines.data,
        "schemas": rubric.schemas,
        "hash": rubric.content_hash,
        "path": None if rubric.path is None else str(rubric.path.absolute()),
    }
    text = json.dumps(facts, sort_keys=True, ensure_ascii=False)
    named = json.dumps({**facts, "path": None}, sort_keys=True, ensure_ascii=False)
    return Kept(hashlib.sha256(named.encode()).hexdigest(), text)


def restore(text: str) -> LoadedRubric:
    """Return the rubric of a kept text; raise DataError when this version cannot read it."""
    try:
        facts = json.loads(text)
        document = Document(facts["data"])
        problems = Problems("the kept rubric")
        rubric = validate(document, problems, FORM)
        path = None if facts["path"] is None else Path(facts["path"])
        if problems:
            raise problems.error()
        return LoadedRubric(rubric, path, facts["hash"], document, facts["schemas"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"the kept rubric cannot be read: {type(error).__name__}") from error
