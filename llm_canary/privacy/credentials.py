"""Finds keys and tokens by how their issuers let them begin."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from llm_canary.privacy.kinds import Find, Kind

# Every repetition has a limit: a text that repeats a beginning must not cost its length each time.
_FORMS = {
    begin: re.compile(form)
    for begin, form in {
        "sk-": r"(?=[A-Za-z0-9_-]{0,255}\d)sk-[A-Za-z0-9_-]{16,255}",  # OpenAI, Anthropic
        "sk_": r"sk_(?:live|test)_[A-Za-z0-9]{10,255}",  # Stripe
        "pk_": r"pk_(?:live|test)_[A-Za-z0-9]{10,255}",
        "rk_": r"rk_(?:live|test)_[A-Za-z0-9]{10,255}",
        "ghp_": r"ghp_[A-Za-z0-9]{20,255}",
        "gho_": r"gho_[A-Za-z0-9]{20,255}",
        "ghu_": r"ghu_[A-Za-z0-9]{20,255}",
        "ghs_": r"ghs_[A-Za-z0-9]{20,255}",
        "ghr_": r"ghr_[A-Za-z0-9]{20,255}",
        "github_pat_": r"github_pat_[A-Za-z0-9_]{20,255}",
        "glpat-": r"glpat-[A-Za-z0-9_-]{16,255}",
        "xox": r"xox[abeprs]-[A-Za-z0-9-]{10,255}",
        "AKIA": r"AKIA[A-Z0-9]{16}(?![A-Za-z0-9])",
        "ASIA": r"ASIA[A-Z0-9]{16}(?![A-Za-z0-9])",
        "AIza": r"AIza[0-9A-Za-z_-]{30,255}",
        "ya29.": r"ya29\.[0-9A-Za-z_-]{20,255}",
        "hf_": r"hf_[A-Za-z0-9]{30,255}",
        "npm_": r"npm_[A-Za-z0-9]{30,255}",
        "pypi-": r"pypi-[A-Za-z0-9_-]{50,255}",
        "SG.": r"SG\.[\w-]{16,64}\.[\w-]{16,64}",
        "lc_": r"lc_[A-Za-z0-9]{8}_[A-Za-z0-9_-]{16,255}",  # of this gateway
        "eyJ": r"eyJ[A-Za-z0-9_-]{8,8192}\.[A-Za-z0-9_-]{8,8192}\.[A-Za-z0-9_-]{4,1024}",
    }.items()
}
# What says that a credential follows.
_INTRODUCED = {
    "earer ": re.compile(r"(?<=[Bb])earer {1,3}([\w.~+/=-]{16,255})"),
    "uthorization": re.compile(
        r"uthorization[\"']?\s{0,3}[:=]\s{0,3}[\"']?(?:(?:Bearer|Basic|Token)\s{1,3})?"
        r"([\w.~+/=-]{8,255})"
    ),
    "://": re.compile(r"://([^\s/@:\[\]]{1,128}:[^\s/@\[\]]{1,255})(?=@)"),
}
_MORE = re.compile(r"[A-Za-z0-9_.~+/=-]*")
_LONG_CHARS = 200
_PEM_BEGIN = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_PEM_REST = re.compile(r"[A-Za-z0-9+/=:,.\s\\-]*")
_PEM = "-----BEGIN "
_PEM_END = "-----END "
_PEM_LINE = 80
BEGINNINGS = (*_FORMS, *_INTRODUCED, _PEM)


def credentials(text: str, hints: Collection[str]) -> Iterator[Find]:
    """Yield keys, tokens and private keys; `hints` are those of `BEGINNINGS` that occur."""
    if _PEM in hints:
        yield from _private_keys(text)
    for begin in hints:
        if (form := _FORMS.get(begin)) is not None:
            yield from _tokens(text, begin, form)
        elif (form := _INTRODUCED.get(begin)) is not None:
            yield from _introduced(text, begin, form)


def _tokens(text: str, begin: str, form: re.Pattern[str]) -> Iterator[Find]:
    position = text.find(begin)
    while position >= 0:
        end = position + len(begin)
        if not position or not _continues(begin, text[position - 1]):
            match = form.match(text, position)
            if match is not None:
                end = _end(text, position, match.end())
                yield Find(position, end, Kind.KEY, text[position:end])
        position = text.find(begin, end)


def _introduced(text: str, begin: str, form: re.Pattern[str]) -> Iterator[Find]:
    position = text.find(begin)
    while position >= 0:
        end = position + len(begin)
        match = form.match(text, position)
        if match is not None:
            end = _end(text, match.start(1), match.end())
            yield Find(match.start(1), end, Kind.KEY, text[match.start(1) : end])
        position = text.find(begin, end)


def _continues(begin: str, mark: str) -> bool:
    """Say whether `mark` before a beginning makes it the middle of a word."""
    # These forms may read far: they are tried at the start of a word only.
    return (mark.isascii() and mark.isalnum()) or (begin in {"eyJ", "sk-"} and mark in "_-")


def _end(text: str, start: int, end: int) -> int:
    """Return where a token ends that may be longer than its form allows."""
    if end - start < _LONG_CHARS:
        return end
    more = _MORE.match(text, end)
    return more.end() if more is not None else end


def _private_keys(text: str) -> Iterator[Find]:
    """Yield private keys, those without an end too: their text may have been cut."""
    position, has_end = 0, True
    while (begin := _PEM_BEGIN.search(text, position)) is not None:
        close = text.find(_PEM_END, begin.end()) if has_end else -1
        has_end = close >= 0
        if has_end:
            line = text.find("-----", close + len(_PEM_END), close + _PEM_LINE)
            position = line + len("-----") if line >= 0 else close + len(_PEM_END)
        else:
            rest = _PEM_REST.match(text, begin.end())
            position = rest.end() if rest is not None else begin.end()
        yield Find(begin.start(), position, Kind.KEY, text[begin.start() : position])
