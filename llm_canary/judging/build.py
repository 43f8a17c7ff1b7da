"""From what a rubric or a user says to a judge that can be asked."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from llm_canary.config.secrets import resolve
from llm_canary.errors import ConfigError
from llm_canary.judging.judgement import Judge
from llm_canary.judging.labels import LabelSet
from llm_canary.judging.models import ChatJudge, DecisionJudge
from llm_canary.judging.replay import ReplayJudge, read_recording, recorded_beside_labels
from llm_canary.rubric.lint import family
from llm_canary.rubric.load import LoadedRubric
from llm_canary.rubric.schema import JudgeEntry

FORMS = (
    "primary, escalate, replay:FILE, recorded:NAME (of the labels), chat:MODEL or decision:MODEL"
)


class Judges(NamedTuple):
    """Who grades; `second` is asked where the first is in doubt."""

    first: Judge | None  # None: no criterion needs one
    second: Judge | None = None
    panel: tuple[Judge, ...] = ()  # beside the first


def judges_of(
    word: str,
    rubric: LoadedRubric,
    folder: Path,
    *,
    labels: LabelSet | None = None,
    url: str | None = None,
    families: Collection[str] = (),
) -> Judges:
    """Return the judges that `word` names; raise ConfigError for what names none.

    `folder` is where relative paths of recordings begin, `url` the server of a model that is named
    here. Members of a panel that belong to `families`, the makers under test, are left out.
    """
    if not rubric.rubric.asked and rubric.rubric.pairwise is None:
        return Judges(None)
    kind, _, rest = word.partition(":")
    if word in ("primary", "escalate"):
        return _of_rubric(word, rubric, folder, families)
    if kind == "replay" and rest:
        path = folder / rest
        return Judges(ReplayJudge(path.stem, read_recording(path), rubric))
    if kind == "recorded" and labels is not None:
        return Judges(ReplayJudge(rest, recorded_beside_labels(labels, rest), rubric))
    if kind in ("chat", "decision") and rest:
        entry = JudgeEntry.model_validate({"backend": kind, "model": rest, "api_base": url})
        return Judges(_made(entry, rubric, folder))
    raise ConfigError(f"there is no judge {word!r}; expected {FORMS}")


def not_asked(rubric: LoadedRubric, word: str, *, is_pairwise: bool) -> tuple[str, ...]:
    """Return the judges of the rubric that are not asked where `word` names the judges."""
    judges = rubric.rubric.judges
    if judges is None:
        return ()
    asked = {"primary": ("primary", "escalate"), "escalate": ("escalate",)}.get(word, ())
    if is_pairwise:
        asked = asked[:1]
    named = [("primary", judges.primary), ("escalate", judges.escalate)]
    named += [("panel", each) for each in (judges.panel.members if judges.panel else ())]
    return tuple(
        f"{role} {entry.model or entry.verdicts}"
        for role, entry in named
        if entry is not None and role not in asked
    )


def _of_rubric(word: str, rubric: LoadedRubric, folder: Path, families: Collection[str]) -> Judges:
    judges = rubric.rubric.judges
    if judges is None:
        raise ConfigError(
            f"rubric {rubric.rubric.id} names no judge; add `judges:` to it, or name one with "
            "--judge chat:MODEL, or replay:FILE with recorded verdicts"
        )
    if word == "escalate":
        if judges.escalate is None:
            raise ConfigError(f"rubric {rubric.rubric.id} has no `judges.escalate`")
        return Judges(_made(judges.escalate, rubric, folder))
    panel = judges.panel
    barred = families if panel and panel.exclude_family_of else ()
    members = [
        each
        for each in (panel.members if panel else ())
        if each.model is None or family(each.model) not in barred
    ]
    return Judges(
        _made(judges.primary, rubric, folder),
        _made(judges.escalate, rubric, folder) if judges.escalate else None,
        tuple(_made(each, rubric, folder) for each in members),
    )


def _made(entry: JudgeEntry, rubric: LoadedRubric, folder: Path) -> Judge:
    if entry.judge_kind == "replay":
        path = (rubric.path.parent if rubric.path else folder) / (entry.verdicts or "")
        return ReplayJudge(path.stem, read_recording(path), rubric)
    key = resolve(entry.api_key) if entry.api_key else None
    if entry.judge_kind == "decision":
        return DecisionJudge(entry, rubric, key)
    return ChatJudge(entry, rubric, key)
