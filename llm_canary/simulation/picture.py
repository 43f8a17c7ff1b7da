"""Draws SVG pictures that read well on light and on dark ground."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

_WIDTH, _LEFT, _ROW, _TOP = 860, 350, 22, 58
_STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-size: 15px; font-weight: 600 }
.small { font-size: 12px; fill: #57606a } .axis { stroke: #8c959f; stroke-width: 1 }
.good { fill: #2da44e } .person { fill: #d4a72c } .bad { fill: #cf222e } .plain { fill: #8c959f }
.a { fill: #54aeff } .b { fill: #0969da } .c { fill: #8250df }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .small { fill: #9198a1 } .axis { stroke: #6e7681 }
  .good { fill: #3fb950 } .person { fill: #d29922 } .bad { fill: #f85149 } .plain { fill: #6e7681 }
  .a { fill: #79c0ff } .b { fill: #388bfd } .c { fill: #a371f7 }
}"""


class Part(NamedTuple):
    """A piece of a bar or a layer: its size, and the style that says what it is."""

    value: float
    style: str


class Bar(NamedTuple):
    """One labelled bar of parts that follow each other; `note` stands behind it."""

    label: str
    parts: tuple[Part, ...]
    note: str = ""


class Chart(NamedTuple):
    """A drawing with its height."""

    title: str
    body: tuple[str, ...]
    height: float


class Layer(NamedTuple):
    """One layer of a stack over time, from 0 to 1 at each time."""

    label: str
    style: str
    values: tuple[float, ...]


def bars(
    title: str, rows: Sequence[Bar], legend: Sequence[tuple[str, str]], *, full: float
) -> Chart:
    """Return horizontal bars on one scale that ends at `full`; `legend` names (style, meaning)."""
    width = _WIDTH - _LEFT - 130
    body = [_title(title), _legend(legend)]
    for index, row in enumerate(rows):
        y, x = _TOP + index * _ROW, float(_LEFT)
        body.append(_text(_LEFT - 8, y + 14, row.label, anchor="end"))
        for part in row.parts:
            size = width * min(part.value / full, 1.0)
            if size > 0.0:
                body.append(_rect(x, y + 2, size, _ROW - 6, part.style))
            x += size
        body.append(_text(x + 6, y + 14, row.note, style="small"))
    return Chart(title, tuple(body), _TOP + len(rows) * _ROW + 12)


def layers(title: str, hours: Sequence[float], stack: Sequence[Layer]) -> Chart:
    """Return layers on top of each other over time, the first at the bottom."""
    left, width, height, top = 48.0, _WIDTH - 78.0, 240.0, _TOP + 6.0
    end = max(hours[-1], 1e-9)

    def point(index: int, level: float) -> str:
        x = left + width * hours[index] / end
        return f"{x:.1f},{top + height * (1.0 - level):.1f}"

    below = [0.0] * len(hours)
    body = [_title(title), _legend([(each.style, each.label) for each in stack])]
    for layer in stack:
        above = [a + b for a, b in zip(below, layer.values, strict=True)]
        there = [point(index, above[index]) for index in range(len(hours))]
        back = [point(index, below[index]) for index in reversed(range(len(hours)))]
        body.append(f'<polygon class="{layer.style}" points="{" ".join([*there, *back])}"/>')
        below = above
    for share in (0.0, 0.5, 1.0):
        y = top + height * (1.0 - share)
        body.append(_text(left - 8, y + 4, f"{share:.0%}", anchor="end", style="small"))
    for part in range(5):
        x = left + width * part / 4
        text = f"{end * part / 4:.0f} h" if end >= 8 else f"{end * part / 4:.2g} h"
        body.append(_text(x, top + height + 18, text, anchor="middle", style="small"))
    body.append(
        f'<path class="axis" fill="none" d="M{left:.1f} {top:.1f}V{top + height:.1f}'
        f'H{left + width:.1f}"/>'
    )
    return Chart(title, tuple(body), top + height + 34)


def svg(*charts: Chart) -> str:
    """Return one SVG document with the charts below each other."""
    parts, height = [], 0.0
    for chart in charts:
        lines = "\n".join(chart.body)
        parts.append(f'<g transform="translate(0 {height:.0f})">\n{lines}\n</g>')
        height += chart.height
    label = escape("; ".join(chart.title for chart in charts))
    drawn = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" '
        f'width="{_WIDTH}" height="{height:.0f}" role="img" aria-label="{label}">\n'
        f"<style>{_STYLE}\n</style>\n{drawn}\n</svg>\n"
    )


def _title(text: str) -> str:
    return _text(12, 22, text, style="title")


def _legend(entries: Sequence[tuple[str, str]]) -> str:
    parts, x = [], 12.0
    for style, text in entries:
        parts.append(_rect(x, 34, 12, 12, style))
        parts.append(_text(x + 17, 45, text, style="small"))
        x += 34 + 6.6 * len(text)
    return "\n".join(parts)


def _rect(x: float, y: float, width: float, height: float, style: str) -> str:
    return (
        f'<rect class="{style}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/>'
    )


def _text(x: float, y: float, text: str, *, anchor: str = "start", style: str = "") -> str:
    kind = f' class="{style}"' if style else ""
    return f'<text{kind} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
