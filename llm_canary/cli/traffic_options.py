"""How commands read what is told about traffic: METRIC=5%, METRIC=900:400."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

import click


def share(
    ctx: click.Context | None, param: click.Parameter | None, value: str | None
) -> float | None:
    """Return the share as the configuration writes it: 5% or 0.05."""
    from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415

    from llm_canary.config.values import Share  # noqa: PLC0415

    if value is None:
        return None
    try:
        return float(TypeAdapter(Share).validate_python(value))
    except ValidationError:
        wrong = f"{value!r} is no share; write one such as 5% or 0.05"
        raise click.BadParameter(wrong, ctx, param) from None


def shares(
    ctx: click.Context, param: click.Parameter, values: Sequence[str]
) -> list[tuple[str, float]]:
    """Return the pairs of METRIC=SHARE."""
    pairs = [_pair(ctx, param, value, "error_rate=1%") for value in values]
    return [(metric, share(ctx, param, text) or 0.0) for metric, text in pairs]


def amounts(
    ctx: click.Context, param: click.Parameter, values: Sequence[str]
) -> list[tuple[str, list[float]]]:
    """Return metrics with one or two numbers, from METRIC=MEAN and METRIC=MEAN:SD."""
    found = []
    for value in values:
        metric, text = _pair(ctx, param, value, "latency_mean=900:400")
        numbers = [_number(part) for part in text.split(":")]
        if len(numbers) > 2 or None in numbers:
            wrong = f"{value!r} is not METRIC=MEAN or METRIC=MEAN:SD, such as latency_mean=900:400"
            raise click.BadParameter(wrong, ctx, param)
        found.append((metric, [each for each in numbers if each is not None]))
    return found


def _pair(ctx: click.Context, param: click.Parameter, value: str, example: str) -> tuple[str, str]:
    metric, sign, text = value.partition("=")
    if not (metric and sign and text):
        wrong = f"{value!r} is not METRIC=VALUE, such as {example}"
        raise click.BadParameter(wrong, ctx, param)
    return metric, text


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if isfinite(number) else None
