"""API keys made ready for serving: one look-up by the hash of what a request carries."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Mapping
from typing import NamedTuple

from llm_canary.auth import KeyHasher, Permission, may
from llm_canary.config.secrets import resolve
from llm_canary.errors import ConfigError
from llm_canary.gateway.limits import Meter, Meters
from llm_canary.routing.table import KeyRef, RoutingTable, StoredKey

_log = logging.getLogger(__name__)
_PEPPER_BYTES = 32


class Caller(NamedTuple):
    """The key that was used; without configured keys, whatever token came along."""

    name: str | None
    token: str  # without keys only
    may_pin: bool
    routes: frozenset[str] | None = None  # the only ones there are for it; None = all
    reads_all: bool = True  # also what other keys have made
    meter: Meter | None = None  # None: nothing is limited

    def __repr__(self) -> str:
        return f"Caller({self.name!r})"  # the token is somebody's key, elsewhere perhaps

    def may_use(self, route: str) -> bool:
        """Say whether the route is there for this caller."""
        return self.routes is None or route in self.routes

    def owns(self, name: str | None) -> bool:
        """Say whether what the key of that name has made is there for this caller.

        What was made while there were no keys is everybody's.
        """
        return self.reads_all or name is None or name == self.name


class GatewayKey:
    """One key; `noted_s` is all that changes: when its use was last handed on."""

    __slots__ = (
        "caller",
        "expires_s",
        "id",
        "is_revoked",
        "name",
        "noted_s",
        "role",
        "serves_until_s",
    )

    def __init__(self, key: KeyRef | StoredKey, meter: Meter | None) -> None:
        self.name, self.role = key.name, key.role
        self.caller = Caller(
            key.name,
            "",
            key.may_pin,
            None if key.routes is None else frozenset(key.routes),
            may(key.role, Permission.READ),
            meter,
        )
        if isinstance(key, StoredKey):
            self.id, self.noted_s = key.id, -math.inf
            self.expires_s, self.is_revoked = key.expires_s, key.is_revoked
        else:  # of the file: nobody keeps when it was used
            self.id, self.noted_s = "", math.inf
            self.expires_s, self.is_revoked = None, False
        serves = may(key.role, Permission.SERVE) and not self.is_revoked
        until_s = math.inf if self.expires_s is None else self.expires_s
        self.serves_until_s = until_s if serves else -math.inf


class GatewayKeys:
    """The keys of one routing table."""

    def __init__(self, table: RoutingTable, meters: Meters, now_s: float) -> None:
        # A hash that nobody outside can foresee: the time of a look-up tells nothing about the keys
        # it is compared with. Without stored keys there need be no shared secret.
        secret = table.stored.secret or os.urandom(_PEPPER_BYTES)
        self._hash = KeyHasher(secret).digest

        def made(key: KeyRef | StoredKey) -> GatewayKey:
            return GatewayKey(key, meters.of_key(key.name, key.limits, now_s))

        self._known: Mapping[bytes, GatewayKey] = {
            **{bytes.fromhex(key.hash): made(key) for key in table.stored.keys},
            **self._of_file(table, made),
        }

    def find(self, token: str) -> GatewayKey | None:
        """Return the key whose text is `token`."""
        return self._known.get(self._hash(token))

    def _of_file(
        self, table: RoutingTable, made: Callable[[KeyRef], GatewayKey]
    ) -> dict[bytes, GatewayKey]:
        keys: dict[bytes, GatewayKey] = {}
        for key in table.keys:
            try:
                keys[self._hash(resolve(key.secret).decode())] = made(key)
            except ConfigError as error:
                # Fail closed: the table stays keyed, this one key opens nothing.
                _log.warning("key %r cannot be used: %s", key.name, error.message)
        return keys
