"""What makes a number a phone number: its form, or the word before it.

A number without either stays: nine plain digits are more often an order than a phone.
"""

from __future__ import annotations

import re

from llm_canary.privacy.runs import Run

_MAX_DIGITS = 15  # E.164
_MAX_DIGITS_WITH_00 = 17
_MIN_LEFT_OVER = 5
_INTRODUCED = re.compile(
    r"\b(?:tel|tel[eé]fono|telefon|t[eé]l[eé]phone|telephone|phone|mobile?|m[oó]vil|handy|cell|fax|"
    r"whatsapp|sms|call|ring|rufen?|anrufen|llam[ae]|appelez)\b[^\w\d]{0,4}(?:\w{1,12}[^\w\d]{1,4})?$",
    re.IGNORECASE,
)
_WORD_CHARS = 32
_NORTH_AMERICA = re.compile(r"[2-9]\d\d")


def phone_end(run: Run, first: int) -> int | None:
    """Return the last group of the phone number that begins at group `first`, None for none."""
    before = run.before(first)
    if before == "_" or before.isalpha():
        return None
    digits = run.groups[first].digits
    if before == "+" or (before == "(" and run.text[run.groups[first].start - 2 :][:1] == "+"):
        return _reach(run, first, 7, _MAX_DIGITS)
    if digits.startswith("00") and digits[2:3] not in ("", "0"):
        return _reach(run, first, 9, _MAX_DIGITS_WITH_00)
    if digits[0] == "0" and digits[1:2] not in ("", "0") and run.between(first) != ".":
        return _reach(run, first, 9, 12, alone=10)
    if before == "(" and 2 <= len(digits) <= 5 and run.after(first) == ")":
        return _reach(run, first, 8, 13)
    if (last := _by_groups(run, first)) is not None:
        return last
    start = run.groups[first].start
    if first == 0 and _INTRODUCED.search(run.text, max(0, start - _WORD_CHARS), start):
        return _reach(run, first, 7, _MAX_DIGITS)
    return None


def _by_groups(run: Run, first: int) -> int | None:
    """Return the end of a number that is known by how its digits are grouped."""
    lengths = run.lengths[first : first + 4]
    begins = run.groups[first].digits
    if begins == "1" and lengths[1:4] == [3, 3, 4] and _is_american(run, first + 1):
        return _alone(run, first, first + 3)
    if lengths[:3] == [3, 3, 4] and _is_american(run, first):
        return _alone(run, first, first + 2)
    if lengths[:3] == [3, 4, 4] and re.match("1[3-9]", begins):  # China
        return _alone(run, first, first + 2)
    if lengths[:2] == [5, 5] and begins[0] in "6789":  # India
        return _alone(run, first, first + 1)
    return None


def _is_american(run: Run, first: int) -> bool:
    return all(_NORTH_AMERICA.fullmatch(run.groups[index].digits) for index in (first, first + 1))


def _alone(run: Run, first: int, last: int) -> int | None:
    """Return `last` unless a further group joins, as in a table of numbers."""
    if any(run.taken[first : last + 1]) or not run.stands_alone(first, last):
        return None
    joins = last + 1 < len(run.groups) and not run.taken[last + 1]
    signs = {run.between(index) for index in range(first + 1, last + 1)}
    return None if joins and run.between(last + 1) in signs else last


def _reach(run: Run, first: int, least: int, most: int, *, alone: int = 0) -> int | None:
    """Return the last group of a number of `least` to `most` digits.

    `alone` is the least where it is not grouped. What is left over of a run joins the number
    unless it is another one, or short: rather too much is replaced than half a number left.
    """
    count, last = 0, first
    for index in range(first, len(run.groups)):
        length = run.lengths[index]
        is_next = count >= 9 and run.groups[index].digits[0] == "0" and index > first
        if run.taken[index] or is_next or count + length > most:
            break
        count, last = count + length, index
    if count < (alone if last == first and alone else least) or run.after(last).isalpha():
        return None
    return _with_rest(run, last)


def _with_rest(run: Run, last: int) -> int:
    """Return the end of a number that ends at `last`, and of what cannot be another one."""
    left, end = 0, last
    for index in range(last + 1, len(run.groups)):
        if run.taken[index] or run.groups[index].digits[0] == "0":
            break
        left, end = left + run.lengths[index], index
    return end if left >= _MIN_LEFT_OVER else last
