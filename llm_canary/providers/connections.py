"""Connections to upstreams, judges and login providers, to no address where they have no business.

A name is checked where it is resolved, so a name that leads elsewhere the next time is checked the
next time. What is connected already costs nothing. See `llm_canary.addresses` for the rules.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from functools import wraps
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import DefaultResolver

from llm_canary.addresses import (
    METADATA_NAMES,
    Network,
    Reach,
    is_localhost,
    literal,
    problem_of_url,
    reach_of,
)
from llm_canary.errors import UpstreamUnavailable
from llm_canary.routing.table import Upstream

_KEEP_ALIVE_S = 30.0
_PORTS = {"http": 80, "https": 443}


class AddressRefused(OSError):  # noqa: N818 - named for the fact
    """A name leads only to addresses to which nothing is sent."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.strerror = message


class CheckedResolver(AbstractResolver):
    """Resolves names, and leaves out addresses that may not be reached."""

    def __init__(self, network: Network, resolver: AbstractResolver | None = None) -> None:
        self._network = network
        self._resolver = resolver or DefaultResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses that may be used; raise AddressRefused when none may."""
        check_name(host)
        found = await self._resolver.resolve(host, port, family)
        allowed = _allowed(host, [each["host"] for each in found], self._network)
        return [each for each in found if each["host"] in allowed]

    async def close(self) -> None:
        """Close the resolver below."""
        await self._resolver.close()


class Connections:
    """The pools that all upstreams share; make it inside the running loop.

    There are two, so that an address of the private network that one upstream may reach is not
    served to another from the cache of names.
    """

    def __init__(self, resolver: AbstractResolver | None = None) -> None:
        self._pools = {
            network: aiohttp.TCPConnector(
                limit=0,
                ttl_dns_cache=60,
                keepalive_timeout=_KEEP_ALIVE_S,
                resolver=CheckedResolver(network, resolver),
            )
            for network in Network
        }

    def to(self, host: str, network: Network) -> aiohttp.TCPConnector:
        """Return the pool for `host`."""
        return self._pools[Network.PRIVATE if is_localhost(host) else network]

    async def close(self) -> None:
        """Close all connections."""
        for pool in self._pools.values():
            await pool.close()


def check_url(url: str, network: Network) -> None:
    """Raise AddressRefused when `url` leads to an address to which nothing is sent.

    For clients whose resolver is not ours. A name that cannot be resolved passes: the client says
    so itself. Blocks while the name is looked up.
    """
    if (problem := problem_of_url(url)) is not None:
        raise AddressRefused(f"it is {problem}")
    parts = urlsplit(url)
    host = parts.hostname or ""
    if literal(host) is not None:
        return
    try:
        found = socket.getaddrinfo(
            host, parts.port or _PORTS[parts.scheme], type=socket.SOCK_STREAM
        )
    except OSError:
        return
    addresses = [str(each[4][0]) for each in found]
    allowed = _allowed(host, addresses, Network.PRIVATE if is_localhost(host) else network)
    if len(allowed) < len(set(addresses)):  # which of them the client takes is not ours to say
        raise _refused(host, network)


def check_upstream(upstream: Upstream) -> None:
    """Raise UpstreamUnavailable when the address of `upstream` leads where nothing is sent."""
    if not upstream.base_url:
        return
    try:
        check_url(upstream.base_url, upstream.network)
    except AddressRefused as error:
        raise UpstreamUnavailable(
            f"upstream {upstream.name!r} cannot be reached: {error}", code="upstream_unreachable"
        ) from None


def forbid_redirects(owner: type, name: str) -> None:
    """Make the HTTP clients that `owner.name` returns follow no redirect: it leads anywhere."""
    is_static = isinstance(vars(owner)[name], staticmethod)
    make = getattr(owner, name)

    @wraps(make)
    def made(*args: Any, **options: Any) -> Any:  # noqa: ANN401
        client = make(*args, **options)
        if client is not None:
            client.follow_redirects = False
        return client

    setattr(owner, name, staticmethod(made) if is_static else made)


def check_name(host: str) -> None:
    """Raise AddressRefused for a name of a metadata service."""
    if host.rstrip(".").lower() in METADATA_NAMES:
        raise AddressRefused(f"{host} is the metadata service of a cloud; nothing is sent there")


def _allowed(host: str, addresses: Sequence[str], network: Network) -> set[str]:
    fit = {Reach.PUBLIC} if network is Network.PUBLIC else {Reach.PUBLIC, Reach.PRIVATE}
    allowed = {each for each in addresses if reach_of(ip_address(each.partition("%")[0])) in fit}
    if addresses and not allowed:
        raise _refused(host, network)
    return allowed


def _refused(host: str, network: Network) -> AddressRefused:
    if network is Network.PRIVATE:
        return AddressRefused(
            f"the name {host} leads to a link-local or metadata address; nothing is sent there"
        )
    return AddressRefused(
        f"the name {host} leads to this machine or a private network; if that is meant, say "
        "`network: private` beside its URL"
    )
