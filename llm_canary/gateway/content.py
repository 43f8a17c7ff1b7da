"""What of prompts and answers is kept: nothing, a hash, a redacted copy, or all.

Runs in the telemetry thread, before anything reaches the disk.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import NamedTuple

from llm_canary.routing.table import ContentStore

MAX_KEPT_CHARS = 256 * 1024

_EMAIL = re.compile(r"[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[A-Za-z]{2,24}")
_KEY = re.compile(
    r"\b(?:sk|pk|rk)[-_][A-Za-z0-9_-]{16,}"  # OpenAI, Anthropic, Stripe
    r"|\b(?:ghp|gho|ghs|github_pat|glpat|xox[abprs])[-_][A-Za-z0-9_-]{16,}"
    r"|\bAKIA[0-9A-Z]{16}\b"
    r"|\bAIza[0-9A-Za-z_-]{30,}"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}"  # JSON web token
    r"|-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----"
)
_CARD = re.compile(r"(?<![\d.])\d(?:[ -]?\d){12,18}(?!\.?\d)")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b")
_PHONE = re.compile(r"(?<![\w.])(?:\+|00)?\(?\d{1,4}\)?(?:[ ./-]?\(?\d{2,5}\)?){2,5}(?!\.?\w)")
_PHONE_DIGITS = range(9, 16)  # E.164 allows 15


class Kept(NamedTuple):
    """What is stored of one exchange."""

    content_hash: str | None
    request_text: str | None
    response_text: str | None


NOTHING = Kept(None, None, None)


def keep(policy: ContentStore, request: bytes, response: str, secret: bytes) -> Kept:
    """Return what `policy` lets be stored."""
    if policy is ContentStore.NONE:
        return NOTHING
    digest = blake2b(digest_size=16, key=secret)
    digest.update(request + b"\0" + response.encode(errors="surrogatepass"))
    content_hash = digest.hexdigest()
    if policy is ContentStore.HASH:
        return Kept(content_hash, None, None)
    prompt = request[: 4 * MAX_KEPT_CHARS].decode(errors="replace")[:MAX_KEPT_CHARS]
    answer = response[:MAX_KEPT_CHARS]
    if policy is ContentStore.REDACTED:
        prompt, answer = redact(prompt), redact(answer)
    return Kept(content_hash, prompt, answer)


def redact(text: str) -> str:
    """Replace what looks like an e-mail address, key, card, account or phone number.

    This finds forms, not meaning: names and addresses stay. Keep nothing where that is not enough.
    """
    text = _KEY.sub("[key]", text)
    text = _EMAIL.sub("[email]", text)
    text = _IBAN.sub("[account]", text)
    text = _CARD.sub(lambda match: "[card]" if _is_card(match[0]) else match[0], text)
    return _PHONE.sub(lambda match: "[phone]" if _is_phone(match[0]) else match[0], text)


def _is_phone(text: str) -> bool:
    digits = sum(character.isdigit() for character in text)
    return digits in _PHONE_DIGITS and (len(text) > digits or text.startswith("0"))


def _is_card(text: str) -> bool:
    """Check the Luhn digit, which order numbers and timestamps rarely satisfy."""
    digits = [int(character) for character in text if character.isdigit()]
    doubled = [digit * 2 - 9 if digit > 4 else digit * 2 for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0
