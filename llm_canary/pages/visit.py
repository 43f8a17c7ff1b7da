"""One visit of a page: who looks, what was asked, what was sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import parse_qs

from starlette.requests import Request

from llm_canary.access.gate import Viewer
from llm_canary.errors import InvalidRequest, PayloadTooLarge

COOKIE, SECURE_COOKIE = "llm_canary_session", "__Host-llm_canary_session"
# The longest correction has 100,000 characters, of 12 bytes where a form escapes them.
MAX_FORM_BYTES, MAX_FIELDS = 2_097_152, 200
_MOST_DIGITS = 12
_FORM = "application/x-www-form-urlencoded"


class Target(NamedTuple):
    """Where a link or a form of ours points to."""

    path: str
    query: str

    def __str__(self) -> str:
        return f"{self.path}?{self.query}" if self.query else self.path


@dataclass(frozen=True)
class Visit:
    """A request as the handler of a page gets it."""

    viewer: Viewer
    target: Target
    path: Mapping[str, str]  # parts of the route
    query: Mapping[str, str]  # the last of each name
    headers: Mapping[str, str]
    is_secure: bool
    token: str | None  # of the session
    form: Mapping[str, str] = field(default_factory=dict)  # the last of each name
    origin: str = ""  # scheme and host as the client knows us
    cookies: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_fragment(self) -> bool:
        """Whether htmx asks, which takes a part of a page."""
        return "hx-request" in self.headers

    def field(self, name: str, *, longest: int = 500) -> str:
        """Return a text of the form, stripped; raise InvalidRequest when it is absent."""
        text = self.optional(name, longest=longest)
        if not text:
            raise InvalidRequest(f"`{name}` is empty; fill it in", param=name)
        return text

    def optional(self, name: str, *, longest: int = 500) -> str:
        """Return a text of the form, stripped, empty when it is absent."""
        text = self.form.get(name, "").strip()
        if len(text) > longest:
            raise InvalidRequest(
                f"`{name}` has {len(text):,} characters; at most {longest:,}", param=name
            )
        return text

    def number(self, name: str, default: int, *, least: int = 0, most: int = 1_000_000) -> int:
        """Return a whole number of the query within its limits; raise InvalidRequest otherwise."""
        text = self.query.get(name, "")
        if not text:
            return default
        is_number = text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS
        if not is_number or not least <= int(text) <= most:
            raise InvalidRequest(
                f"`{name}` is {text[:40]!r}; expected a number from {least} to {most}", param=name
            )
        return int(text)

    def choice(self, name: str, options: tuple[str, ...]) -> str:
        """Return a word of the query that is among the options, the first one when it is absent."""
        text = self.query.get(name, "")
        if text and text not in options:
            raise InvalidRequest(
                f"`{name}` is {text[:40]!r}; expected {', '.join(filter(None, options))}",
                param=name,
            )
        return text or options[0]


def is_secure(request: Request, web_url: str | None) -> bool:
    """Say whether browsers come by https; a proxy that ends TLS asks us without."""
    return request.url.scheme == "https" or (web_url or "").startswith("https://")


def cookie_name(*, is_secure: bool) -> str:
    """Return the cookie's name; the prefix keeps it from being set by another host."""
    return SECURE_COOKIE if is_secure else COOKIE


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of an urlencoded form; raise for anything else, and for too much."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind and kind != _FORM:
        raise InvalidRequest(f"a form is sent as {_FORM}, not as {kind[:80]!r}")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM_BYTES:
            raise PayloadTooLarge(f"a form may have {MAX_FORM_BYTES:,} bytes; shorten its texts")
    try:
        fields = parse_qs(
            body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict"
        )
    except ValueError as error:
        raise InvalidRequest(
            "the form is no urlencoded UTF-8 text of at most 200 fields"
        ) from error
    return {name: values[-1] for name, values in fields.items()}
