"""Signed tokens by which a browser says what it thinks of one answer, without an API key.

A token names one exchange, and thereby its route and rollout, and when it ends. Nothing is kept of
it: who changes the installation's secret ends them all. Which metrics it serves stands in the
routing table, so that taking one out works at once, also for tokens that are out already.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from struct import Struct

from llm_canary.auth import Hmac
from llm_canary.errors import Unauthorized

_FORM = Struct(">B16sI")  # version, the exchange's id, UNIX seconds at which it ends
_VERSION = 1
_PURPOSE = b"llm-canary feedback token"
_MAC_BYTES = 16
_CHARS = 50
_LATEST_S = 2**32 - 1


class FeedbackTokens:
    """Makes and reads the tokens of one installation."""

    def __init__(self, secret: bytes, lifetime_s: float) -> None:
        self._hmac = Hmac(hmac.digest(secret, _PURPOSE, "sha256")).of
        self._lifetime_s = lifetime_s

    def make(self, request_id: str, now_s: float) -> str:
        """Return the token of an exchange."""
        said = _FORM.pack(
            _VERSION, bytes.fromhex(request_id), min(int(now_s + self._lifetime_s), _LATEST_S)
        )
        return urlsafe_b64encode(said + self._mac(said)).rstrip(b"=").decode()

    def read(self, token: object, now_s: float) -> str:
        """Return the id of the exchange; raise Unauthorized."""
        data = _bytes(token)
        said, mac = data[: _FORM.size], data[_FORM.size :]
        if not hmac.compare_digest(mac, self._mac(said)) or said[0] != _VERSION:
            raise _refused()
        _, request_id, ends_s = _FORM.unpack(said)
        if now_s >= ends_s:
            raise Unauthorized(
                "the feedback token has expired; send the feedback with an API key",
                param="token",
                code="expired_token",
            )
        return str(request_id.hex())

    def _mac(self, said: bytes) -> bytes:
        return self._hmac(said)[:_MAC_BYTES]


def _bytes(token: object) -> bytes:
    if not isinstance(token, str) or len(token) != _CHARS or not token.isascii():
        raise _refused()
    try:
        data = urlsafe_b64decode(token + "==")
    except ValueError:
        raise _refused() from None
    if urlsafe_b64encode(data).rstrip(b"=").decode() != token:  # another spelling of the same
        raise _refused()
    return data


def _refused() -> Unauthorized:
    return Unauthorized(
        "the feedback token is none of this gateway's; send what x-canary-feedback-url said, whole",
        param="token",
        code="invalid_token",
    )
