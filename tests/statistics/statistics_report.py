"""Writes the figures of `make simulate` into docs/statistics.md, between its markers.

`docs/data/statistics.jsonl` holds one line per test and seed. Run as a script it drops lines that a
later run replaced, then renews tables and pictures; tests/statistics/test_report.py compares.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

from llm_canary.simulation.picture import Bar, Part, bars, svg

ROOT = Path(__file__).resolve().parents[2]
FIGURES = ROOT / "docs/data/statistics.jsonl"
PAGE = ROOT / "docs/statistics.md"
PICTURES = ROOT / "docs/images/statistics"
METRICS = {
    "error_rate": "errors 1 %, +0.5 pp",
    "latency_p95": "latency p95, +10 %",
    "cost_per_request": "cost, +10 %",
    "invalid_output": "invalid output 2 %, +1 pp",
    "thumbs_up_rate": "thumbs up 80 %, -5 pp, 3 % rate",
    "task_completion": "task completion 60 %, -5 pp",
}
POLICY = "test_a_canary_worse_in_one_metric_is_rarely_promoted"
EQUAL = "test_an_equal_canary_is_promoted_in_five_days"
RETURNING = "test_users_who_come_back_raise_no_more_false_alarms"
RESTARTS = "test_restarts_raise_no_alarm_where_a_ramp_leaves_few_in_the_control"
BETTER = "test_a_canary_better_by_half_a_margin_is_promoted_sooner"


@dataclass(frozen=True)
class Row:
    """A question, the test that answers it, which of its figures, and in which of its cases."""

    question: str
    test: str
    figure: str
    cases: tuple[str, ...] = ("full",)
    bar: str = ""
    form: str = "percent"


A_A = "test_identical_models_are_rarely_rolled_back_at_500_looks"
RARE = "test_a_canary_without_failures_yet_is_not_called_better"
MARGIN = "test_a_rare_failure_worse_by_the_margin_is_rarely_passed"
DAYS = "test_twelve_more_days_of_looking_do_not_promote_a_canary_at_the_margin"
FEW = "test_few_answers_of_people_rarely_pass_a_canary_at_the_margin"
STORY = "test_the_saturday_story_ends_after_few_users"
JUDGE = "test_a_judge_narrows_the_interval_of_people_and_never_moves_it"
DRIFT = "test_identical_mixes_of_answers_rarely_count_as_drift"
SHARES = ("0.01", "0.05", "0.5")


def cases(*parts):
    return tuple(f"full-{part}" for part in parts)


def a_a(data):
    return cases(*(f"{data}-{share}" for share in SHARES))


NI_CASES = cases(
    *(
        f"{rate}-{share}"
        for rate in ("0.0005", "0.001", "0.002", "0.01")
        for share in ("0.05", "0.25", "0.5")
    )
)
STORY_CASES = cases("0.02-12000-21000-27000", "0.05-5000-8500-11000", "0.1-2500-4200-5200")
TABLES = {
    "false-alarms": [
        Row("0/1 metric, one request a user, share 1 / 5 / 50 %: rolled back", A_A, "rolled_back", a_a("binary-independent"), "≤ 4 %"),
        Row("the same data, Welch after each batch: “a difference”", A_A, "naive_any", a_a("binary-independent"), "≥ 40 % at 5, 50 %"),
        Row("the same data, Welch after each batch: rolled back as worse", A_A, "naive_worse", a_a("binary-independent")),
        Row("0/1 metric, users who come back (correlation .1): rolled back", A_A, "rolled_back", a_a("binary-clustered"), "≤ 4 %"),
        Row("the same data, Welch: “a difference”", A_A, "naive_any", a_a("binary-clustered"), "≥ 40 % at 5, 50 %"),
        Row("latency, one request a user: rolled back", A_A, "rolled_back", a_a("latency-independent"), "≤ 4 %"),
        Row("the same data, Welch: “a difference”", A_A, "naive_any", a_a("latency-independent"), "≥ 40 % at 5, 50 %"),
        Row("latency, users who come back: rolled back", A_A, "rolled_back", a_a("latency-clustered"), "≤ 4 %"),
        Row("the same data, Welch: “a difference”", A_A, "naive_any", a_a("latency-clustered"), "≥ 40 % at 5, 50 %"),
        Row("exact test of first failures, a look at each of 2,000: rolled back", "test_the_exact_test_of_first_events_rarely_stops_identical_models", "rolled_back", cases(*SHARES), "≤ 5 %"),
        Row("48 metrics and segments at once, alpha = 5 / 1 %: rolled back", "test_48_processes_together_rarely_roll_back_identical_models", "rolled_back", cases("0.05-0.04", "0.01-0.01"), "≤ 4 / 1 %"),
        Row("the same without one alarm over all", "test_48_processes_together_rarely_roll_back_identical_models", "uncorrected", cases("0.05-0.04", "0.01-0.01")),
        Row("failures of .1 / .5 / 2 %, share 1 %: called better", RARE, "better", cases("0.01-0.001", "0.01-0.005", "0.01-0.02"), "≤ 2 %"),
        Row("the same, share 5 %", RARE, "better", cases("0.05-0.001", "0.05-0.005", "0.05-0.02"), "≤ 2 %"),
        Row("the same two with the plug-in variance, failures of .5 %", RARE, "plug_in_better", cases("0.01-0.005", "0.05-0.005")),
        Row("20 requests of each user, correlation .5: rolled back", "test_units_that_answer_alike_and_return_often_do_not_raise_the_alarm", "rolled_back", bar="≤ 4 %"),
        Row("the same if users were forgotten between windows", "test_units_that_answer_alike_and_return_often_do_not_raise_the_alarm", "rolled_back_if_rows_are_evicted"),
        Row("shares 5, 25, 50 % while base rates drift: rolled back", "test_stages_with_drifting_base_rates_alarm_rarely_and_still_find_harm", "alarms", bar="≤ 3 %"),
        Row("the same, pooled z at each look", "test_stages_with_drifting_base_rates_alarm_rarely_and_still_find_harm", "pooled_z", bar="≥ 90 %"),
        Row("99 % after 50 %, restarts: rolled back", RESTARTS, "rolled_back", bar="≤ 1 %"),
        Row("the same with the gain of the larger variance", RESTARTS, "gain_of_the_larger"),
        Row("outcomes 12 h late under a ramp: rolled back", "test_outcomes_that_come_late_are_scored_when_their_window_closes", "alarms", bar="≤ 3 %"),
        Row("the same, outcomes so far over requests so far", "test_outcomes_that_come_late_are_scored_when_their_window_closes", "naive", bar="≥ 99 %"),
        Row("a fifth of the canary's ratings missing: rolled back", "test_missing_ratings_are_seen_as_selection_before_they_look_like_harm", "rolled_back", bar="≤ 2 %"),
        Row("the same: held for selection", "test_missing_ratings_are_seen_as_selection_before_they_look_like_harm", "held", bar="≥ 99 %"),
        Row("true split, alpha = .1 %, share 1 / 5 / 50 %: called broken", "test_a_true_split_is_rarely_called_a_mismatch", "flagged", cases(*SHARES), "≤ .2 %"),
        Row("equal mixes of answers, 5 and 20 kinds, share 5 %: called drift", DRIFT, "flagged", cases("0.05-5", "0.05-20"), "≤ 5 %"),
        Row("the same, share 25 %", DRIFT, "flagged", cases("0.25-5", "0.25-20"), "≤ 5 %"),
        Row("the same, PSI > .1, 20 kinds, share 5 / 25 %", DRIFT, "psi_above_a_tenth", cases("0.05-20", "0.25-20"), "≥ 90 %"),
    ],
    "promotion": [
        Row("events of .05 / .1 / .2 / 1 % at share 5, 25, 50 %: shown by the shipped gate", MARGIN, "shipped", NI_CASES, "≤ 5 %"),
        Row("the same, always-valid at 5 %", MARGIN, "always_valid", NI_CASES, "≤ 5 %"),
        Row("the same without the variance that the margin implies", MARGIN, "without_implied_variance", NI_CASES),
        Row("thumbs (20 % down) at 5 / 25 / 50 % with margin 15 / 10 / 5 pp, 1,500 answers in all: shown", FEW, "shown", cases("50-0.05-0.15", "50-0.25-0.1", "50-0.5-0.05"), "≤ 5 %"),
        Row("the same, 4,500 answers", FEW, "shown", cases("150-0.05-0.15", "150-0.25-0.1", "150-0.5-0.05"), "≤ 5 %"),
        Row("twelve more days of looking, rates 20, 1, 40 % at share 5 %: shown", DAYS, "promoted", cases("0.05-0.2-0.05", "0.05-0.01-0.005", "0.05-0.4-0.05"), "≤ 5 %"),
        Row("the same at share 50 %", DAYS, "promoted", cases("0.5-0.2-0.05", "0.5-0.01-0.005", "0.5-0.4-0.05"), "≤ 5 %"),
        Row("the same at share 5 %, last bound repeated", DAYS, "last_bound_repeated", cases("0.05-0.2-0.05", "0.05-0.01-0.005", "0.05-0.4-0.05")),
        Row("exact ratio, incidence 2 %, share 5 / 25 / 50 %: shown", "test_the_exact_ratio_of_rare_events_is_rarely_wrong_at_its_margin", "wrong", cases("0.05", "0.25", "0.5"), "≤ 5 %"),
        Row("the same at incidence 63 %, where it is refused (100 runs)", "test_the_exact_ratio_of_rare_events_is_rarely_wrong_at_its_margin", "wrong_at_incidence_63", cases("0.05", "0.25", "0.5")),
        Row("equal canary at the planned size, share 5 / 50 %: shown by the gate", "test_an_equal_canary_passes_the_shipped_gate_with_the_planned_power", "passed", cases("0.05", "0.5"), "≥ 87 %"),
        Row("size of a gate of three looks over one look of power .9", "test_a_gate_costs_at_most_five_percent_more_than_one_look", "factor", ("full",), "≤ 1.05", "factor"),
        Row("always-valid proof over the same, median", "test_always_valid_proof_of_equality_takes_little_more_than_the_fixed_size", "median", bar="≤ 1.0", form="factor"),
        Row("always-valid proof over the same, 90th percentile", "test_always_valid_proof_of_equality_takes_little_more_than_the_fixed_size", "p90", bar="≤ 1.75", form="factor"),
    ],
    "detection": [
        Row("23 % fewer clicks, rate 2 / 5 / 10 %: canary users until rollback, median", STORY, "median", STORY_CASES, "12,000 / 5,000 / 2,500", "count"),
        Row("the same, 90th percentile", STORY, "p90", STORY_CASES, "21,000 / 8,500 / 4,200", "count"),
        Row("the same in minutes, 90th percentile", STORY, "p90_minutes", STORY_CASES, "90", "count"),
        Row("the same among 48 processes at alpha = 5 %: users, 90th percentile", STORY, "p90_of_48", STORY_CASES, "27,000 / 11,000 / 5,200", "count"),
        Row("+25 % at shares 5, 25, 50 % with drifting base rates: found", "test_stages_with_drifting_base_rates_alarm_rarely_and_still_find_harm", "found", bar="≥ 93 %"),
        Row("+50 % while one user sends 30 % of the traffic: found", "test_a_bot_with_a_third_of_the_traffic_hides_no_harm_when_its_responses_are_capped", "found", bar="≥ 95 %"),
        Row("the same without the daily cap", "test_a_bot_with_a_third_of_the_traffic_hides_no_harm_when_its_responses_are_capped", "found_without_cap"),
        Row("harm from hour 48 on: hours until found, median", "test_harm_that_begins_late_is_found_sooner_by_restarts", "restarts_median", bar="≤ 20", form="count"),
        Row("the same without restarts", "test_harm_that_begins_late_is_found_sooner_by_restarts", "cumulative_median", form="count"),
        Row("the same without harm: rolled back", "test_harm_that_begins_late_is_found_sooner_by_restarts", "a_a", bar="≤ 1 %"),
        Row("split 50 → 45, 50 → 47.5, 5 → 4 %: new users until found, median", "test_a_false_split_is_found_soon", "median", cases("0.5-0.45-2500", "0.5-0.475-9000", "0.05-0.04-10000"), "2,500 / 9,000 / 10,000", "count"),
        Row("mix of answers shifted by 8 %: found", "test_a_shifted_mix_is_found", "found", bar="≥ 99 %"),
    ],
    "people": [
        Row("width with the judge over people alone", JUDGE, "width", cases("1-unrelated-judge", "1-half-correlated", "1-correlated", "1-nearly-human"), "≤ 1.03 / .88 / .72 / .50", "factor"),
        Row("covers the truth", JUDGE, "covered", cases("1-unrelated-judge", "1-half-correlated", "1-correlated", "1-nearly-human"), "93.5-96.5 %"),
        Row("covers the truth, cross-fitted", JUDGE, "covered", cases("5-unrelated-judge", "5-half-correlated", "5-correlated", "5-nearly-human"), "≥ 94 %"),
    ],
}  # fmt: skip


def read(path):
    """Return the figures by test and case, then by seed; a later line replaces an earlier one."""
    found = defaultdict(dict)
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        each = json.loads(line)
        if "[full" in each["test"]:
            name, case = each["test"].rstrip("]").split("[")
            found[name, case][each["seed"]] = each
    return found


def write(found, path):
    """Write what `read` keeps, sorted."""
    lines = [found[key][seed] for key in sorted(found) for seed in sorted(found[key])]
    path.write_text("".join(json.dumps(each) + "\n" for each in lines), encoding="utf-8")


def number(value, form):
    if form == "percent":
        part = 100 * value
        return "0" if part == 0 else f"{part:.2f}" if part < 1 else f"{part:.1f}"
    return f"{value:.2f}" if form == "factor" else f"{value:,.0f}"


def mean(seeds, pick):
    """The mean over the seeds, each as often as it has runs."""
    weights = [each.get("runs", 1) for each in seeds.values()]
    values = [pick(each) for each in seeds.values()]
    return sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)


def shown(seeds, figure, form):
    """The mean over the seeds, and their range."""
    values = [each[figure] for each in seeds.values()]
    texts = [
        number(each, form) for each in (mean(seeds, itemgetter(figure)), min(values), max(values))
    ]
    return texts[0] if texts[1] == texts[2] else f"{texts[0]} ({texts[1]}-{texts[2]})"


def runs_of(seeds):
    counts = Counter(each["runs"] for each in seeds.values() if "runs" in each)
    parts = sorted(counts.items(), reverse=True)
    return " + ".join(f"{runs:,}" if n == 1 else f"{n} seeds of {runs:,}" for runs, n in parts)


def table(rows, found):
    lines = ["| question | measured | bar | runs |", "|---|---|---|---|"]
    for row in rows:
        own = [found[row.test, case] for case in row.cases if (row.test, case) in found]
        if len(own) < len(row.cases):
            continue
        cells = [shown(seeds, row.figure, row.form) for seeds in own]
        unit = " %" if row.form == "percent" else ""
        lines.append(
            f"| {row.question} | {' / '.join(cells)}{unit} | {row.bar} | {runs_of(own[0])} |"
        )
    return "\n".join(lines) if len(lines) > 2 else ""


def pair(seeds, figure):
    """Median and 90th percentile, each the mean over the seeds."""
    given = {seed: each for seed, each in seeds.items() if each[figure]}
    if not given:
        return "-"
    return " / ".join(f"{mean(given, lambda each, i=i: each[figure][i]):,.0f}" for i in (0, 1))


def policy_cells(found):
    """Each truth about the canary with its figures."""
    if (EQUAL, "full") in found:
        yield "equal", found[EQUAL, "full"]
    if (BETTER, "full") in found:
        yield "better by half a margin in everything", found[BETTER, "full"]
    if (RETURNING, "full") in found:
        text = "equal, 25,000 a day by 6,250 users who come back"
        yield text, found[RETURNING, "full"]
    for margins in (1, 2, 4):
        for metric, text in METRICS.items():
            seeds = found.get((POLICY, f"full-{metric}-{margins}"))
            if seeds:
                times = "" if margins == 1 else f", {margins} times"
                yield f"{text}{times}", seeds


def policy(found):
    lines = [
        "| canary | promoted | held | rolled back | hours to all traffic, median / p90 | hours to rollback | canary requests until then | runs |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for text, seeds in policy_cells(found):
        ends = [shown(seeds, end, "percent") for end in ("promoted", "held", "rolled_back")]
        lines.append(
            f"| {text} | {' | '.join(f'{end} %' for end in ends)} | {pair(seeds, 'promoted_hours')} | "
            f"{pair(seeds, 'rollback_hours')} | {pair(seeds, 'rollback_requests')} | {runs_of(seeds)} |"
        )
    return "\n".join(lines) if len(lines) > 2 else ""


def pictures(found):
    """Name -> SVG of every picture whose figures are there."""
    result = {}
    rows = [
        Bar(
            text,
            tuple(
                Part(mean(seeds, itemgetter(end)), style)
                for end, style in (("promoted", "good"), ("held", "person"), ("rolled_back", "bad"))
            ),
            f"{mean(seeds, itemgetter('promoted')):.1%} promoted",
        )
        for text, seeds in policy_cells(found)
    ]
    if rows:
        legend = [
            ("good", "promoted"),
            ("person", "held: a person decides"),
            ("bad", "rolled back"),
        ]
        title = "The shipped plan at 50,000 requests a day"
        result["policy.svg"] = svg(bars(title, rows, legend, full=1.0))
    rows = []
    for data, text in (("binary", "0/1"), ("latency", "latency")):
        for kind, who in (("independent", "once"), ("clustered", "come back")):
            for share in SHARES:
                seeds = found.get((A_A, f"full-{data}-{kind}-{share}"))
                if seeds:
                    label = f"{text}, users {who}, {float(share):.0%} canary"
                    naive, ours = (
                        mean(seeds, itemgetter("naive_any")),
                        mean(seeds, itemgetter("rolled_back")),
                    )
                    rows.append(Bar(label, (Part(naive, "plain"),), f"{naive:.0%} Welch"))
                    rows.append(Bar("", (Part(ours, "b"),), f"{ours:.1%} here"))
    if rows:
        legend = [("plain", "Welch after each batch: “a difference”"), ("b", "rolled back here")]
        title = "Identical models, 500 looks: how often a difference is seen"
        result["identical.svg"] = svg(bars(title, rows, legend, full=0.8))
    return result


def render(page, found):
    """Return the page with every block between its markers renewed."""
    blocks = {name: table(rows, found) for name, rows in TABLES.items()} | {"policy": policy(found)}

    def block(match):
        name = match[1]
        return f"<!-- figures: {name} -->\n{blocks[name]}\n<!-- end of figures -->"

    return re.sub(
        r"<!-- figures: ([\w-]+) -->\n.*?<!-- end of figures -->", block, page, flags=re.DOTALL
    )


def main():
    found = read(FIGURES)
    write(found, FIGURES)
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8"), found), encoding="utf-8")
    PICTURES.mkdir(parents=True, exist_ok=True)
    for name, drawn in pictures(found).items():
        (PICTURES / name).write_text(drawn, encoding="utf-8")


if __name__ == "__main__":
    main()
