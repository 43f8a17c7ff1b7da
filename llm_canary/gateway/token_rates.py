"""How many tokens a text probably has, learned from what each model's provider has counted."""

from __future__ import annotations

from math import ceil

from llm_canary.pricing import Usage

_PRIOR_TOKENS = 0.25  # per character: about right for English and most models
_PRIOR_CHARS = 400.0
_MAX_MODELS = 1_000
_ENOUGH = 200  # answers; more would cost time and change nothing


class _Rate:
    __slots__ = (
        "answers",
        "completion_chars",
        "completion_tokens",
        "prompt_chars",
        "prompt_tokens",
    )

    def __init__(self) -> None:
        self.answers = 0
        self.prompt_chars = self.completion_chars = _PRIOR_CHARS
        self.prompt_tokens = self.completion_tokens = _PRIOR_CHARS * _PRIOR_TOKENS


class TokenRates:
    """Tokens per character by upstream and model, of the prompt and of the visible answer.

    Two threads may use it; a count lost between them changes no rate by much.
    """

    def __init__(self) -> None:
        self._rates: dict[tuple[str, str], _Rate] = {}

    def wants(self, upstream: str, model: str) -> bool:
        """Say whether another answer would teach something."""
        rate = self._rates.get((upstream, model))
        return len(self._rates) < _MAX_MODELS if rate is None else rate.answers < _ENOUGH

    def note(
        self, upstream: str, model: str, prompt_chars: int, answer_chars: int, usage: Usage
    ) -> None:
        """Learn from a complete answer; tokens of reasoning are not in its text."""
        rate = self._rates.setdefault((upstream, model), _Rate())
        rate.answers += 1
        if prompt_chars:
            rate.prompt_chars += prompt_chars
            rate.prompt_tokens += usage.prompt
        if answer_chars:
            rate.completion_chars += answer_chars
            rate.completion_tokens += max(0, usage.completion - (usage.reasoning or 0))

    def estimate(
        self, upstream: str, model: str, prompt_chars: int, answer_chars: int
    ) -> tuple[int, int]:
        """Return the probable tokens of a prompt and of an answer."""
        rate = self._rates.get((upstream, model)) or _Rate()
        prompt = prompt_chars * rate.prompt_tokens / rate.prompt_chars
        completion = answer_chars * rate.completion_tokens / rate.completion_chars
        return ceil(prompt), ceil(completion)
