"""A check as JSON, JUnit XML, Markdown and GitHub annotations; the verdict is decided elsewhere."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from typing import Any

import msgspec

from llm_canary.checks.comparison import Line
from llm_canary.checks.outcome import CriterionOutcome, Ended, Outcome
from llm_canary.checks.run import Report
from llm_canary.checks.verdict import EXIT_CODES, FOR_A_ROLLOUT
from llm_canary.stats.corrected import Interval
from llm_canary.stats.paired import Difference

_NANO = 1e9
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_WHOLE = "all"


def as_json(report: Report) -> dict[str, Any]:
    """Return the whole report as plain values."""
    finding, run = report.finding, report.run
    return {
        "verdict": str(finding.verdict),
        "exit_code": EXIT_CODES[finding.verdict],
        "for_a_rollout": FOR_A_ROLLOUT[finding.verdict],
        "reasons": list(finding.reasons),
        "rubric": {"id": run.rubric, "version": run.rubric_version, "hash": run.rubric_hash},
        "dataset": {"name": run.dataset, "hash": run.dataset_hash},
        "candidate": run.candidate,
        "judge": msgspec.to_builtins(report.trust.judge) if report.trust else run.judge_id,
        "trust": msgspec.to_builtins(report.trust) if report.trust else None,
        "lines": msgspec.to_builtins(finding.lines),
        "score": msgspec.to_builtins(finding.score),
        "score_drop": msgspec.to_builtins(finding.score_drop),
        "counts": finding.counts,
        "regressions": list(finding.regressions),
        "items_needed": finding.items_needed,
        "cost": {
            "calls": report.spent.calls,
            "tokens_in": report.spent.tokens_in,
            "tokens_out": report.spent.tokens_out,
            "usd": cost_usd(report),
            "cached": report.cached,
        },
        "outcomes": msgspec.to_builtins(run.outcomes),
    }


def as_junit(report: Report) -> bytes:
    """Return JUnit XML: a suite per criterion, a test case per item.

    A `failure` is an unmet criterion, an `error` a judge or candidate that failed, `skipped` what
    was not applicable or could not be assessed. Attributes follow the schema of Jenkins' plugin.
    """
    root = ET.Element("testsuites", name=f"llm-canary check {report.run.rubric}")
    lines = {line.name: line for line in report.finding.lines}
    _suite(root, _WHOLE, report, lines[_WHOLE])
    names = dict.fromkeys(name for each in report.run.outcomes for name in each.criteria)
    for name in names:
        _suite(root, name, report, lines.get(f"criterion {name}"))
    ET.indent(root)
    body: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return body + b"\n"


def as_markdown(report: Report) -> str:
    """Return a summary for a pull request."""
    finding, run = report.finding, report.run
    head = f"### llm-canary check: {str(finding.verdict).upper()} ({run.rubric}, {run.candidate})"
    reasons = [f"- {_md(reason)}" for reason in finding.reasons]
    rows = [
        "| | n | raw | corrected | people | baseline | drop | p |",
        "|---|---|---|---|---|---|---|---|",
    ]
    rows += [f"| {' | '.join(_md(cell) for cell in line_cells(line))} |" for line in finding.lines]
    facts = [f"- {name}: {_md(value)}" for name, value in facts_of(report)]
    return "\n".join([head, "", *reasons, "", *rows, "", *facts, ""])


def as_annotations(report: Report, path: str) -> list[str]:
    """Return GitHub's workflow commands: one error or notice for each reason."""
    level = {"pass": "notice", "hold": "warning"}.get(str(report.finding.verdict), "error")
    return [
        f"::{level} file={_property(path)},title=llm-canary {report.finding.verdict}::{_data(text)}"
        for text in report.finding.reasons
    ]


def facts_of(report: Report) -> list[tuple[str, str]]:
    """Return what a reader wants to know beside the table."""
    finding, run = report.finding, report.run
    ended = ", ".join(f"{count} {name}" for name, count in finding.counts.items() if count)
    facts = [
        ("rubric", f"{run.rubric} version {run.rubric_version} ({run.rubric_hash[:12]})"),
        ("dataset", f"{run.dataset} ({run.dataset_hash[:12]})"),
        ("items", ended),
    ]
    if finding.score is not None:
        facts.append(("mean score", interval_text(finding.score)))
    if finding.score_drop is not None:
        facts.append(("drop of the score", drop_text(finding.score_drop, scale=1.0, unit="")))
    if finding.regressions:
        flips = f"{len(finding.regressions)} newly fail, {finding.regressions_fixed} no longer"
        facts.append(("must-pass", flips))
    if report.trust is not None:
        judge = report.trust.judge
        facts.append(("judge", f"{judge.kind} {judge.model}: {report.trust.standing}"))
    if report.spent.calls:
        usd = cost_usd(report)
        price = "of unknown cost" if usd is None else f"${usd:.4f}"
        facts.append(("judging", f"{report.spent.calls} calls, {price}; {report.cached} cached"))
    if finding.items_needed is not None:
        facts.append(("would settle it", f"about {finding.items_needed} items"))
    return facts


def line_cells(line: Line) -> list[str]:
    """Return the cells of one line of the table."""
    return [
        line.name,
        str(line.n),
        "-" if line.raw is None else share_text(line.raw),
        "-" if line.corrected is None else share_text(line.corrected),
        "-" if line.human is None else share_text(line.human),
        "-" if line.baseline is None else f"{line.baseline:.1%}",
        "-" if line.drop is None else drop_text(line.drop, scale=100.0, unit=" pp"),
        "-" if line.p_value is None else f"{line.p_value:.2g}",
    ]


def share_text(found: Interval) -> str:
    """Return a share with its interval."""
    return f"{found.mean:.1%} [{found.lower:.1%}, {found.upper:.1%}]"


def interval_text(found: Interval) -> str:
    """Return a mean with its interval."""
    return f"{found.mean:.3f} [{found.lower:.3f}, {found.upper:.3f}]"


def drop_text(found: Difference, *, scale: float, unit: str) -> str:
    """Return a drop with its interval; below 0 it has risen."""
    digits = 1 if unit else 3
    value, lower, upper = (each * scale for each in (found.value, found.lower, found.upper))
    return f"{value:.{digits}f}{unit} [{lower:.{digits}f}, {upper:.{digits}f}]"


def cost_usd(report: Report) -> float | None:
    """Return what judges cost in dollars, None when nobody knows."""
    cost = report.spent.cost_nanousd
    return None if cost is None else cost / _NANO


def _suite(root: ET.Element, name: str, report: Report, line: Line | None) -> None:
    suite = ET.SubElement(root, "testsuite", name=_xml(f"{report.run.rubric}.{name}"))
    if line is not None:
        properties = ET.SubElement(suite, "properties")
        for key, value in zip(
            ("n", "raw", "corrected", "people", "baseline", "drop", "p"),
            line_cells(line)[1:],
            strict=True,
        ):
            ET.SubElement(properties, "property", name=key, value=_xml(value))
        ET.SubElement(properties, "property", name="verdict", value=str(report.finding.verdict))
    counts = {"failure": 0, "error": 0, "skipped": 0}
    cases = 0
    for outcome in report.run.outcomes:
        kind, text = _whole(outcome) if name == _WHOLE else _single(outcome, name)
        case = ET.SubElement(
            suite, "testcase", name=_xml(outcome.id), classname=_xml(f"{report.run.rubric}.{name}")
        )
        cases += 1
        if kind:
            counts[kind] += 1
            ET.SubElement(case, kind, message=_xml(text))
    suite.set("tests", str(cases))
    suite.set("failures", str(counts["failure"]))
    suite.set("errors", str(counts["error"]))
    suite.set("skipped", str(counts["skipped"]))


def _whole(outcome: Outcome) -> tuple[str, str]:
    if outcome.passed is None:
        is_skipped = outcome.ended is Ended.CANNOT_ASSESS
        return ("skipped" if is_skipped else "error"), outcome.detail or str(outcome.ended)
    if outcome.passed:
        return "", ""
    failed = ", ".join(name for name, each in outcome.criteria.items() if each.passed is False)
    return "failure", f"score {outcome.score:.2f}, unmet: {failed or 'none'}"


def _single(outcome: Outcome, name: str) -> tuple[str, str]:
    found = outcome.criteria.get(name, CriterionOutcome(None, why=str(outcome.ended)))
    if found.passed is None:
        is_failure = found.why in ("failed", "no_answer", "no_grade")
        return ("error" if is_failure else "skipped"), f"{found.why}: {found.detail}"
    return ("", "") if found.passed else ("failure", f"{found.label}: {found.detail}")


def _xml(text: str) -> str:
    return _NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def _md(text: str) -> str:
    flat = text.replace("\n", " ").replace("|", "\\|")
    return flat.replace("<", "&lt;").replace(">", "&gt;")


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
