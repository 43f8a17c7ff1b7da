"""Names are checked where they are resolved, once per connection; redirects lead nowhere."""

import asyncio
import socket

import httpx
import pytest
from aiohttp.abc import AbstractResolver

from llm_canary.addresses import Network
from llm_canary.errors import UpstreamUnavailable
from llm_canary.providers.connections import (
    AddressRefused,
    CheckedResolver,
    Connections,
    check_url,
    forbid_redirects,
)
from llm_canary.providers.openai_wire import OpenAiWire
from llm_canary.routing.table import Upstream
from tests.unit.providers.test_openai_wire import Server, answer, chat, whole


class Names(AbstractResolver):
    """Answers for every name with the addresses it has been given."""

    def __init__(self, *addresses):
        self.addresses = addresses
        self.asked = []

    async def resolve(self, host, port=0, family=socket.AF_INET):
        self.asked.append(host)
        return [
            {
                "hostname": host,
                "host": each,
                "port": port,
                "family": socket.AF_INET6 if ":" in each else socket.AF_INET,
                "proto": 0,
                "flags": 0,
            }
            for each in self.addresses
        ]

    async def close(self):
        pass


def asked(network, *addresses, host="models.example"):
    """Return the addresses to which a name of these addresses leads."""
    found = asyncio.run(CheckedResolver(network, Names(*addresses)).resolve(host, 80))
    return [each["host"] for each in found]


def sent(names, *, network=Network.PUBLIC, times=1, host="models.example"):
    """Send requests to a loopback server by name; return what it got."""

    async def run():
        async with Server(answer()) as server:
            port = server.address.split(":")[1]
            url = f"http://{host}:{port}/v1"
            wire = OpenAiWire(Upstream("up", "openai", url, network=network), None)
            connections = Connections(names)
            wire.use(connections)
            try:
                for _ in range(times):
                    await whole(await wire.send(chat()))
            finally:
                await connections.close()
            return server.heads

    return asyncio.run(run())


def test_private_addresses_of_a_public_name_are_left_out():
    assert asked(Network.PUBLIC, "10.0.0.1", "8.8.8.8", "::1") == ["8.8.8.8"]


def test_a_name_that_may_lead_there_leads_there():
    assert asked(Network.PRIVATE, "10.0.0.1", "8.8.8.8") == ["10.0.0.1", "8.8.8.8"]


@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1%2", "::ffff:169.254.169.254"])
@pytest.mark.parametrize("network", Network)
def test_no_name_leads_to_metadata(network, address):
    with pytest.raises(AddressRefused):
        asked(network, address)


def test_a_name_of_metadata_is_not_even_looked_up():
    names = Names("8.8.8.8")
    with pytest.raises(AddressRefused, match="metadata"):
        asyncio.run(CheckedResolver(Network.PRIVATE, names).resolve("metadata.google.internal"))

    assert names.asked == []


def test_a_relayed_request_says_the_way_out_and_nothing_is_sent():
    with pytest.raises(UpstreamUnavailable, match="say `network: private`") as refused:
        sent(Names("127.0.0.1"))

    assert refused.value.code == "upstream_unreachable"


def test_a_name_of_the_private_network_is_looked_up_once_for_kept_connections():
    names = Names("127.0.0.1")

    assert len(sent(names, network=Network.PRIVATE, times=3)) == 3
    assert names.asked == ["models.example"]


def test_localhost_says_itself_where_it_leads():
    assert len(sent(Names("127.0.0.1"), host="localhost")) == 1


def test_what_one_upstream_may_reach_is_not_served_to_another_from_the_cache():
    async def run():
        async with Server(answer()) as server:
            url = f"http://models.example:{server.address.split(':')[1]}/v1"
            connections = Connections(Names("127.0.0.1"))
            for network in (Network.PRIVATE, Network.PUBLIC):
                wire = OpenAiWire(Upstream("up", "openai", url, network=network), None)
                wire.use(connections)
                try:
                    await whole(await wire.send(chat()))
                except UpstreamUnavailable:
                    return network
                finally:
                    if network is Network.PUBLIC:
                        await connections.close()
            return None

    assert asyncio.run(run()) is Network.PUBLIC


def test_a_name_that_moves_is_refused_once_it_has_moved():
    async def run():
        names = Names("8.8.8.8")
        resolver = CheckedResolver(Network.PUBLIC, names)
        await resolver.resolve("models.example", 80)
        names.addresses = ("127.0.0.1",)
        with pytest.raises(AddressRefused):
            await resolver.resolve("models.example", 80)

    asyncio.run(run())


class TestForOtherClients:
    @pytest.fixture
    def leads_to(self, monkeypatch):
        """Return a function that gives every name these addresses."""

        def give(*addresses):
            found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, 80)) for each in addresses]
            monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)

        return give

    def test_one_bad_address_is_too_many(self, leads_to):
        leads_to("8.8.8.8", "10.0.0.1")
        with pytest.raises(AddressRefused, match="network: private"):
            check_url("http://models.example/v1", Network.PUBLIC)

    def test_metadata_is_refused_in_private_networks_too(self, leads_to):
        leads_to("169.254.169.254")
        with pytest.raises(AddressRefused, match="link-local or metadata"):
            check_url("http://models.example/v1", Network.PRIVATE)

    @pytest.mark.parametrize("url", ["http://127.0.0.1:1/v1", "http://localhost/v1"])
    def test_what_is_written_is_meant(self, leads_to, url):
        leads_to("127.0.0.1")

        check_url(url, Network.PUBLIC)

    def test_a_forbidden_literal_is_refused(self):
        with pytest.raises(AddressRefused, match=r"169\.254"):
            check_url("http://169.254.169.254/latest", Network.PRIVATE)


def test_clients_that_are_made_elsewhere_follow_no_redirects():
    class Maker:
        @staticmethod
        def of_class():
            return httpx.AsyncClient(follow_redirects=True)

        def of_object(self):
            return httpx.AsyncClient(follow_redirects=True)

    forbid_redirects(Maker, "of_class")
    forbid_redirects(Maker, "of_object")

    assert not Maker.of_class().follow_redirects
    assert not Maker().of_object().follow_redirects
