"""Which addresses the gateway may be sent to, in every spelling."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_canary.addresses import Reach, literal, problem_of_url, reach_of

METADATA = IPv4Address("169.254.169.254")


def spellings(address: IPv4Address) -> list[str]:
    """Return texts that C libraries read as `address`."""
    a, b, c, d = address.packed
    low, lowest = c << 8 | d, b << 16 | c << 8 | d
    return [
        f"{a}.{b}.{c}.{d}",
        f"{a}.{b}.{c}.{d}.",
        str(int(address)),
        hex(int(address)),
        f"0{int(address):o}",
        f"{a:#x}.{b:#x}.{c:#x}.{d:#x}",
        f"0{a:o}.0{b:o}.0{c:o}.0{d:o}",
        f"{a}.{lowest}",
        f"{a:#x}.{b}.{low}",
    ]


def carriers(address: IPv4Address) -> list[IPv6Address]:
    """Return IPv6 addresses that lead to `address` through a gateway or by themselves."""
    value = int(address)
    return [
        IPv6Address(int(IPv6Address(prefix)) | value << shift)
        for prefix, shift in (
            ("::ffff:0:0", 0),
            ("::ffff:0:0:0", 0),
            ("64:ff9b::", 0),
            ("64:ff9b:1::", 0),
            ("2002::", 80),
        )
    ]


@given(st.ip_addresses(v=4))
def test_every_spelling_is_read_as_the_same_address(address):
    assert {literal(text) for text in spellings(address)} == {address}


@given(st.ip_addresses(v=4))
def test_an_address_inside_another_is_no_better_than_by_itself(address):
    order = list(Reach)
    reached = order.index(reach_of(address))

    assert all(order.index(reach_of(each)) >= reached for each in carriers(address))


@pytest.mark.parametrize("host", spellings(METADATA))
def test_the_metadata_service_is_refused_in_every_spelling(host):
    assert problem_of_url(f"http://{host}/latest") is not None


@pytest.mark.parametrize("address", carriers(METADATA), ids=str)
def test_the_metadata_service_is_refused_inside_ipv6(address):
    assert "nothing is sent" in (problem_of_url(f"http://[{address}]/") or "")


@given(st.integers(0, 0xFFFF))
def test_all_of_link_local_is_forbidden(low):
    assert reach_of(ip_address(0xA9FE0000 | low)) is Reach.FORBIDDEN
    assert reach_of(IPv6Address((0xFE80 << 112) | low)) is Reach.FORBIDDEN


@pytest.mark.parametrize(
    "address",
    [
        "fd00:ec2::254",
        "100.100.100.200",
        "168.63.129.16",
        "224.0.0.1",
        "255.255.255.255",
        "ff02::1",
    ],
)
def test_other_addresses_where_nothing_is_sent(address):
    assert reach_of(ip_address(address)) is Reach.FORBIDDEN


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "0.0.0.0",
        "10.1.2.3",
        "172.31.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "::",
        "::1",
        "fd12::1",
        "::ffff:10.0.0.1",
    ],
)
def test_private_addresses(address):
    assert reach_of(ip_address(address)) is Reach.PRIVATE


@pytest.mark.parametrize("address", ["8.8.8.8", "172.32.0.1", "2606:4700::1111"])
def test_public_addresses(address):
    assert reach_of(ip_address(address)) is Reach.PUBLIC


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "unix:/var/run/docker.sock",
        "gopher://x/1",
        "ftp://x",
        "//x/v1",
        "http:///v1",
        "http://user@x/v1",
        "http://:password@x/v1",
        "http://x:0/v1",
        "http://x:99999/v1",
        "http://[::1/v1",
        "http://x y/v1",
        "http://x\\@y/v1",
        "http://x\n/v1",
        "http://1.1.1.\u0661/v1",
        "http://metadata.google.internal/computeMetadata/v1",
        "http://METADATA.google.internal./",
        "http://[fe80::1%25eth0]/",
        "http://0x7f.1/v1",
        "http://2130706433/v1",
    ],
)
def test_urls_that_are_refused(url):
    assert problem_of_url(url) is not None


@pytest.mark.parametrize(
    "url",
    [
        "https://api.openai.com/v1",
        "http://127.0.0.1:8080/v1",
        "http://localhost:8080/v1",
        "http://[::1]:8080/v1",
        "http://10.0.0.7",
        "https://vllm.internal/v1",
    ],
)
def test_urls_that_are_not(url):
    assert problem_of_url(url) is None


@given(st.text(max_size=40))
def test_no_text_makes_it_fail(text):
    problem_of_url(text)
    problem_of_url(f"http://{text}")
    literal(text)
