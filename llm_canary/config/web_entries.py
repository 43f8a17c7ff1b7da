"""The form of `web` and `keys`: who may come in, by which provider's word or which key.

docs/configuration.md is generated from these models, as from those of file.py.
"""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field

from llm_canary.addresses import Network, problem_of_url
from llm_canary.auth import AccessRole
from llm_canary.config.limit_entries import UseEntry
from llm_canary.config.values import Duration, RouteName, SecretReference
from llm_canary.documents.entry import Entry, expected

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_ORIGIN = re.compile(
    r"https?://[a-z0-9.-]+(?::[0-9]{1,5})?|https?://\[[0-9a-f:]+\](?::[0-9]{1,5})?"
)
_SCOPES = re.compile(r"[\x21-\x7e]+(?: [\x21-\x7e]+)*")


def is_safe_url(url: str) -> bool:
    """Say whether nobody on the way can read along: https, or this machine."""
    try:
        parts = urlsplit(url)
        port_is_right = parts.port is None or parts.port > 0
    except ValueError:
        return False
    is_loopback = parts.scheme == "http" and parts.hostname in _LOOPBACK
    return (
        port_is_right
        and bool(parts.hostname)
        and (parts.scheme == "https" or is_loopback)
        and parts.username is None
        and not parts.fragment
        and problem_of_url(url) is None
    )


def _url(value: object) -> object:
    if isinstance(value, str) and value.isprintable() and is_safe_url(value):
        return value
    raise expected("a URL that begins with https://, or with http:// on this machine")


def _scopes(value: object) -> object:
    if isinstance(value, str) and _SCOPES.fullmatch(value) and "openid" in value.split(" "):
        return value
    raise expected("scopes with a space between them, `openid` among them")


def _person(value: object) -> object:
    if value in {role.value for role in AccessRole if role is not AccessRole.APP}:
        return value
    raise expected("reviewer, operator or admin")


SafeUrl = Annotated[str, BeforeValidator(_url)]
PersonRole = Annotated[AccessRole, Field(strict=False), BeforeValidator(_person)]


class OidcEntry(Entry):
    """A provider of OpenID Connect at which people log in."""

    issuer: SafeUrl = Field(description="its URL, as its discovery document says it")
    network: Annotated[Network, Field(strict=False)] = Field(
        default=Network.PUBLIC,
        description="`private`: the names in its URLs may lead to this machine or a private net",
    )
    client_id: str = Field(min_length=1, max_length=256, description="of this installation there")
    client_secret: SecretReference = Field(description="the secret to that id")
    name: str = Field(
        default="single sign-on", min_length=1, max_length=60, description="as the login names it"
    )
    scopes: Annotated[str, BeforeValidator(_scopes)] = Field(
        default="openid profile email", description="what is asked for"
    )
    role_claim: str = Field(
        default="groups",
        min_length=1,
        max_length=256,
        description="claim of the ID token that says roles, a text or a list of texts; "
        "`realm_access.roles` looks into an object",
    )
    roles: dict[str, PersonRole] = Field(
        default={},
        description="value of that claim -> `reviewer`, `operator` or `admin`; the greatest counts",
    )
    default_role: PersonRole | None = Field(
        default=None, description="role where no value matches; unset: such people are refused"
    )


class WebEntry(Entry):
    """The pages."""

    url: SafeUrl | None = Field(
        default=None,
        description="where browsers find the pages; unset: as they ask for them. "
        "A proxy that ends TLS needs it for OIDC",
    )
    oidc: OidcEntry | None = Field(default=None, description="login at a provider")


def _origin(value: object) -> object:
    if isinstance(value, str) and _ORIGIN.fullmatch(value):
        return value
    raise expected("an origin such as https://shop.example, in lower case and without a path")


class FeedbackEntry(Entry):
    """What browsers may say of an answer by the signed token in `x-canary-feedback-url`."""

    origins: list[Annotated[str, BeforeValidator(_origin)]] = Field(
        default=[], description="web pages that may send it from a browser: `https://shop.example`"
    )
    metrics: list[Annotated[str, Field(min_length=1, max_length=64)]] = Field(
        default=["thumbs"], description="the only metrics that a token serves"
    )
    token_lifetime: Duration = Field(
        default=30 * 86_400.0, description="how long after the answer a token serves"
    )


class KeyEntry(Entry):
    """An API key of an app. Without any key the gateway listens on loopback only."""

    key: SecretReference = Field(description="the secret")
    role: Annotated[AccessRole, Field(strict=False)] = Field(
        default=AccessRole.APP,
        description="`app` (sends requests), `reviewer` (grades answers), `operator` (reads, and "
        "steers rollouts) or `admin`",
    )
    routes: list[RouteName] | None = Field(
        default=None,
        min_length=1,
        description="the only routes there are for this key, of role `app`; unset: all",
    )
    pin: bool = Field(default=False, description="may choose a variant by `x-canary-pin`")
    limits: UseEntry | None = Field(default=None, description="what may be used with it")
