"""A cheap guess of a text's language: its script, then its commonest short words.

Good enough to split traffic into segments, not to translate by. Scripts decide at once; among the
languages in Latin script a text needs two hits and more than the runner-up, else the answer is
None: too short or unknown.
"""

from __future__ import annotations

import re
from collections import Counter
from itertools import combinations

_SAMPLE_CHARS = 1_000
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


def _languages_by_word() -> dict[str, frozenset[str]]:
    """Return in which languages' words a word is found.

    Any part of a listed word counts, "w" as well as "what": segments that are stored were told so.
    """
    languages: dict[str, set[str]] = {}
    for language, words in _WORDS.items():
        for word in words.split():
            for start, end in combinations(range(len(word) + 1), 2):
                languages.setdefault(word[start:end], set()).add(language)
    # The same set for the same languages: they are counted by it, and it keeps its hash.
    known: dict[frozenset[str], frozenset[str]] = {}
    return {
        word: known.setdefault(each, each)
        for word, each in ((word, frozenset(names)) for word, names in languages.items())
    }


_LANGUAGES = _languages_by_word()
_ASCII_WORDS = {code: " " for code in range(128) if not chr(code).isalpha()}


def detect_language(text: str) -> str | None:
    """Return an ISO 639-1 code, or None when the text gives no clear answer."""
    sample = text[:_SAMPLE_CHARS]
    return _by_script(sample) or _by_words(sample.lower())


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
    # The pattern takes four times as long.
    words = sample.translate(_ASCII_WORDS).split() if sample.isascii() else _WORD.findall(sample)
    scores = dict.fromkeys(_WORDS, 0)
    for languages, count in Counter(map(_LANGUAGES.get, words)).items():
        for language in languages or ():
            scores[language] += count
    *_, second, hits = sorted(scores.values())
    if hits < _LEAST_HITS or hits == second:
        return None
    return max(scores, key=lambda language: scores[language])
