"""Talks to a provider of OpenID Connect: discovery, keys, and a code for an ID token.

Nothing is followed: a provider that redirects these calls is refused. Every address it names has to
be https, or on this machine.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import httpx
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from llm_canary.clock import Clock
from llm_canary.config.secrets import resolve
from llm_canary.config.web_entries import OidcEntry, is_safe_url
from llm_canary.errors import Unauthorized, UpstreamUnavailable
from llm_canary.providers.connections import AddressRefused, check_url

_DISCOVERY = "/.well-known/openid-configuration"
_KEEP_S, _AGAIN_AFTER_S = 3_600.0, 60.0
_TIMEOUT_S = 5.0
_MAX_BYTES = 1_000_000
_LEEWAY_S = 60
# Signatures that only the provider can make; never `none`, never one by a shared secret.
_ALGORITHMS = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip
_KEY_TYPES = ("RSA", "EC", "OKP")
_CODE = "login_provider"


class Endpoints(NamedTuple):
    """What the provider's discovery document says."""

    issuer: str
    authorization: str
    token: str
    jwks: str
    algorithms: tuple[str, ...]
    posts_secret: bool  # it takes the secret in the form only


class Proof(NamedTuple):
    """What has to come back in the ID token, and what proves that we have asked for it."""

    redirect_uri: str
    nonce: str
    verifier: str


class OidcProvider:
    """One provider; what it says of itself is kept for an hour."""

    def __init__(self, entry: OidcEntry, clock: Clock) -> None:
        self.entry = entry
        self._clock = clock
        self._lock = threading.Lock()
        self._endpoints: Endpoints | None = None
        self._endpoints_at_s = 0.0
        self._keys: KeySet | None = None
        self._keys_at_s = 0.0

    def endpoints(self) -> Endpoints:
        """Return its addresses; raise UpstreamUnavailable."""
        with self._lock:
            now_s = self._clock.now_s()
            if self._endpoints is None or now_s - self._endpoints_at_s > _KEEP_S:
                self._endpoints = self._discover()
                self._endpoints_at_s = now_s
            return self._endpoints

    def claims(self, code: str, proof: Proof) -> Mapping[str, Any]:
        """Return the verified claims of the ID token that the code is good for, once."""
        endpoints = self.endpoints()
        answer = self._exchange(endpoints, code, proof)
        token, access_token = answer.get("id_token"), answer.get("access_token")
        if not isinstance(token, str):
            raise self._trouble("answered without an ID token")
        decoded = self._verified(token, endpoints)
        claims = CodeIDToken(
            decoded.claims,
            decoded.header,
            {
                "iss": {"essential": True, "value": endpoints.issuer},
                "aud": {"essential": True, "value": self.entry.client_id},
                "sub": {"essential": True},
            },
            {
                "nonce": proof.nonce,
                "client_id": self.entry.client_id,
                "access_token": access_token,
            },
        )
        try:
            claims.validate(now=int(self._clock.now_s()), leeway=_LEEWAY_S)
        except (JoseError, TypeError, ValueError) as error:
            raise self._refused(f"its ID token is refused ({_short(error)})") from error
        return dict(decoded.claims)

    def _verified(self, token: str, endpoints: Endpoints) -> jwt.Token:
        algorithms = list(endpoints.algorithms)
        try:
            return jwt.decode(token, self._key_set(endpoints), algorithms=algorithms)
        except (JoseError, ValueError):
            # The provider may have new keys since; asked at most once a minute.
            keys = self._key_set(endpoints, is_fresh=True)
        try:
            return jwt.decode(token, keys, algorithms=algorithms)
        except (JoseError, ValueError) as error:
            raise self._refused(f"its ID token is refused ({_short(error)})") from error

    def _key_set(self, endpoints: Endpoints, *, is_fresh: bool = False) -> KeySet:
        with self._lock:
            now_s = self._clock.now_s()
            oldest_s = _AGAIN_AFTER_S if is_fresh else _KEEP_S
            if self._keys is None or now_s - self._keys_at_s > oldest_s:
                self._keys = self._load_keys(endpoints)
                self._keys_at_s = now_s
            return self._keys

    def _load_keys(self, endpoints: Endpoints) -> KeySet:
        listed = self._json("GET", endpoints.jwks).get("keys")
        usable = [
            key
            for key in (listed if isinstance(listed, list) else [])
            if isinstance(key, dict)
            and key.get("kty") in _KEY_TYPES
            and key.get("use", "sig") == "sig"
        ]
        try:
            return KeySet.import_key_set({"keys": usable})
        except (JoseError, ValueError, KeyError) as error:
            raise self._trouble("has keys that cannot be read") from error

    def _discover(self) -> Endpoints:
        found = self._json("GET", self.entry.issuer.rstrip("/") + _DISCOVERY)
        issuer = found.get("issuer")
        if not isinstance(issuer, str) or issuer.rstrip("/") != self.entry.issuer.rstrip("/"):
            raise self._trouble(f"calls itself {str(issuer)[:100]!r} in its discovery document")
        authorization, token, jwks = (
            self._address(found, name)
            for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")
        )
        signed = found.get("id_token_signing_alg_values_supported", ["RS256"])
        algorithms = tuple(each for each in _ALGORITHMS if each in signed)
        if not algorithms:
            raise self._trouble(f"signs by none of {', '.join(_ALGORITHMS)}")
        ways = found.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        return Endpoints(
            issuer=issuer,
            authorization=authorization,
            token=token,
            jwks=jwks,
            algorithms=algorithms,
            posts_secret="client_secret_basic" not in ways,
        )

    def _address(self, found: Mapping[str, Any], name: str) -> str:
        url = found.get(name)
        if not isinstance(url, str) or not is_safe_url(url):
            raise self._trouble(f"names a {name} that is neither https nor on this machine")
        return url

    def _exchange(self, endpoints: Endpoints, code: str, proof: Proof) -> Mapping[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": proof.redirect_uri,
            "code_verifier": proof.verifier,
            "client_id": self.entry.client_id,
        }
        secret, auth = resolve(self.entry.client_secret).decode(), None
        if endpoints.posts_secret:
            form["client_secret"] = secret
        else:  # each is encoded first, RFC 6749, 2.3.1
            auth = (quote(self.entry.client_id, safe=""), quote(secret, safe=""))
        return self._json("POST", endpoints.token, data=form, auth=auth)

    def _json(self, method: str, url: str, **options: Any) -> Mapping[str, Any]:  # noqa: ANN401
        headers = {"accept": "application/json"}
        # A proxy for the outside world must not be asked for this machine.
        trusts_env = urlsplit(url).scheme == "https"
        try:
            check_url(url, self.entry.network)
            with (
                httpx.Client(timeout=_TIMEOUT_S, trust_env=trusts_env) as client,
                client.stream(method, url, headers=headers, **options) as answer,
            ):
                body = bytearray()
                for part in answer.iter_bytes():
                    body += part
                    if len(body) > _MAX_BYTES:
                        raise self._trouble(f"answers with more than {_MAX_BYTES:,} bytes")
                status = answer.status_code
        except AddressRefused as error:
            raise self._trouble(f"cannot be reached: {error}") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._trouble(f"cannot be reached ({type(error).__name__})") from error
        if 400 <= status < 500 and method == "POST":
            raise self._refused(f"it takes the login's code no more, or not from us ({status})")
        try:
            value = json.loads(body) if status == 200 else None
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise self._trouble(f"answers {status} without a JSON object at {urlsplit(url).path}")
        return value

    def _trouble(self, what: str) -> UpstreamUnavailable:
        return UpstreamUnavailable(
            f"{self.entry.name} {what}; try again, or log in with a password", code=_CODE
        )

    def _refused(self, what: str) -> Unauthorized:
        return Unauthorized(
            f"the login at {self.entry.name} failed: {what}; begin again", code="login_failed"
        )


def _short(error: Exception) -> str:
    """Return what kind of fault it is; a message may quote the token."""
    return getattr(error, "error", "") or type(error).__name__
