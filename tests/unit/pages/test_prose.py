"""Hostile texts: what they say is shown, what they try is not done."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_canary.pages.prose import compared, rendered, shown, visible
from tests.support.review_world import HOSTILE, XSS

_TAG = re.compile(r"<(/?)([a-z0-9]+)([^>]*)>")
_KNOWN = {"p", "br", "hr", "em", "strong", "s", "code", "pre", "blockquote", "ul", "ol", "li", "table", "thead", "tbody", "tr", "th", "td"}  # fmt: skip


def tags(html: str) -> list[tuple[str, str]]:
    return [(name, more.strip()) for _, name, more in _TAG.findall(html)]


@pytest.mark.parametrize("text", [XSS, *(each for pair in HOSTILE.values() for each in pair)], ids=lambda text: text[:12])  # fmt: skip
def test_what_is_rendered_has_plain_tags_and_no_attribute(text):
    for name, attributes in tags(rendered(text)):
        assert name in _KNOWN
        assert attributes in {"", "/"}


@settings(max_examples=150)
@given(
    st.text(alphabet=st.sampled_from("<>&\"'[]()!`*_~#|-= \n:/ajscriptonerrorhref"), max_size=200)
)
def test_no_text_becomes_a_tag_that_is_not_allowed(text):
    assert all(name in _KNOWN and more in {"", "/"} for name, more in tags(rendered(visible(text))))


def test_markdown_is_rendered_and_links_stay_words():
    html = rendered("# Title\n**bold** [here](https://evil.example)\n\n| a |\n|---|\n| 1 |")

    assert "<p><strong>Title</strong></p>" in html
    assert "<td>1</td>" in html
    assert "[here](https://evil.example)" in html
    assert "<a" not in html


def test_control_characters_are_seen():
    assert visible("a\x00b\x1bc\x7fd\u202ee\x85") == "a\u2400b\u241bc\u2421d\ufffde\ufffd"
    assert visible("line\r\nnext\ttab") == "line\nnext\ttab"
    assert visible("\ud800") == "?"


def test_a_long_text_is_cut_and_says_by_how_much():
    found = shown("x" * 25_000)

    assert (len(found.raw), found.more) == (20_000, 5_000)


@pytest.mark.parametrize("text", ["*" * 20_000, "[" * 20_000, "> " * 10_000, "**a " * 5_000, "_a*" * 6_600, "|a" * 9_000, "- " * 9_000])  # fmt: skip
def test_no_text_takes_long_to_render(text):
    started = time.perf_counter()
    shown(text)

    assert time.perf_counter() - started < 3.0  # the slowest takes 0.25 s


def test_a_comparison_gives_both_texts_back():
    old, new = "the parcel is in Graz today", "the parcel is in Linz tomorrow"
    pieces = compared(old, new)

    assert "".join(each.text for each in pieces if each.kind != "added") == old
    assert "".join(each.text for each in pieces if each.kind != "removed") == new
    assert compared("x" * 30_000, "y") == ()


@pytest.mark.parametrize(
    ("old", "new"),
    [("a " * 249 + "b", "a " * 9_990), ("a " * 9_990, "a b " * 4_990), ("a b c " * 3_000, "c b a " * 3_000)],
)  # fmt: skip
def test_no_comparison_takes_long(old, new):
    started = time.perf_counter()
    compared(old, new)

    assert time.perf_counter() - started < 3.0  # 24 s once


def test_a_short_text_is_compared_with_a_long_one():
    words = [str(number) for number in range(2_500)]
    short, long = " ".join(words[:240]), " ".join(f"a {word}" for word in words)

    assert [each.kind for each in compared(short, long)].count("same") >= 240
