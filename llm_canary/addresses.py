"""Which addresses the gateway may be sent to: who writes a URL must not reach more than he may.

Three kinds. *Public* addresses are fine. *Private* ones (loopback, RFC 1918, carrier's NAT, unique
local) are fine where the owner says so: by writing the address itself or `localhost`, or by
`network: private` for a name that leads there. *Forbidden* ones never are: link-local, the metadata
services of clouds, multicast and what is reserved. Pure; nothing is looked up here.
"""

from __future__ import annotations

import re
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import SplitResult, urlsplit

Address = IPv4Address | IPv6Address


class Network(StrEnum):
    """Where the name in a URL may lead."""

    PUBLIC = "public"
    PRIVATE = "private"


class Reach(StrEnum):
    """What kind of address it is."""

    PUBLIC = "public"
    PRIVATE = "private"
    FORBIDDEN = "forbidden"


METADATA_NAMES = frozenset(
    {
        "instance-data",
        "instance-data.ec2.internal",
        "metadata",
        "metadata.goog",
        "metadata.google.internal",
        "metadata.tencentyun.com",
    }
)
_FORBIDDEN = tuple(
    ip_network(each)
    for each in (
        "100.100.100.200/32",  # Alibaba's metadata, amid the carriers' NAT
        "168.63.129.16/32",  # Azure's host agent
        "169.254.0.0/16",  # link-local: metadata of nearly every cloud
        "192.0.0.192/32",  # Oracle's metadata
        "224.0.0.0/3",  # multicast, reserved, broadcast
        "fd00:ec2::/32",  # Amazon's metadata and its siblings
        "fd00:42::42/128",  # Scaleway's
        "fd20:ce::254/128",  # Google's
        "fe80::/10",
        "fec0::/10",  # once site-local
        "ff00::/8",
    )
)
_PRIVATE = tuple(
    ip_network(each)
    for each in (
        "0.0.0.0/8",  # reaches this machine
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "::/128",
        "::1/128",
        "fc00::/7",
    )
)
# IPv6 addresses that hold an IPv4 address, and how many bits follow it.
_CARRIERS: tuple[tuple[IPv6Network, int], ...] = (
    (IPv6Network("::/96"), 0),  # IPv4-compatible
    (IPv6Network("::ffff:0:0/96"), 0),  # IPv4-mapped
    (IPv6Network("::ffff:0:0:0/96"), 0),  # IPv4-translated
    (IPv6Network("64:ff9b::/96"), 0),  # NAT64
    (IPv6Network("64:ff9b:1::/48"), 0),  # NAT64 of one's own
    (IPv6Network("2002::/16"), 80),  # 6to4
)
_TEREDO = IPv6Network("2001::/32")
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]*|[0-9]+")
_PARTS = 4
_SUCH_AS = "169.254.169.254 and its like"


def reach_of(address: Address) -> Reach:
    """Return the kind of `address`; of one that holds another, the worse of the two."""
    if isinstance(address, IPv6Address) and (held := _held(address)) is not None:
        own = _own_reach(address)
        return max(own, reach_of(held), key=list(Reach).index)
    return _own_reach(address)


def literal(host: str) -> Address | None:
    """Return the address that `host` spells, also as inet_aton reads it; None for a name."""
    text = host.strip("[]").partition("%")[0].rstrip(".")
    try:
        return ip_address(text)
    except ValueError:
        return _as_inet_aton(text)


def is_localhost(host: str) -> bool:
    """Say whether `host` is the name of this machine, which no DNS server answers for."""
    name = host.rstrip(".").lower()
    return name == "localhost" or name.endswith(".localhost")


def problem_of_url(url: str) -> str | None:
    """Return why nothing may be sent to `url`, None when it may; names are checked when used."""
    parts = _split(url)
    if parts is None:
        return "no URL such as https://api.openai.com/v1, without user and password"
    host = parts.hostname or ""
    if host.rstrip(".").lower() in METADATA_NAMES:
        return f"the metadata service of a cloud, to which nothing is sent: {host}"
    address = literal(host)
    if address is None:
        return None
    if "%" in host or not _is_plain(host, address):
        return f"an address in an unusual spelling; write {address}"
    if reach_of(address) is Reach.FORBIDDEN:
        return f"an address to which nothing is sent ({_SUCH_AS}): {address}"
    return None


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        is_fit = (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and parts.port != 0
            and parts.username is None
            and parts.password is None
            and url.isascii()
            and url.isprintable()
            and not {" ", "\\"} & set(url)
        )
    except ValueError:
        return None
    return parts if is_fit else None


def _is_plain(host: str, address: Address) -> bool:
    if isinstance(address, IPv6Address):
        return ":" in host  # any of its spellings means the same to everybody
    return host == str(address)


def _own_reach(address: Address) -> Reach:
    if any(_is_in(address, network) for network in _FORBIDDEN):
        return Reach.FORBIDDEN
    if any(_is_in(address, network) for network in _PRIVATE):
        return Reach.PRIVATE
    return Reach.PUBLIC


def _is_in(address: Address, network: IPv4Network | IPv6Network) -> bool:
    return address.version == network.version and address in network


def _held(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address inside; None without one, and for `::` and `::1`."""
    value = int(address)
    if value <= 1:
        return None
    if address in _TEREDO:
        return IPv4Address(~value & 0xFFFFFFFF)
    for network, shift in _CARRIERS:
        if address in network:
            return IPv4Address(value >> shift & 0xFFFFFFFF)
    return None


def _as_inet_aton(text: str) -> IPv4Address | None:
    """Read `2130706433`, `0x7f.1`, `0177.0.0.1`: what C libraries take for an address."""
    parts = text.split(".")
    if len(parts) > _PARTS or not all(_NUMBER.fullmatch(part) for part in parts):
        return None
    try:
        numbers = [_number(part) for part in parts]
    except ValueError:
        return None
    *front, last = numbers
    room = _PARTS - len(front)
    if any(number > 255 for number in front) or last >= 256**room:
        return None
    value = last
    for index, number in enumerate(front):
        value += number << 8 * (3 - index)
    return IPv4Address(value)


def _number(text: str) -> int:
    if text[:2] in ("0x", "0X"):
        return int(text[2:] or "0", 16)
    return int(text, 8) if len(text) > 1 and text[0] == "0" else int(text)
