"""Datasets: corrected answers are promoted into named ones, frozen, and downloaded."""

from __future__ import annotations

from fastapi.responses import Response

from llm_canary.auth import Permission
from llm_canary.errors import NotFound
from llm_canary.pages.prose import visible
from llm_canary.pages.quantity import moment_text
from llm_canary.pages.site import Site
from llm_canary.pages.visit import Visit
from llm_canary.review.datasets import FORMS, Candidate, Datasets

_CHOSEN = "review:"
_CUT = 400
_KINDS = {"jsonl": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}


def add_review_datasets(site: Site) -> None:
    """Add the pages of datasets."""
    pages = _Pages(site)
    site.page("/review/datasets", Permission.OPERATE, pages.all)
    site.page("/review/datasets/{name}/{version}/{form}", Permission.OPERATE, pages.file)
    site.act("/review/datasets/promote", Permission.OPERATE, pages.promote)
    site.act("/review/datasets/freeze", Permission.OPERATE, pages.freeze)


class _Pages:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._datasets = Datasets(site.services.engine, site.services.clock)

    def all(self, visit: Visit) -> Response:
        known = self._datasets.all()
        return self._site.html(
            visit, "review/datasets.html",
            datasets=[
                (each, moment_text(each.frozen_at) if each.frozen_at else "") for each in known
            ],
            names=sorted({each.name for each in known}), forms=FORMS,
            candidates=[candidate_row(each) for each in self._datasets.candidates()],
        )  # fmt: skip

    def promote(self, visit: Visit) -> Response:
        me = visit.viewer.principal
        name = visit.field("name", longest=64)
        chosen = [each.removeprefix(_CHOSEN) for each in visit.form if each.startswith(_CHOSEN)]
        done = self._datasets.promote(name, chosen, by=me.name)
        detail = {"version": done.version, "added": done.added}
        self._site.services.audit.note(me, "dataset.promote", name, detail)
        return self._site.go(visit, "/review/datasets")

    def freeze(self, visit: Visit) -> Response:
        name = visit.field("name", longest=64)
        found = self._datasets.freeze(name)
        detail = {"version": found.version, "hash": found.frozen_hash, "rows": found.rows}
        self._site.services.audit.note(visit.viewer.principal, "dataset.freeze", name, detail)
        return self._site.go(visit, "/review/datasets")

    def file(self, visit: Visit) -> Response:
        name, version, form = (visit.path[each] for each in ("name", "version", "form"))
        if not (version.isascii() and version.isdigit() and len(version) < 10):
            raise NotFound(f"{version[:40]!r} is no version of a dataset")
        content = self._datasets.file(name, int(version), form)
        headers = {"content-disposition": f'attachment; filename="{name}.v{version}.{form}"'}
        return Response(content, media_type=_KINDS[form], headers=headers)


def candidate_row(candidate: Candidate) -> dict[str, str]:
    """Return one corrected answer in words, cut to what fits a list."""
    review, sample = candidate
    return {
        "id": review.review_id,
        "rubric": review.rubric_id,
        "reviewer": review.reviewer,
        "prompt": _cut(sample.prompt),
        "response": _cut(sample.response),
        "corrected": _cut(review.corrected_response),
    }


def _cut(text: str) -> str:
    return visible(text[:_CUT]) + ("\N{HORIZONTAL ELLIPSIS}" if len(text) > _CUT else "")
