"""Texts of users and models, which are hostile, made fit to be shown.

Markdown is rendered without HTML, links and pictures: what a text points to stays readable, and
nobody can be led anywhere. Attributes are stripped, so the text decides about no style and no URL.
Control characters, which could hide what a text says, become visible signs.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from functools import lru_cache
from typing import NamedTuple

import nh3
from markdown_it import MarkdownIt
from markupsafe import Markup

MAX_SHOWN = 20_000
_MAX_COMPARED = 20_000
_WORDS_AS_THEY_ARE = 500  # in longer texts what is everywhere, as spaces are, leads nowhere
_MAX_PAIRS = 1_000_000  # of equal words, each of which is looked at: less than a second
_CONTROL = {
    **{code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"},
    0x7F: "\N{SYMBOL FOR DELETE}",
    **dict.fromkeys((*range(0x80, 0xA0), 0x202D, 0x202E), "\N{REPLACEMENT CHARACTER}"),
}
_TAGS = frozenset(
    {"p", "br", "hr", "em", "strong", "s", "code", "pre", "blockquote", "ul", "ol", "li", "table"}
    | {"thead", "tbody", "tr", "th", "td"}
)


class Shown(NamedTuple):
    """A text as a page has it; `more` are characters that were left out."""

    raw: str
    html: Markup
    more: int = 0


class Piece(NamedTuple):
    """A part of a comparison: `same`, `added` or `removed`."""

    kind: str
    text: str


def visible(text: str) -> str:
    """Return the text with a sign for every control character, and nothing that is no character."""
    plain = text.replace("\r\n", "\n").encode("utf-8", "replace").decode()
    return plain.translate(_CONTROL)


def shown(text: str, *, longest: int = MAX_SHOWN) -> Shown:
    """Return the text cut to `longest` characters, raw and rendered."""
    raw = visible(text[:longest])
    return Shown(raw, rendered(raw), max(0, len(text) - longest))


def rendered(text: str) -> Markup:
    """Return Markdown as harmless HTML."""
    html = nh3.clean(
        _markdown().render(text), tags=set(_TAGS), attributes={}, link_rel=None, strip_comments=True
    )
    return Markup(html)  # noqa: S704 - it has passed the allow-list


def compared(old: str, new: str) -> tuple[Piece, ...]:
    """Return what of `old` is new, word by word; nothing where one is too long to be compared."""
    if len(old) > _MAX_COMPARED or len(new) > _MAX_COMPARED:
        return ()
    before, after = (re.findall(r"\S+|\s+", visible(each)) for each in (old, new))
    pieces: list[Piece] = []
    is_long = max(len(before), len(after)) > _WORDS_AS_THEY_ARE
    matcher = difflib.SequenceMatcher(a=before, b=after, autojunk=is_long)
    found = Counter(before)
    places: dict[str, list[int]] = matcher.b2j  # type: ignore[attr-defined]
    if sum(found[word] * len(own) for word, own in places.items()) > _MAX_PAIRS:
        return ()
    for kind, a0, a1, b0, b1 in matcher.get_opcodes():
        if kind == "equal":
            pieces.append(Piece("same", "".join(after[b0:b1])))
            continue
        if a1 > a0:
            pieces.append(Piece("removed", "".join(before[a0:a1])))
        if b1 > b0:
            pieces.append(Piece("added", "".join(after[b0:b1])))
    return tuple(pieces)


@lru_cache(maxsize=1)
def _markdown() -> MarkdownIt:
    made = MarkdownIt("js-default", {"html": False, "linkify": False, "breaks": True})
    made.disable(["link", "image", "autolink", "reference", "html_inline", "html_block"])
    # A heading would become one of the page's; it is a strong line instead.
    for rule, html in (("heading_open", "<p><strong>"), ("heading_close", "</strong></p>\n")):
        made.add_render_rule(rule, lambda *_, html=html: html)
    return made
