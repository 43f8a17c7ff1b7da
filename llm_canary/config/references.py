"""Everything one part of the file says about another part, the environment or the disk."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llm_canary.config import plans as plan_rules
from llm_canary.config.access_references import check_oidc, resolve_keys
from llm_canary.config.file import (
    CanaryFile,
    RangeEntry,
    RolloutEntry,
    VariantEntry,
)
from llm_canary.config.limit_entries import limits_of
from llm_canary.config.prompts import Prompt, load_prompt
from llm_canary.config.rollout_spec import RolloutSpec
from llm_canary.config.upstreams import resolve_upstream
from llm_canary.decision.plan import Grading, MetricKind, Plan
from llm_canary.decision.rules import graded_by, specs_of
from llm_canary.documents.problems import KeyPath, Problems, did_you_mean, one_of, shown
from llm_canary.errors import ConfigError
from llm_canary.metrics.builtin import BUILT_IN
from llm_canary.metrics.graded import NET_BENEFIT, RUBRIC
from llm_canary.metrics.spec import Declared, Missing
from llm_canary.routing.segment import HEADER_PREFIX
from llm_canary.routing.table import ContentStore, KeyRef, Redaction, Route, Upstream, Variant
from llm_canary.rubric.keep import keep
from llm_canary.rubric.load import LoadedRubric, find_rubric, load_rubric

_GRADABLE = (ContentStore.REDACTED, ContentStore.FULL)
_JUDGED_WINDOW_S, _CHECKED_WINDOW_S = 86_400.0, 300.0
_OWN_METRIC = ("value", "better", "missing")
_SECTIONS = ("upstreams", "routes", "rollouts", "checks", "plans")


@dataclass(slots=True)
class Resolved:
    """What the entries mean together."""

    upstreams: dict[str, Upstream] = field(default_factory=dict)
    routes: dict[str, Route] = field(default_factory=dict)
    plans: dict[str, Plan] = field(default_factory=dict)
    rollouts: dict[str, RolloutSpec] = field(default_factory=dict)
    keys: tuple[KeyRef, ...] = ()
    prompt_hashes: dict[str, str] = field(default_factory=dict)
    rubrics: dict[str, LoadedRubric] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def names_of(data: dict[str, Any]) -> dict[str, set[str]]:
    """Return the names each section defines, also those whose entries are faulty."""
    return {
        section: set(entries) if isinstance(entries := data.get(section), dict) else set()
        for section in _SECTIONS
    }


def resolve_all(
    file: CanaryFile, folder: Path, names: dict[str, set[str]], problems: Problems
) -> Resolved:
    """Return what the entries mean; note everything that refers to nothing."""
    resolver = _Resolver(file, folder, names, problems)
    resolver.run()
    return resolver.out


class _Resolver:
    """One pass over the file."""

    def __init__(
        self, file: CanaryFile, folder: Path, names: dict[str, set[str]], problems: Problems
    ) -> None:
        self._file = file
        self._folder = folder
        self._names = names
        self._problems = problems
        self._prompts: dict[str, Prompt | None] = {}
        self.out = Resolved()

    def run(self) -> None:
        for section, instead in (("upstreams", None), ("routes", self._file.default_upstream)):
            if not self._names[section] and instead is None:
                self._problems.add(
                    (section,), "there is none", expected="at least one", do=f"add `{section}:`"
                )
        self._upstreams()
        self.out.keys = resolve_keys(self._file.keys, self._names["routes"], self._problems)
        check_oidc(self._file.web.oidc, self._problems)
        self._routes()
        self._checks()
        self._plans_and_rollouts()
        self.out.prompt_hashes = {name: one.hash for name, one in self._prompts.items() if one}

    def _refers(self, path: KeyPath, name: str, known: Collection[str], kind: str) -> bool:
        if name in known:
            return True
        do = did_you_mean(name, known) or f"define it under `{kind}s:`"
        self._problems.add(path, f"there is no {kind} {shown(name)}", expected=one_of(known), do=do)
        return False

    def _tried(self, path: KeyPath, act: Any) -> Any:  # noqa: ANN401 - whatever `act` returns
        """Return what `act` returns, or note why it cannot."""
        try:
            return act()
        except ConfigError as error:
            self._problems.add(path, error.message)
            return None

    def _upstreams(self) -> None:
        for name, entry in self._file.upstreams.items():
            upstream = resolve_upstream(name, entry, self._problems)
            if upstream is not None:
                self.out.upstreams[name] = upstream
        default = self._file.default_upstream
        if default is not None:
            self._default_upstream(default)

    def _default_upstream(self, name: str) -> None:
        path: KeyPath = ("default_upstream",)
        entry = self._file.upstreams.get(name)
        if (
            self._refers(path, name, self._names["upstreams"], "upstream")
            and entry is not None
            and entry.kind == "litellm"
        ):
            wrong = f"upstream {shown(name)} translates, and this one has to relay untouched"
            self._problems.add(path, wrong, expected="an upstream of kind openai or anthropic")

    def _prompt(self, path: KeyPath, name: str) -> Prompt | None:
        if name not in self._prompts:
            folder = self._folder / self._file.prompts
            self._prompts[name] = self._tried(path, lambda: load_prompt(folder, name))
        return self._prompts[name]

    def _variant(self, path: KeyPath, entry: VariantEntry) -> Variant:
        self._refers((*path, "upstream"), entry.upstream, self._names["upstreams"], "upstream")
        prompt = self._prompt((*path, "prompt"), entry.prompt) if entry.prompt else None
        upstream = self.out.upstreams.get(entry.upstream)
        return Variant(
            upstream=entry.upstream,
            model=entry.model,
            prompt=entry.prompt,
            prompt_hash=prompt.hash if prompt else None,
            prompt_text=prompt.text if prompt else None,
            prompt_parts=prompt.parts if prompt else (),
            params=entry.params,
            price=upstream.price if upstream else None,
        )

    def _routes(self) -> None:
        for name, entry in self._file.routes.items():
            path: KeyPath = ("routes", name)
            for index, rubric in enumerate(entry.rubrics):
                self._rubric((*path, "rubrics", index), rubric)
            segments = entry.segments | self._implied_segments(name, entry.segments)
            for index, segment in enumerate(entry.content.hash_segments):
                self._refers(
                    (*path, "content", "hash_segments", index), segment, segments, "segment"
                )
            self.out.routes[name] = Route(
                name=name,
                control=self._variant((*path, "control"), entry.control),
                unit=tuple(entry.unit),
                anonymous=entry.anonymous,
                segments=segments,
                content=entry.content.store,
                redact=Redaction(
                    kinds=tuple(entry.content.redact.kinds), patterns=entry.content.redact.patterns
                ),
                hash_segments=tuple(entry.content.hash_segments),
                on_disconnect=entry.on_disconnect,
                limits=limits_of(entry.limits),
            )

    def _implied_segments(self, route: str, declared: dict[str, str]) -> dict[str, str]:
        """Return the segments that only rollouts name: apps send them as headers."""
        named = [
            segment
            for entry in self._file.rollouts.values()
            if entry.route == route
            for segment in (*entry.eligible, *entry.protected)
        ]
        return {
            segment: f"header:{HEADER_PREFIX}{segment.replace('_', '-')}"
            for segment in named
            if segment not in declared
        }

    def _rubric(self, path: KeyPath, name: str) -> None:
        if name in self.out.rubrics:
            return
        try:
            self.out.rubrics[name] = load_rubric(find_rubric(name, self._folder))
        except ConfigError as error:
            first, *more = error.problems
            do = f"`llm-canary rubric lint {name}` shows all {len(more) + 1}" if more else ""
            self._problems.add(path, first, do=do)

    def _gradings(self, rubrics: Iterable[str]) -> dict[str, Grading]:
        terms = self._file.judging
        found = {}
        for name in rubrics:
            loaded = self.out.rubrics.get(name)
            if loaded is None:
                continue
            needs_judge = bool(loaded.rubric.asked)
            default_s = _JUDGED_WINDOW_S if needs_judge else _CHECKED_WINDOW_S
            found[name] = Grading(
                rubric_text_id=keep(loaded).id,
                needs_judge=needs_judge,
                judge=_judge_name(loaded),
                window_s=terms.window or default_s,
                samples_per_day=terms.samples_per_day,
                targeted_rate=terms.targeted,
                review_rate=terms.reviews if needs_judge else 0.0,
                double_review_rate=terms.double_reviews,
                min_labels=loaded.rubric.trust.min_labels,
                max_age_s=loaded.rubric.trust.max_age_days * 86_400.0,
                max_waiting=terms.max_waiting,
                max_nanousd_per_day=None
                if terms.max_cost_usd_per_day is None
                else round(terms.max_cost_usd_per_day * 1e9),
                stratum=terms.stratum,
            )
        return found

    def _checks(self) -> None:
        for name, entry in self._file.checks.items():
            path: KeyPath = ("checks", name)
            self._rubric((*path, "rubric"), entry.rubric)
            if not _is_file(self._folder / entry.dataset):
                wrong = f"there is no file {shown(entry.dataset)}"
                expected = "a JSONL file, relative to the configuration"
                self._problems.add((*path, "dataset"), wrong, expected=expected)

    def _metrics(self) -> plan_rules.Outcomes:
        declared: dict[str, Declared] = {}
        for name, entry in self._file.metrics.items():
            spec = BUILT_IN.get(name)
            own = [key for key in _OWN_METRIC if getattr(entry, key) is not None]
            if spec is not None and spec.outcome is None:
                wrong = "the metric is known with the answer, so it has no window"
                expected = one_of(each for each, one in BUILT_IN.items() if one.outcome)
                self._problems.add(("metrics", name), wrong, expected=expected)
            elif name.startswith(f"{RUBRIC}:"):
                wrong = "a rubric's scores come from judges and people, not from the app"
                do = "use `judging.window` for how long they have"
                self._problems.add(("metrics", name), wrong, expected="no such entry", do=do)
            elif (spec is not None or name == NET_BENEFIT) and own:
                wrong = f"{name} is built in, so its {' and '.join(own)} cannot be chosen"
                self._problems.add(("metrics", name, own[0]), wrong, expected="only `window`")
            elif spec is None and name != NET_BENEFIT:
                declared[name] = Declared(
                    amount=entry.value == "amount",
                    larger_is_better=entry.better != "lower",
                    missing=entry.missing or Missing.ZERO,
                )
        windows_s = {name: entry.window for name, entry in self._file.metrics.items()}
        return plan_rules.Outcomes(windows_s, declared)

    def _plans_and_rollouts(self) -> None:
        outcomes = self._metrics()
        drafts = plan_rules.drafts(self._file.plans, self._names["plans"], self._problems)
        for name, draft in drafts.items():
            self.out.plans[name] = plan_rules.to_plan(draft, self._problems, outcomes=outcomes)
        for name, entry in self._file.rollouts.items():
            self._rollout(name, entry, drafts, outcomes)
        used = {entry.plan for entry in self._file.rollouts.values()}
        for name in self.out.plans.keys() - used:
            plan_rules.check_unused(self.out.plans[name], ("plans", name), self._problems)

    def _rollout(
        self,
        name: str,
        entry: RolloutEntry,
        drafts: dict[str, plan_rules.Draft],
        outcomes: plan_rules.Outcomes,
    ) -> None:
        path: KeyPath = ("rollouts", name)
        self._refers((*path, "route"), entry.route, self._names["routes"], "route")
        for index, check in enumerate(entry.preflight):
            self._refers((*path, "preflight", index), check, self._names["checks"], "check")
        for segment, rule in entry.eligible.items():
            self._range((*path, "eligible", segment), rule)
        canary = self._variant((*path, "canary"), entry.canary)
        plans = self._names["plans"] | {plan_rules.STANDARD}
        if not self._refers((*path, "plan"), entry.plan, plans, "plan") or entry.plan not in drafts:
            return
        route = self._file.routes.get(entry.route)
        rubrics = self._gradings(route.rubrics if route else ())
        plan = plan_rules.to_plan(
            drafts[entry.plan],
            self._problems,
            outcomes=outcomes,
            rollout=(path, entry, rubrics),
        )
        self._warn(name, plan)
        if route is not None and route.content.store not in _GRADABLE and graded_by(plan):
            self.out.warnings.append(
                f"routes.{entry.route}.content.store is `{route.content.store}`: no text is kept, "
                f"so nothing can be graded and the rubric gates of {name} will wait and then hold; "
                "set `store: redacted`"
            )
        self.out.rollouts[name] = RolloutSpec(
            name=name,
            route=entry.route,
            canary=canary,
            plan=plan,
            fallback=entry.fallback == "control",
            eligible={key: _rule(value) for key, value in entry.eligible.items()},
            protected=tuple(entry.protected),
            preflight=tuple(entry.preflight),
        )

    def _range(self, path: KeyPath, rule: list[str] | RangeEntry) -> None:
        if not isinstance(rule, RangeEntry):
            return
        if rule.min is None and rule.max is None:
            self._problems.add(path, "the range has no end", expected="min, max or both")
        elif rule.min is not None and rule.max is not None and rule.min > rule.max:
            wrong = f"min {rule.min:g} is larger than max {rule.max:g}"
            self._problems.add(path, wrong, expected="min <= max")

    def _warn(self, name: str, plan: Plan) -> None:
        gates = [
            gate
            for stage in plan.stages
            for gate in stage.gates
            if gate.kind is not MetricKind.SECONDARY
        ]
        for rubric, terms in graded_by(plan).items():
            if terms.needs_judge and terms.judge is None:
                self.out.warnings.append(
                    f"rollouts.{name}: rubric:{rubric} has no data, because rubrics/{rubric}.yaml "
                    "names no judge, so the rollout will wait and then hold; add `judges:` to it, "
                    "or give the gate `kind: secondary`"
                )
        known = specs_of(plan)
        for metric in sorted({gate.metric for gate in gates}):
            if metric not in known:
                self.out.warnings.append(
                    f"rollouts.{name}: gate {metric} has no data in this release, so the rollout "
                    "will wait and then hold; give the gate `kind: secondary` to decide without it"
                )


def _judge_name(rubric: LoadedRubric) -> str | None:
    judges = rubric.rubric.judges
    if judges is None:
        return None
    return judges.primary.model or judges.primary.judge_kind


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name too long, a folder that may not be entered
        return False


def _rule(rule: list[str] | RangeEntry) -> list[str] | dict[str, float]:
    if isinstance(rule, list):
        return list(rule)
    return {
        key: value for key, value in (("min", rule.min), ("max", rule.max)) if value is not None
    }
