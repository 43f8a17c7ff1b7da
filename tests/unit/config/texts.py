"""Configurations that tests edit."""

from __future__ import annotations

from pathlib import Path

SECRET = "sk-proj-A1b2C3d4E5f6G7h8J9k0"
EXAMPLE = (Path(__file__).parent / "product_example.yaml").read_text()
MINIMAL = """\
version: 1
upstreams:
  openai:
    kind: openai
    base_url: https://api.openai.com/v1
    api_key: "${OPENAI_API_KEY}"
routes:
  support-bot:
    control: {upstream: openai, model: gpt-5-mini}
"""
ROLLOUT = """\
rollouts:
  next:
    route: support-bot
    canary: {upstream: openai, model: gpt-5-nano}
"""
OWN_PLAN = """\
    plan: mine
plans:
  mine:
    full_cycle: 1h
    gates: {error_rate: {kind: guardrail, margin: 1pp}}
    stages:
      - {name: one, share: 5%, min: 1h, max: 2h}
      - {name: two, share: 10%, min: 1h, max: 2h}
      - {name: full, holdback: 1%}
      - {name: standby, for: 1h}
"""
