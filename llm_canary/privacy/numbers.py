"""Finds what is a number: cards, accounts, phones, IPv4 addresses, national ids.

The text is read once for runs of digits with what is written between them. A run is taken apart
into groups, and each kind is looked for among these, the surest first; what it takes is gone for
the next. So the work is that of the text's length, whatever stands in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from llm_canary.privacy.checksums import (
    iban_length,
    is_card,
    is_codice_fiscale,
    is_cpf,
    is_dni,
    is_iban,
    is_nir,
    is_ssn,
    is_tax_id,
)
from llm_canary.privacy.kinds import Find, Kind
from llm_canary.privacy.phones import phone_end
from llm_canary.privacy.runs import DASHES, JOINED, SPACES, Run

_RUN = re.compile(rf"\d(?:[{SPACES}{DASHES}.()/]{{0,3}}\d)*")
_ASCII_RUN = re.compile(r"[0-9](?:[ \-.()/]{0,3}[0-9])*")  # twice as fast
_IBAN = re.compile(rf"[A-Za-z]{{2}}\d{{2}}(?:[{SPACES}{DASHES}]?[A-Za-z0-9]){{11,30}}")
_IBAN_SIGNS = re.compile(rf"[{SPACES}{DASHES}]")
_CODICE_FISCALE = re.compile(r"[A-Za-z]{6}\d\d[A-Za-z]\d\d[A-Za-z]\d{3}[A-Za-z](?![A-Za-z0-9])")
_LETTER = re.compile(r"-?([A-Za-z])(?![A-Za-z0-9])")
_MIN_CHARS = 7  # of the shortest phone number, and of 8.8.8.8
_LEAST_OF_CARD = 4  # digits of its first group
# How a national id is grouped, by which signs, and what makes sure of it; by its first group.
_Form = tuple[list[int], frozenset[str], Callable[[str], bool]]
_NATIONAL_IDS: dict[int, tuple[_Form, ...]] = {
    1: (([1, 2, 2, 2, 3, 3, 2], JOINED, is_nir),),
    2: (([2, 3, 3, 3], JOINED, is_tax_id),),
    3: (([3, 2, 4], frozenset("-"), is_ssn), ([3, 3, 3, 2], frozenset(".-"), is_cpf)),
    11: (([11], JOINED, is_cpf), ([11], JOINED, is_tax_id)),
    13: (([13, 2], JOINED, is_nir),),
    15: (([15], JOINED, is_nir),),
}
_YEAR_DIGITS = 4
_NOBODY = ("127.", "0.", "255.")


def numbers(text: str, kinds: frozenset[Kind]) -> Iterator[Find]:
    """Yield what of `kinds` is a number."""
    done = 0
    for match in (_ASCII_RUN if text.isascii() else _RUN).finditer(text):
        start, end = match.span()
        if start < done:
            continue
        if start >= 2 and text[start - 1].isalpha() and (found := _lettered(text, start, kinds)):
            yield found
            done = found.end
            continue
        if end - start >= _MIN_CHARS:
            for find in _in_run(Run(text, start, end), kinds):
                yield find
                done = max(done, find.end)


def _in_run(run: Run, kinds: frozenset[Kind]) -> Iterator[Find]:
    if Kind.CARD in kinds:
        yield from _cards(run)
    if Kind.IP in kinds:
        yield from _ipv4(run)
    if Kind.NATIONAL_ID in kinds:
        yield from _national_ids(run)
    if Kind.PHONE in kinds:
        _set_dates_aside(run)
        yield from _phones(run)


def _lettered(text: str, start: int, kinds: frozenset[Kind]) -> Find | None:
    """Return the account or codice fiscale whose first digits are at `start`."""
    if Kind.IBAN in kinds and (length := iban_length(text[start - 2 : start].upper())):
        match = _IBAN.match(text, start - 2)
        if match is not None and not text[max(0, start - 3) : start - 2].isalnum():
            normal = _IBAN_SIGNS.sub("", match[0]).upper()[:length]
            if len(normal) == length and normal.isascii() and is_iban(normal):
                return Find(start - 2, _end_of(text, start - 2, length), Kind.IBAN, normal)
    if (
        Kind.NATIONAL_ID in kinds
        and start >= 6
        and not text[max(0, start - 7) : start - 6].isalnum()
    ):
        match = _CODICE_FISCALE.match(text, start - 6)
        if match is not None and match[0].isascii() and is_codice_fiscale(match[0].upper()):
            return Find(start - 6, match.end(), Kind.NATIONAL_ID, match[0].upper())
    return None


def _end_of(text: str, start: int, length: int) -> int:
    """Return where `length` letters and digits from `start` end."""
    position = start
    while length:
        length -= text[position].isalnum()
        position += 1
    return position


def _cards(run: Run) -> Iterator[Find]:
    for first, length in enumerate(run.lengths):
        if length < _LEAST_OF_CARD:
            continue
        for last, digits in run.windows(first, 19):
            if is_card(digits) and run.stands_alone(first, last):
                yield run.take(first, last, Kind.CARD, digits)
                break


def _ipv4(run: Run) -> Iterator[Find]:
    for first in range(len(run.groups) - 3):
        last = first + 3
        if run.after(first) != "." or not run.stands_alone(first, last):
            continue
        part = run.groups[first : last + 1]
        if (
            not any(run.taken[first : last + 1])
            and all(run.between(index) == "." for index in range(first + 1, last + 1))
            and all(_is_byte(group.digits) for group in part)
        ):
            normal = ".".join(group.digits for group in part)
            if not normal.startswith(_NOBODY):
                yield run.take(first, last, Kind.IP, normal)


def _is_byte(digits: str) -> bool:
    return len(digits) <= 3 and int(digits) <= 255 and (digits == "0" or digits[0] != "0")


def _national_ids(run: Run) -> Iterator[Find]:
    for first, group in enumerate(run.groups):
        if run.taken[first]:
            continue
        if len(group.digits) in (7, 8) and (found := _spanish(run, first)):
            yield found
            continue
        if (last := _last_of_national_id(run, first)) is not None:
            normal = "".join(each.digits for each in run.groups[first : last + 1])
            yield run.take(first, last, Kind.NATIONAL_ID, normal)


def _spanish(run: Run, index: int) -> Find | None:
    group = run.groups[index]
    letter = _LETTER.match(run.text, group.end)
    before, digits, start = run.before(index), group.digits, group.start
    if len(digits) == 7 and before and before in "XYZxyz":
        start -= 1
        digits = str("XYZ".index(before.upper())) + digits
        before = run.text[max(0, start - 1) : start]
    if letter is None or len(digits) != 8 or before.isalnum() or not is_dni(digits, letter[1]):
        return None
    run.taken[index] = True
    return Find(start, letter.end(), Kind.NATIONAL_ID, digits + letter[1].upper())


def _last_of_national_id(run: Run, first: int) -> int | None:
    """Return the last group of the national id that begins at group `first`."""
    for form, signs, is_valid in _NATIONAL_IDS.get(run.lengths[first], ()):
        size = len(form)
        if run.lengths[first : first + size] != form or any(run.taken[first : first + size]):
            continue
        between = [run.between(index) for index in range(first + 1, first + size)]
        digits = "".join(group.digits for group in run.groups[first : first + size])
        if (
            all(sign in signs for sign in between)
            and is_valid(digits)
            and run.stands_alone(first, first + size - 1)
        ):
            return first + size - 1
    return None


def _set_dates_aside(run: Run) -> None:
    """Take dates, which are written like phone numbers."""
    for first in range(len(run.groups) - 2):
        if run.lengths[first] != _YEAR_DIGITS and run.lengths[first + 2] != _YEAR_DIGITS:
            continue
        signs = run.between(first + 1), run.between(first + 2)
        part = [group.digits for group in run.groups[first : first + 3]]
        goes_on = first + 3 < len(run.groups) and run.between(first + 3) == signs[0]
        if any(run.taken[first : first + 3]) or signs[0] != signs[1] or signs[0] not in "-./":
            continue
        if not goes_on and (_is_date(part) or _is_date(part[::-1])):
            run.taken[first : first + 3] = [True] * 3


def _is_date(part: list[str]) -> bool:
    """Say whether the three are year, month and day, or year, day and month."""
    year, one, two = part
    return (
        len(year) == _YEAR_DIGITS
        and 1000 <= int(year) < 2200
        and max(len(one), len(two)) <= 2
        and min(int(one), int(two)) in range(1, 13)
        and max(int(one), int(two)) in range(1, 32)
    )


def _phones(run: Run) -> Iterator[Find]:
    first = 0
    while first < len(run.groups):
        last = None if run.taken[first] else phone_end(run, first)
        if last is None:
            first += 1
            continue
        normal = "".join(group.digits for group in run.groups[first : last + 1])
        find = run.take(first, last, Kind.PHONE, normal.lstrip("0"))
        signs = run.text[max(0, find.start - 2) : find.start]
        opens = len(signs) - len(signs.rstrip("+("))
        yield find._replace(start=find.start - opens)
        first = last + 1
