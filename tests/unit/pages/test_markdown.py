"""Texts of models on a page: shown as they are meant where that is safe, and never believed."""

import re
import time

import pytest

from llm_canary.pages.markdown import (
    LONGEST_RENDERED,
    beginning,
    one_line,
    raw_text,
    render_markdown,
    visible,
)

MOST_S = 5.0  # of any text; the slowest of these takes 0.2 s on an idle core


def test_markdown_becomes_html():
    html = render_markdown("# Steps\n\n1. *open* it\n2. `run`\n\n> quoted\n\n|a|b|\n|-|-|\n|1|2|")

    assert "<li><em>open</em> it</li>" in html
    assert "<code>run</code>" in html
    assert "<blockquote>" in html
    assert "<td>2</td>" in html


def test_a_heading_of_an_answer_is_none_of_the_page():
    assert not re.search(r"<h\d", render_markdown("# One\n\n###### Six\n\nUnder\n====="))
    assert "One</p>" in render_markdown("# One")


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "<svg/onload=alert(1)>",
        "<iframe src=javascript:alert(1)>",
        "<a href='javascript:alert(1)'>x</a>",
        "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
        "<!--><img src=x onerror=alert(1)>-->",
        "`<script>alert(1)</script>`",
        "```\n<script>alert(1)</script>\n```",
        '```"><script>alert(1)</script>\nx\n```',
        "[x](javascript:alert(1))",
        "[x](JaVaScRiPt:alert(1))",
        "[x](java&#10;script:alert(1))",
        "[x](data:text/html,<script>alert(1)</script>)",
        "[x](vbscript:x)",
        "<javascript:alert(1)>",
        "[x]: javascript:alert(1)\n\n[x]",
        '[x](https://e.example "onmouseover=alert(1)")',
        '[x](https://e.example/"onmouseover="alert(1))',
        "![x](https://e.example/p.png)",
        "![x](javascript:alert(1))",
        "<style>*{display:none}</style>",
        "<form action=/logout><button>",
        "<div hx-get=/ hx-trigger=load>",
    ],
)
def test_nothing_in_it_runs_loads_or_acts(text):
    html = render_markdown(text)
    tags = re.findall(r"<(/?)([a-z0-9]+)((?:\s[^>]*)?)>", html)

    assert {name for _, name, _ in tags} <= {"p", "a", "pre", "code", "em", "strong", "br"}
    for _, name, attributes in tags:
        found = dict(re.findall(r'([\w-]+)="([^"]*)"', attributes))
        assert set(found) <= ({"href", "rel"} if name == "a" else {"class"})
        assert found.get("href", "https://").startswith(("http://", "https://"))


def test_a_link_leads_to_the_web_only_and_gives_no_hint_of_us():
    html = render_markdown(
        "[a](https://e.example/x?y=1) [b](/rollouts) [c](//e.example) [d](mailto:x)"
    )

    assert html.count("<a ") == 1
    assert 'rel="noopener nofollow noreferrer"' in html


def test_a_picture_is_a_link_and_not_loaded():
    html = render_markdown("![cat](https://e.example/cat.png)")

    assert "<img" not in html
    assert 'href="https://e.example/cat.png"' in html


def test_what_cannot_be_seen_is_shown():
    assert visible("a\0b\x1b[31m\x7f") == "a\u2400b\u241b[31m\u2421"
    assert visible("pay \u202e001\u202c now") == "pay [U+202E]001[U+202C] now"
    assert visible("lone \ud800 half") == "lone \ufffd half"
    assert visible("tab\tnew\r\nline") == "tab\tnew\nline"
    assert "\0" not in render_markdown("a\0b")


def test_writing_from_the_right_stays_as_it_is():
    hebrew = "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd"

    assert hebrew in render_markdown(f"**{hebrew}**")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(">" * 1_000 + " deep", id="a thousand quotes"),
        pytest.param("\n".join(" " * n + "- x" for n in range(190)), id="nested lists"),
        pytest.param("- " * 1_000 + "deep", id="lists in one line"),
        pytest.param("> - " * 1_000 + "deep", id="quotes and lists"),
    ],
)
def test_what_is_nested_too_deep_is_shown_as_written(text):
    html = render_markdown(text)

    assert html.startswith("<pre>")
    assert html == raw_text(text)


@pytest.mark.parametrize(
    "part",
    ["[", "![", "[a](", "*a ", "a**b", "*_", "`", "<", "&", "|", "#\n", "\\[", "~~a", "![[]()",
     "[a](http://x.y) ", "a\u0301\u0302\u0303\u0304", "<a:", "word ", "\n", "| a "],
)  # fmt: skip
def test_a_text_of_any_size_takes_a_bounded_time(part):
    for size in (LONGEST_RENDERED, 100_000):
        text = (part * size)[:size]
        began = time.perf_counter()
        render_markdown(text)

        assert time.perf_counter() - began < MOST_S


def test_a_long_text_is_all_there():
    text = "**word** " * 12_000

    assert render_markdown(text) == f"<pre>{text}</pre>"


def test_the_beginning_says_how_much_is_left_out():
    assert beginning("abc", 3) == ("abc", 0)
    assert beginning("abcde\0", 3) == ("abc", 3)


def test_one_line_is_one_line():
    assert one_line("a\n\n b\tc", 10) == "a b c"
    assert one_line("word " * 100, 11) == "word word w\u2026"
    assert one_line(" " * 10_000 + "x", 10) == "\u2026"
    assert one_line("a\0b", 10) == "a\u2400b"
