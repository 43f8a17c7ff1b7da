"""Login at a provider of OpenID Connect: authorization code with PKCE, state and nonce.

A signed cookie, good for ten minutes, carries the state and where the person wanted to go. Nonce
and verifier are made from the state and the installation's secret, so no browser ever holds them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from authlib.oauth2.rfc7636 import create_s256_code_challenge

from llm_canary.access.oidc_provider import OidcProvider, Proof
from llm_canary.auth import AccessRole
from llm_canary.clock import Clock
from llm_canary.config.web_entries import OidcEntry
from llm_canary.errors import Forbidden, NotFound, Unauthorized

LOGIN_S = 600.0
_ERROR = re.compile(r"[a-z_]{1,64}")
_GREATEST_FIRST = (AccessRole.ADMIN, AccessRole.OPERATOR, AccessRole.REVIEWER)
_NAMES = ("preferred_username", "email", "name")
_MAX_NAME_CHARS = 100


class Identity(NamedTuple):
    """Who the provider says has come."""

    issuer: str
    subject: str
    names: tuple[str, ...]  # the first that is free becomes the account's
    role: AccessRole | None  # None: no role for this person


class OidcLogin:
    """The flow with the provider that the file names at this moment."""

    def __init__(
        self, entry: Callable[[], OidcEntry | None], clock: Clock, secret: Callable[[], bytes]
    ) -> None:
        self._entry = entry
        self._clock = clock
        self._secret = secret
        self._provider: OidcProvider | None = None

    @property
    def name(self) -> str | None:
        """The provider's name for the login page; None where there is none."""
        entry = self._entry()
        return None if entry is None else entry.name

    def begin(self, redirect_uri: str, target: str) -> tuple[str, str]:
        """Return where the browser has to go, and the cookie that it has to bring back."""
        provider = self._in_force()
        endpoints = provider.endpoints()
        state = secrets.token_urlsafe(24)
        proof = self._proof(state, redirect_uri)
        query = urlencode(
            {
                "response_type": "code",
                "client_id": provider.entry.client_id,
                "redirect_uri": redirect_uri,
                "scope": provider.entry.scopes,
                "state": state,
                "nonce": proof.nonce,
                "code_challenge": create_s256_code_challenge(proof.verifier),
                "code_challenge_method": "S256",
            }
        )
        join = "&" if urlsplit(endpoints.authorization).query else "?"
        return f"{endpoints.authorization}{join}{query}", self._sealed(state, target)

    def finish(
        self, answer: Mapping[str, str], cookie: str | None, redirect_uri: str
    ) -> tuple[Identity, str]:
        """Return who came back and where they wanted to go; raise Unauthorized, or UpstreamError.

        A code is good once: the provider refuses it the second time.
        """
        provider = self._in_force()
        state, target = self._opened(cookie)
        if not hmac.compare_digest(answer.get("state", "").encode(), state.encode()):
            raise _again("it was begun in another window, or by another site")
        if "error" in answer:
            error = answer["error"]
            shown = error if _ERROR.fullmatch(error) else "for a reason it does not say"
            raise _again(f"{provider.entry.name} has refused it: {shown}")
        issuer = provider.endpoints().issuer
        if answer.get("iss", issuer) != issuer:
            raise _again("another provider has answered")  # RFC 9207
        if not answer.get("code"):
            raise _again(f"{provider.entry.name} has sent no code")
        claims = provider.claims(answer["code"], self._proof(state, redirect_uri))
        return identity_of(claims, provider.entry), target

    def _in_force(self) -> OidcProvider:
        entry = self._entry()
        if entry is None:
            raise NotFound("canary.yaml names no provider under `web.oidc`; log in by password")
        if self._provider is None or self._provider.entry != entry:
            self._provider = OidcProvider(entry, self._clock)
        return self._provider

    def _proof(self, state: str, redirect_uri: str) -> Proof:
        return Proof(redirect_uri, self._keyed("nonce", state), self._keyed("verifier", state))

    def _sealed(self, state: str, target: str) -> str:
        until_s = self._clock.now_s() + LOGIN_S
        content = base64.urlsafe_b64encode(json.dumps([state, target, until_s]).encode()).decode()
        return f"{content}.{self._keyed('cookie', content)}"

    def _opened(self, cookie: str | None) -> tuple[str, str]:
        content, _, seal = (cookie or "").partition(".")
        if not hmac.compare_digest(seal.encode(), self._keyed("cookie", content).encode()):
            raise _again("the browser has brought no cookie of it back")
        state, target, until_s = json.loads(base64.urlsafe_b64decode(content))
        if self._clock.now_s() > until_s:
            raise _again("it has taken longer than ten minutes")
        return state, target

    def _keyed(self, what: str, text: str) -> str:
        return hmac.new(self._secret(), f"oidc {what}\0{text}".encode(), hashlib.sha256).hexdigest()


def identity_of(claims: Mapping[str, Any], entry: OidcEntry) -> Identity:
    """Return who verified claims are about, and the greatest role that they give."""
    said = _values(claims, entry.role_claim)
    given = {entry.roles[value] for value in said if value in entry.roles}
    role = next((each for each in _GREATEST_FIRST if each in given), entry.default_role)
    subject, issuer = str(claims["sub"]), str(claims["iss"])
    names = [claims.get(name) for name in _NAMES]
    names.append(f"{subject[:60]} at {urlsplit(issuer).hostname}")
    return Identity(
        issuer,
        subject,
        tuple(
            name.strip()[:_MAX_NAME_CHARS]
            for name in names
            if isinstance(name, str) and name.strip() and name.strip().isprintable()
        ),
        role,
    )


def require_role(identity: Identity, provider: str) -> AccessRole:
    """Return the person's role; raise Forbidden when they have none here."""
    if identity.role is None:
        raise Forbidden(
            f"{identity.names[0]!r} is known at {provider}, but has no role here; ask an admin to "
            "give one there, or under `web.oidc.roles`",
            code="no_role",
        )
    return identity.role


def _values(claims: Mapping[str, Any], name: str) -> list[str]:
    found: Any = claims.get(name)
    if found is None:  # a name with dots may be a path as well as a name
        found = claims
        for part in name.split("."):
            found = found.get(part) if isinstance(found, dict) else None
    listed = found if isinstance(found, list) else [found]
    return [each for each in listed if isinstance(each, str)]


def _again(why: str) -> Unauthorized:
    return Unauthorized(f"the login was not finished: {why}; begin again", code="login_failed")
