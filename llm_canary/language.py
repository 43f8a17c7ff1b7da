"""A cheap guess of a text's language: its script, then its commonest short words.

Good enough to split traffic into segments, not to translate by. Scripts decide at once; among the
languages in Latin script a text needs two hits and more than the runner-up, else the answer is
None: too short or unknown.
"""

from __future__ import annotations

import re
from collections import Counter

_SAMPLE_CHARS = 1_000
_LEAST_LETTERS = 2
_WORD = re.compile(r"[^\W\d_]+")

# Japanese before Chinese: kana never occur in Chinese, Han characters occur in both.
_SCRIPTS: tuple[tuple[str, tuple[tuple[int, int], ...]], ...] = (
    ("ja", ((0x3040, 0x30FF),)),
    ("ko", ((0xAC00, 0xD7AF), (0x1100, 0x11FF))),
    ("zh", ((0x4E00, 0x9FFF), (0x3400, 0x4DBF))),
    ("ar", ((0x0600, 0x06FF),)),
    ("he", ((0x0590, 0x05FF),)),
    ("hi", ((0x0900, 0x097F),)),
    ("th", ((0x0E00, 0x0E7F),)),
    ("el", ((0x0370, 0x03FF),)),
    ("ru", ((0x0400, 0x04FF),)),
)
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
_KNOWN = {language: frozenset(words.split()) for language, words in _WORDS.items()}


def detect_language(text: str) -> str | None:
    """Return an ISO 639-1 code, or None when the text gives no clear answer."""
    sample = text[:_SAMPLE_CHARS]
    return _by_script(sample) or _by_words(sample.lower())


def _by_script(sample: str) -> str | None:
    counts: Counter[str] = Counter()
    letters = 0
    for character in sample:
        if not character.isalpha():
            continue
        letters += 1
        code = ord(character)
        if code < 0x0370:
            continue
        for language, ranges in _SCRIPTS:
            if any(low <= code <= high for low, high in ranges):
                counts[language] += 1
                break
    if not counts or letters < _LEAST_LETTERS:
        return None
    if counts["ja"] and counts["ja"] + counts["zh"] > letters // 2:
        return "ja"
    language, count = counts.most_common(1)[0]
    return language if count * 2 > letters else None


def _by_words(sample: str) -> str | None:
    words = _WORD.findall(sample)
    scores = Counter({name: sum(word in known for word in words) for name, known in _WORDS.items()})
    (best, hits), (_, second) = scores.most_common(2)
    return best if hits >= 2 and hits > second else None
