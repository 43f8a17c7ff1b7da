"""A simulated provider of OpenID Connect on loopback: real HTTP, real signatures, and faults on request."""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from typing import Any
from urllib.parse import unquote, urlencode

from aiohttp import web
from joserfc import jwt
from joserfc.jwk import RSAKey

from tests.support import leaks
from tests.support.loopback import LoopbackServer

CLIENT_ID, CLIENT_SECRET = "llm-canary", "pr0vider-s3cret/+"
leaks.GIVEN.add(CLIENT_SECRET)


class SimulatedOidcProvider(LoopbackServer):
    """Logs everybody in as `person` without asking; what is wrong with its tokens is in `faults`."""

    def __init__(self) -> None:
        super().__init__()
        self.key = RSAKey.generate_key(2048, {"use": "sig", "kid": "first"})
        self.signing_key: Any = None  # another one than it shows, where set
        self.person: dict[str, Any] = {"sub": "u-1", "preferred_username": "mara"}
        self.claims: dict[str, Any] = {}  # instead of the right ones
        self.refuses: str | None = None
        self.discovery: dict[str, Any] = {}
        self.asked: list[dict[str, str]] = []
        self.discoveries = 0
        self._codes: dict[str, dict[str, str]] = {}

    @property
    def issuer(self) -> str:
        return self.origin

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/.well-known/openid-configuration", self._discover)
        router.add_get("/authorize", self._authorize)
        router.add_post("/token", self._token)
        router.add_get("/jwks", self._jwks)

    async def _discover(self, _: web.Request) -> web.Response:
        self.discoveries += 1
        return web.json_response(
            {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.origin}/authorize",
                "token_endpoint": f"{self.origin}/token",
                "jwks_uri": f"{self.origin}/jwks",
                "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
                **self.discovery,
            }
        )

    async def _jwks(self, _: web.Request) -> web.Response:
        return web.json_response({"keys": [self.key.as_dict(private=False)]})

    async def _authorize(self, request: web.Request) -> web.Response:
        asked = dict(request.query)
        self.asked.append(asked)
        back: dict[str, str] = {"state": asked["state"]}
        if self.refuses is not None:
            back["error"] = self.refuses
        else:
            back["code"] = secrets.token_urlsafe(12)
            back["iss"] = self.issuer
            self._codes[back["code"]] = asked
        raise web.HTTPFound(f"{asked['redirect_uri']}?{urlencode(back)}")

    async def _token(self, request: web.Request) -> web.Response:
        form = await request.post()
        asked = self._codes.pop(str(form["code"]), None)
        _, _, given = request.headers.get("authorization", "").partition(" ")
        name, _, secret = base64.b64decode(given).decode().partition(":")
        digest = hashlib.sha256(str(form["code_verifier"]).encode()).digest()
        is_right = (
            asked is not None
            and (unquote(name), unquote(secret)) == (CLIENT_ID, CLIENT_SECRET)
            and form["redirect_uri"] == asked["redirect_uri"]
            and base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == asked["code_challenge"]
        )
        if not is_right or asked is None:
            return web.json_response({"error": "invalid_grant"}, status=400)
        now = int(time.time())
        claims = {
            "iss": self.issuer, "aud": CLIENT_ID, "iat": now, "exp": now + 300,
            "nonce": asked["nonce"], **self.person, **self.claims,
        }  # fmt: skip
        key = self.signing_key or self.key
        token = jwt.encode({"alg": "RS256", "kid": "first"}, claims, key)
        return web.json_response({"access_token": "a", "token_type": "Bearer", "id_token": token})
