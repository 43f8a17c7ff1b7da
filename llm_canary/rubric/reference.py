"""Writes the reference tables of docs/rubrics.md from the models.

`python -m llm_canary.rubric.reference docs/rubrics.md` renews the text between the markers.
"""

from __future__ import annotations

import sys
from pathlib import Path

from llm_canary.documents.reference import renewed, sections
from llm_canary.rubric.schema import Rubric

BEGIN = "<!-- reference: begin (generated; see llm_canary/rubric/reference.py) -->"
END = "<!-- reference: end -->"
_PLACES = {
    "Rubric": "The file",
    "InputsEntry": "`inputs`",
    "ScoringEntry": "`scoring`",
    "AppliesTo": "`applies_to`",
    "BinaryCriterion": "`criteria[]`, kind `binary`",
    "BinaryAnchors": "`criteria[].anchors`",
    "OrdinalCriterion": "`criteria[]`, kind `ordinal`",
    "LevelEntry": "`criteria[].levels[]`",
    "ChoiceCriterion": "`criteria[]`, kind `choice`",
    "OptionEntry": "`criteria[].options[]`",
    "CheckCriterion": "`criteria[]`, kind `check`",
    "JsonSchemaRule": "`check`, type `json_schema`",
    "RegexRule": "`check`, type `regex`",
    "ContainsRule": "`check`, type `contains`",
    "LengthRule": "`check`, type `length`",
    "LanguageRule": "`check`, type `language`",
    "ToolCallRule": "`check`, type `tool_call`",
    "SimilarityRule": "`check`, type `similarity`",
    "PythonRule": "`check`, type `python`",
    "ExampleEntry": "`examples[]`",
    "PairwiseEntry": "`pairwise`",
    "JudgesEntry": "`judges`",
    "JudgeEntry": "`judges.primary`, `judges.escalate`, `judges.panel.members[]`",
    "EscalateWhen": "`judges.escalate.when`",
    "PanelEntry": "`judges.panel`",
    "TrustEntry": "`trust`",
}


def renew(page: str) -> str:
    """Return `page` with the text between the markers renewed."""
    return renewed(page, BEGIN, END, "\n\n".join(sections(Rubric, _PLACES)))


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.write_text(renew(target.read_text(encoding="utf-8")), encoding="utf-8")
