"""What `llm-canary init` writes: a commented configuration that loads as it is."""

from __future__ import annotations

import json

_CANARY_YAML = """\
# llm-canary: which models your apps can ask for, and how a new version takes over.
# Every key: docs/configuration.md. Check this file with: llm-canary config check
version: 1

upstreams:
  openai: # any OpenAI-compatible server
    kind: openai
    base_url: https://api.openai.com/v1
    api_key: "${OPENAI_API_KEY}" # a reference; secrets never stand in this file
  # local: # a server of your own, with prices that no list knows
  #   kind: openai
  #   base_url: http://127.0.0.1:8080/v1
  #   price: {input_per_million: 0.10, output_per_million: 0.40}

prompts: prompts/ # assistant/v1 is prompts/assistant/v1.md

routes:
  assistant: # what apps send as `model`
    # Who keeps the same variant: the first of these that a request has.
    unit: ["header:x-canary-user", "body:safety_identifier", "body:user"]
    anonymous: conversation # nobody found: one conversation stays together
    control: # what everybody gets until a rollout says otherwise
      upstream: openai
      model: gpt-5-mini
      prompt: assistant/v1
    content: {store: none} # none | hash | redacted | full: what is kept of prompts and answers

rollouts:
  assistant-v2: # nothing moves before: llm-canary rollout start assistant-v2
    route: assistant
    canary: {upstream: openai, model: gpt-5-mini, prompt: assistant/v2}
    plan: standard # 5 % -> 25 % -> 50 % -> full, at least a day each
    gates:
      # Apps that send no thumbs: show the metric, but do not wait for it.
      thumbs_up_rate: {kind: secondary}

checks:
  assistant: # llm-canary check assistant: graded by rubrics/assistant.yaml, as CI does it
    rubric: assistant
    dataset: datasets/assistant.jsonl
    responses: responses/v1.jsonl # recorded answers; without this line name who is to be asked
    min_pass: 80%
    max_drop: 5%

# Plans of your own add to the built-in `standard` or start from it:
# plans:
#   careful:
#     extends: standard
#     stages:
#       - {name: initial, share: 1%, min: 24h, max: 72h}
#       - {name: broad, share: 50%, min: 48h, max: 96h}
#       - {name: full, holdback: 1%}
#       - {name: standby, for: 72h}

# Without keys the gateway listens on this machine only.
# keys:
#   web: {key: "${WEB_APP_KEY}"}
"""
_V1 = """\
You are a helpful assistant. Answer the question that was asked, in the language it was asked in.
"""
_V2 = """\
You are a helpful assistant. Answer in the language of the question, in at most three sentences.
"""


_RUBRIC = """\
# What a good answer is. These criteria need no judge; docs/rubrics.md has the others.
schema: llm_canary.rubric/v1
id: assistant
version: 1 # raised with every change of the text
scoring: {pass_threshold: 0.75}
criteria:
  - id: right
    kind: check
    weight: 3
    must_pass: true
    check: {type: similarity, measure: token_f1, min: 0.5} # like the reference
  - id: short
    kind: check
    weight: 1
    check: {type: length, unit: words, min: 1, max: 40}
examples: # also the rubric's own test: llm-canary rubric test assistant
  - prompt: "How many minutes are 3 hours?"
    reference: "180 minutes"
    response: "3 hours are 180 minutes."
    labels: {right: met, short: met}
  - prompt: "How many minutes are 3 hours?"
    reference: "180 minutes"
    response: "That depends on how you look at it."
    labels: {right: unmet, short: met}
"""
_HOURS = range(2, 62)


def starter_files() -> dict[str, str]:
    """Return path -> text of a project that only needs OPENAI_API_KEY to be set.

    The recorded answers are made up, so that a check can be seen to pass (v1) and to fail (v2).
    """
    questions = [
        {
            "id": f"hours-{hours}",
            "prompt": f"How many minutes are {hours} hours?",
            "reference": f"{hours * 60} minutes",
        }
        for hours in _HOURS
    ]
    right = [f"{hours} hours are {hours * 60} minutes." for hours in _HOURS]
    vague = "That depends on how you look at it."
    answers = {
        "v1": right,
        "v2": [
            vague if hours % 5 == 0 else text for hours, text in zip(_HOURS, right, strict=True)
        ],
    }
    return {
        "canary.yaml": _CANARY_YAML,
        "prompts/assistant/v1.md": _V1,
        "prompts/assistant/v2.md": _V2,
        "rubrics/assistant.yaml": _RUBRIC,
        "datasets/assistant.jsonl": _lines(questions),
        **{
            f"responses/{name}.jsonl": _lines(
                [
                    {"id": question["id"], "response": text}
                    for question, text in zip(questions, texts, strict=True)
                ]
            )
            for name, texts in answers.items()
        },
    }


def _lines(rows: list[dict[str, str]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)
