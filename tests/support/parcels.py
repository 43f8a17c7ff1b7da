"""What the seeded instance is about: a parcel service's bots, what customers ask, what the bots say, and how recorded judges grade it."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from llm_canary.judging.replay import response_hash

JUDGE_ERRS = 0.03  # of a criterion's grades
CORRECTION = "It is at the depot in Graz and comes tomorrow before noon; the tracking link shows when the van leaves."
COMMENTS = (
    "Answers the question, but the date is buried in the last sentence.",
    "Friendly and short. Exactly what I would have written.",
    "Tells the customer to wait, although the parcel is marked as lost.",
    "The refund rule is right; the link is missing.",
    "Hard to say without seeing the order.",
)
THUMB_COMMENTS = (
    "Still no parcel.",
    "Danke, hat geholfen!",
    "I asked for a person.",
    "Quick, thanks.",
)
SKIP_REASONS = ("I know this customer", "not my language", "the question is cut off")

CONFIG = """
version: 1
upstreams:
  models: {kind: openai, base_url: "https://llm.example.com/v1"}
judging:
  {samples_per_day: 60, reviews: 0.35, double_reviews: 0.4, window: 2h, stratum: language, reviewer_usd_per_hour: 24}
routes:
  support-bot:
    control: {upstream: models, model: gpt-5-mini, prompt: support/v12, params: {temperature: 0.2}}
    segments:
      country: "header:x-canary-segment-country"
      tier: "header:x-canary-segment-tier"
      language: detect
      input_length: first_message
      hour: derive
    rubrics: [parcel_answer]
    content: {store: redacted, retain_days: 30}
  returns-bot:
    control: {upstream: models, model: gpt-5-mini, prompt: returns/v3}
    segments: {country: "header:x-canary-segment-country"}
    rubrics: [parcel_answer]
    content: {store: redacted, retain_days: 30}
  invoice-fields:
    control: {upstream: models, model: claude-sonnet-4-5, params: {temperature: 0}}
    content: {store: hash}
  address-search:
    control: {upstream: models, model: gpt-5-mini}
    segments: {country: "header:x-canary-segment-country"}
rollouts:
  support-v13:
    route: support-bot
    canary: {upstream: models, model: gpt-5-mini, prompt: support/v13, params: {temperature: 0.2}}
    plan: careful
    protected: [country]
  support-nano:
    route: support-bot
    canary: {upstream: models, model: gpt-5-nano, prompt: support/v12}
    plan: swift
  returns-terse:
    route: returns-bot
    canary: {upstream: models, model: gpt-5-mini, prompt: returns/v4}
    plan: careful
  returns-large:
    route: returns-bot
    canary: {upstream: models, model: gpt-5, prompt: returns/v4}
    plan: swift
  invoice-haiku:
    route: invoice-fields
    canary: {upstream: models, model: claude-haiku-4-5, params: {temperature: 0}}
    plan: swift
  address-small:
    route: address-search
    canary: {upstream: models, model: gpt-5-nano}
    plan: swift
  address-open:
    route: address-search
    canary: {upstream: models, model: qwen3-8b}
    plan: swift
plans:
  swift:
    full_cycle: 6h
    stages:
      - {name: initial, share: 20%, min: 6h, max: 48h, min_units: 60}
      - {name: broad, share: 50%, min: 6h, max: 48h, min_units: 60}
      - {name: full, holdback: 1%}
      - {name: standby, for: 72h}
    gates:
      error_rate: {kind: guardrail, margin: 8pp}
      latency_p95: {kind: guardrail, margin: 40%}
      cost_per_request: {kind: goal, margin: 20%}
  careful:
    extends: swift
    stages:
      - {name: initial, share: 20%, min: 24h, max: 48h, min_units: 100}
      - {name: expanded, share: 40%, min: 60h, max: 120h, min_units: 200}
      - {name: broad, share: 50%, min: 24h, max: 72h, min_units: 200}
      - {name: full, holdback: 1%}
      - {name: standby, for: 72h}
    gates:
      thumbs_up_rate: {kind: goal, margin: 15pp}
      task_completion: {kind: secondary, margin: 10pp}
      rubric: {kind: goal, margin: 0.1}
metrics:
  thumbs_up_rate: {window: 6h}
  task_completion: {window: 12h}
"""
RUBRIC = """
schema: llm_canary.rubric/v1
id: parcel_answer
version: 3
instructions: |
  Grade what the customer can do with the answer, not its style.
  A right hand-over to a person is an answer; one without need is not.
scoring: {pass_threshold: 0.6}
criteria:
  - id: answers_question
    kind: binary
    requirement: "The answer addresses what the customer actually asked."
    weight: 3
    must_pass: true
    anchors:
      met: "It takes up the request directly, even if briefly."
      unmet: "It evades, answers another question, or only asks back without need."
  - id: resolution
    kind: ordinal
    requirement: "How far does the answer get the customer to their goal?"
    weight: 2
    levels:
      - {value: 0, label: useless, anchor: "The customer cannot act on it."}
      - {value: 1, label: partial, anchor: "Some use, but a key step is missing."}
      - {value: 2, label: good, anchor: "The customer can act; small gaps remain."}
      - {value: 3, label: complete, anchor: "Nothing is needed after it."}
  - id: empty_promise
    kind: binary
    polarity: negative
    requirement: "The answer promises a date or a refund that nobody can know of."
    weight: -2
    anchors:
      met: "It names a day, an hour or an amount without a source."
      unmet: "What it promises is said to come from tracking or from the rules."
  - id: short_enough
    kind: check
    weight: 1
    check: {type: length, unit: words, min: 1, max: 120}
judges:
  primary: {backend: replay, verdicts: verdicts.jsonl}
trust: {min_labels: 100}
"""
PROMPTS = {
    "support/v12": "You answer customers of a parcel service. Be kind.",
    "support/v13": "You answer customers of a parcel service. Say first where the parcel is, then what to do. At most four sentences.",
    "returns/v3": "You help customers to return a parcel.",
    "returns/v4": "You help customers to return a parcel. One sentence, then the link.",
}

_TOWNS = ("Graz", "Linz", "Kraków", "Lyon", "Leipzig")
_CASES: tuple[tuple[str, str, tuple[str, ...], tuple[str, ...]], ...] = (
    (
        "en",
        "Where is my parcel {number}? It should have been here on Tuesday.",
        (
            "Your parcel {number} is at the depot in {town} and comes tomorrow. The tracking page shows the hour once the van has left.",
            "Parcel {number} arrived in {town} this morning. It is on the list for tomorrow; nothing is needed from you.",
        ),
        (
            "Parcels usually arrive within a few days. Please be patient.",
            "I promise that parcel {number} will be with you today at noon.",
        ),
    ),
    (
        "en",
        "The driver left my parcel {number} in the rain and the box is soaked. What now?",
        (
            "I am sorry about {number}. Please send two photos within seven days through the damage form; the depot in {town} then decides within three working days.",
        ),
        (
            "You get the full price back by tomorrow.",
            "Rain is not covered by us. Is there anything else?",
        ),
    ),
    (
        "en",
        "Can I have {number} delivered to my neighbour instead? I am away until Friday.",
        (
            "Yes: open the tracking page of {number}, choose 'Deliver to a neighbour' and enter the name, before 20:00 today. Otherwise it waits in the shop in {town} for seven days.",
        ),
        ("Our opening hours are 8:00 to 18:00 from Monday to Friday.",),
    ),
    (
        "de",
        "Wo ist mein Paket {number}? Die Sendungsverfolgung zeigt seit drei Tagen nichts Neues an.",
        (
            "Ihr Paket {number} liegt im Verteilzentrum {town}. Nach fünf Tagen ohne Bewegung suchen wir es; den Auftrag habe ich schon angelegt.",
        ),
        (
            "Bitte haben Sie noch etwas Geduld.",
            "Ihr Paket kommt ganz sicher morgen um neun Uhr an.",
        ),
    ),
    (
        "de",
        "Ich möchte die Sendung {number} zurückschicken. Was kostet das und wie lange habe ich dafür Zeit?",
        (
            "Die Rücksendung von {number} ist 30 Tage lang kostenlos. Drucken Sie das Etikett aus dem Kundenkonto aus und geben Sie das Paket in einem Shop ab, zum Beispiel in {town}.",
        ),
        ("Das steht in unseren Geschäftsbedingungen.",),
    ),
    (
        "en",
        "I was charged customs for {number} although the shop said that everything was paid.",
        (
            "For {number} customs asked for the duty because no invoice was attached. If the shop has paid it, send us their receipt and we return the amount; the form is on the tracking page.",
        ),
        ("Customs are never our concern.", "We have already returned the money to your card."),
    ),
)


class Said(NamedTuple):
    """One answer that a bot may give, with the truth about it."""

    language: str
    question: str
    text: str
    is_good: bool
    labels: dict[str, str | int]  # what a careful person says


def answers(seed: int) -> list[Said]:
    """Return the answers that exist, each with its question."""
    draw = random.Random(seed)
    found = []
    for (language, question, good, poor), town in itertools.product(_CASES, _TOWNS):
        number = f"{draw.choice('ADKP')}{draw.randrange(10_000, 99_999)}"
        for text, is_good in [*((each, True) for each in good), *((each, False) for each in poor)]:
            said = text.format(number=number, town=town)
            promises = not is_good and any(
                word in said for word in ("promise", "sicher", "full price", "already returned")
            )
            labels: dict[str, str | int] = {
                "answers_question": "met" if is_good or promises else "unmet",
                "resolution": draw.choice((2, 3, 3)) if is_good else draw.choice((0, 0, 1)),
                "empty_promise": "met" if promises else "unmet",
            }
            found.append(Said(language, question.format(number=number), said, is_good, labels))
    return found


def mistaken(
    labels: dict[str, str | int], draw: random.Random, rate: float
) -> dict[str, str | int]:
    """Return what somebody says who is wrong about each criterion with that chance."""
    given = dict(labels)
    for name, label in labels.items():
        if draw.random() >= rate:
            continue
        if isinstance(label, int):
            given[name] = label - 1 if label > 1 else label + 1
        else:
            given[name] = "unmet" if label == "met" else "met"
    return given


def conversation(said: Said, draw: random.Random) -> str:
    """Return the messages that led to the answer, as a gateway records them."""
    turns = [{"role": "user", "content": said.question}]
    if draw.random() < 0.3:
        hello, more = (
            ("Guten Tag!", "Guten Tag, worum geht es?")
            if said.language == "de"
            else ("Hi there", "Hello! How can I help you with your parcel?")
        )
        turns = [{"role": "user", "content": hello}, {"role": "assistant", "content": more}, *turns]
    return json.dumps(turns, ensure_ascii=False)


def verdicts(known: Sequence[Said], draw: random.Random) -> Iterator[dict[str, object]]:
    """Yield what the recorded judge says of each answer."""
    by_text = {each.text: each for each in known}
    for text, said in by_text.items():
        row: dict[str, object] = {"id": "*", "response_sha256": response_hash(text)}
        is_sure = draw.random() < 0.9
        confidence = {
            n: round(draw.uniform(0.75 if is_sure else 0.5, 0.99), 2) for n in said.labels
        }
        yield row | {"labels": mistaken(said.labels, draw, JUDGE_ERRS), "confidence": confidence}


def write_project(folder: Path, config: str, rubric: str, known: Sequence[Said], seed: int) -> Path:
    """Write canary.yaml with prompts, the rubric and its recorded judge; return the file's path."""
    for name, text in PROMPTS.items():
        path = folder / "prompts" / f"{name}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    rubrics = folder / "rubrics"
    rubrics.mkdir(parents=True, exist_ok=True)
    (rubrics / "parcel_answer.yaml").write_text(rubric)
    rows = verdicts(known, random.Random(seed))
    (rubrics / "verdicts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = folder / "canary.yaml"
    path.write_text(config)
    return path
