"""Texts of models and users, made fit for a page: hostile until they have been through here.

Markdown is rendered without HTML, without pictures, and with links to http and https only; what
comes out is cleaned once more by an allow-list. Characters that cannot be seen, or that turn the
text around them, are shown as signs. A text of any size takes a bounded time: a long one is shown
as it was written.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

import nh3
from markdown_it import MarkdownIt
from markupsafe import Markup

LONGEST_RENDERED = 20_000  # characters; beyond that Markdown may take seconds
_MAX_NESTING = 20
_TAGS = {
    *("a", "blockquote", "br", "code", "del", "em", "hr", "li", "ol", "p", "pre", "s"),
    *("strong", "table", "tbody", "td", "th", "thead", "tr", "ul"),
}
_LINK_REL = "noopener nofollow noreferrer"
_TAB_AND_NEWLINES = "\t\n"
_PICTURES = 0x2400  # the block of signs for the control characters
_DELETE, _DELETE_SIGN = 0x7F, "\N{SYMBOL FOR DELETE}"
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# Embeddings, overrides and isolates: they can make a line read otherwise than it is.
_TURNING = [*range(0x202A, 0x202F), *range(0x2066, 0x206A)]
_SIGNS = {
    **{
        code: chr(_PICTURES + code)
        for code in range(0x20)
        if chr(code) not in _TAB_AND_NEWLINES
    },
    _DELETE: _DELETE_SIGN,
    **dict.fromkeys(range(0x80, 0xA0), _REPLACEMENT),
    **{code: f"[U+{code:04X}]" for code in _TURNING},
    0xFEFF: "[U+FEFF]",
}  # fmt: skip
_SURROGATE = re.compile("[\ud800-\udfff]")
_HEADING = re.compile(r"<(/?)h[1-6]>")


class Cut(NamedTuple):
    """The beginning of a text; `left_out` counts the characters that are not in it."""

    text: str
    left_out: int


def visible(text: str) -> str:
    """Return the text with a sign for each character that would not be seen, or would mislead."""
    text = text.replace("\r\n", "\n").translate(_SIGNS)
    return _SURROGATE.sub(_REPLACEMENT, text)


def beginning(text: str, longest: int) -> Cut:
    """Return the visible beginning of a text."""
    return Cut(visible(text[:longest]), max(len(text) - longest, 0))


def one_line(text: str, longest: int) -> str:
    """Return the beginning of a text as one line, with an ellipsis where it goes on."""
    head = " ".join(text[: 4 * longest].split())
    is_cut = len(head) > longest or len(text) > 4 * longest
    return visible(head[:longest]).rstrip() + ("\N{HORIZONTAL ELLIPSIS}" if is_cut else "")


def render_markdown(text: str) -> Markup:
    """Return the text as safe HTML; what is too long for Markdown is shown as it was written."""
    if len(text) > LONGEST_RENDERED:
        return raw_text(text)
    parser = _parser()
    tokens = parser.parse(visible(text))
    # The parser leaves out what is nested deeper; nothing of an answer may vanish.
    if any(token.level >= _MAX_NESTING - 1 for token in tokens):
        return raw_text(text)
    html = str(parser.renderer.render(tokens, parser.options, {}))
    # The page has its own headings; those of an answer would be found among them.
    html = _HEADING.sub(lambda found: "</p>" if found[1] else '<p class="md-heading">', html)
    clean = nh3.clean(
        html,
        tags=_TAGS,
        attributes={"*": set(), "a": {"href"}, "p": {"class"}},
        url_schemes={"http", "https"},
        link_rel=_LINK_REL,
    )
    return Markup(clean)  # noqa: S704 - cleaned by the allow-list above


def raw_text(text: str) -> Markup:
    """Return the text exactly as it was written, its unseen characters as signs."""
    return Markup("<pre>{}</pre>").format(visible(text))


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "linkify": False, "maxNesting": _MAX_NESTING})
    parser.validateLink = _leads_out  # type: ignore[method-assign]
    # Without pictures, `![x](url)` is a link: nothing is loaded from anywhere.
    return parser.enable(["table", "strikethrough"]).disable(["image", "html_block", "html_inline"])


def _leads_out(url: str) -> bool:
    """Whether it is an address of the web; a path would be one of ours, and act for the reader."""
    return url.lower().startswith(("http://", "https://"))
