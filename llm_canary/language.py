"""A cheap guess of a text's language: its script, then its commonest short words.

Good enough to split traffic into segments, not to translate by. Scripts decide at once; among the
languages in Latin script a text needs two hits and more than the runner-up, else the answer is
None: too short or unknown.
"""

from __future__ import annotations

import re
from itertools import combinations, repeat
from struct import Struct

_SAMPLE_CHARS = 1_000
_BEGINNING_CHARS = 250  # enough of most texts
_CLEAR_HITS = 4  # and twice as many as the runner-up
_LEAST_LETTERS = 2
_LEAST_HITS = 2
_WORD = re.compile(r"[^\W\d_]+")

# Japanese before Chinese: kana never occur in Chinese, Han characters occur in both.
_RANGES = {
    "ja": "\u3040-\u30ff",
    "ko": "\uac00-\ud7af\u1100-\u11ff",
    "zh": "\u4e00-\u9fff\u3400-\u4dbf",
    "ar": "\u0600-\u06ff",
    "he": "\u0590-\u05ff",
    "hi": "\u0900-\u097f",
    "th": "\u0e00-\u0e7f",
    "el": "\u0370-\u03ff",
    "ru": "\u0400-\u04ff",
}
_SCRIPTS = {language: re.compile(f"[{ranges}]+") for language, ranges in _RANGES.items()}
_ANY_SCRIPT = re.compile(f"[{''.join(_RANGES.values())}]")
_WORDS: dict[str, str] = {
    "en": "the and is are you of to in that it what how for with can not this my do i please",
    "de": "der die das und ist nicht ich sie ein eine mit für auf wie was kann zu mein bitte",
    "fr": "le la les et est une des je vous que pour dans pas ne qui avec mon comment du ce",
    "es": "el la los las y es una que por para con no mi cómo qué en del se puedo está",
    "it": "il lo gli e è una che per con non di come mi sono della posso questo ho nel si",
    "pt": "o os as e é uma que por para com não meu como em do da eu posso você isso",
    "nl": "de het een en is niet ik van op voor met dat hoe wat kan mijn je zijn te naar",
    "pl": "i w na nie to jest się z do jak co czy mój że po dla mam proszę za o",
    "sv": "och är det en ett inte jag som på för med hur vad kan min att den till av du",
    "tr": "ve bir bu ne için ile değil neden mi ben çok var benim gibi daha da de",
}


def _counters() -> dict[str, int]:
    """Return what a word adds to the counters of all languages, which are one number.

    Any part of a listed word counts, "w" as well as "what": segments that are stored were told so.
    """
    counters: dict[str, int] = {}
    for place, words in enumerate(_WORDS.values()):
        parts = {
            word[start:end]
            for word in words.split()
            for start, end in combinations(range(len(word) + 1), 2)
        }
        for part in parts:
            counters[part] = counters.get(part, 0) + (1 << _COUNTER_BITS * place)
    return counters


_COUNTER_BITS = 16  # no text's sample has so many words
_COUNTER = _counters()
_ASCII_COUNTER = {word.encode(): counter for word, counter in _COUNTER.items()}
_counts = Struct(f"<{len(_WORDS)}H").unpack
_LANGUAGES = tuple(_WORDS)
_ZEROS = repeat(0)
# Letters in lower case; all else parts words.
_ASCII_LETTERS = bytes(
    ord(chr(code).lower()) if chr(code).isalpha() and code < 128 else ord(" ")
    for code in range(256)
)


def detect_language(text: str) -> str | None:
    """Return an ISO 639-1 code, or None when the text gives no clear answer."""
    sample = text[:_SAMPLE_CHARS]
    return _by_script(sample) or _by_words(sample)


def _by_script(sample: str) -> str | None:
    if sample.isascii() or _ANY_SCRIPT.search(sample) is None:
        return None
    letters = "".join(filter(str.isalpha, sample))
    counts = {
        language: sum(map(len, script.findall(letters))) for language, script in _SCRIPTS.items()
    }
    if len(letters) < _LEAST_LETTERS:
        return None
    if counts["ja"] and counts["ja"] + counts["zh"] > len(letters) // 2:
        return "ja"
    language = max(counts, key=lambda language: counts[language])
    return language if counts[language] * 2 > len(letters) else None


def _by_words(sample: str) -> str | None:
    """Look at the beginning alone where that is clear: a third of the time."""
    if len(sample) > 2 * _BEGINNING_CHARS:
        beginning, _, _ = sample[:_BEGINNING_CHARS].rpartition(" ")  # half a word is another word
        language, hits, second = _hits(beginning)
        if hits >= _CLEAR_HITS and hits >= 2 * second:
            return language
    language, hits, second = _hits(sample)
    return language if hits >= _LEAST_HITS and hits > second else None


def _hits(sample: str) -> tuple[str, int, int]:
    """Return the language with the most words, their number, and that of the runner-up."""
    if sample.isascii():  # a third of the time
        words = sample.encode().translate(_ASCII_LETTERS).split()
        total = sum(map(_ASCII_COUNTER.get, words, _ZEROS))
    else:
        total = sum(map(_COUNTER.get, _WORD.findall(sample.lower()), _ZEROS))
    counts = _counts(total.to_bytes(_COUNTER_BITS // 8 * len(_WORDS), "little"))
    *_, second, hits = sorted(counts)
    return _LANGUAGES[counts.index(hits)], hits, second
