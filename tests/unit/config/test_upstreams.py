"""Upstreams: kinds, addresses, prices, time limits, retries and the breaker."""

from __future__ import annotations

import pytest

from llm_canary.routing.table import Price, Upstream
from tests.unit.config.texts import MINIMAL, SECRET

OPENAI = '    api_key: "${OPENAI_API_KEY}"\n'
PRICE = "{input_per_million: 1, output_per_million: 8%s}"


@pytest.fixture
def upstream(loads):
    """Return the upstream of a file in which it has these lines more."""

    def loaded(*lines: str) -> Upstream:
        more = "".join(f"    {line}\n" for line in lines)
        return loads(MINIMAL.replace(OPENAI, OPENAI + more)).upstreams["openai"]

    return loaded


@pytest.fixture
def refused(refuses):
    """Return the one problem of an upstream with these lines more, without file and line."""

    def problem(*lines: str, base_url: str = "https://api.openai.com/v1") -> str:
        more = "".join(f"    {line}\n" for line in lines)
        text = MINIMAL.replace(OPENAI, OPENAI + more)
        (one,) = refuses(text.replace("https://api.openai.com/v1", base_url))
        return one.split(": ", 1)[1]

    return problem


def other(entry: str) -> str:
    return MINIMAL.replace("routes:", f"  other: {entry}\nroutes:")


def test_what_is_not_written_has_the_defaults_of_the_table(upstream):
    assert upstream() == Upstream(
        name="openai",
        kind="openai",
        base_url="https://api.openai.com/v1",
        api_key="${OPENAI_API_KEY}",
    )


def test_retries_breaker_and_the_limit_of_the_whole_answer(upstream):
    found = upstream("retries: 5", "breaker: {failures: 3, pause: 90s}", "timeouts: {total: 2m}")

    assert found.retries == 5
    assert (found.breaker_failures, found.breaker_pause_s) == (3, 90.0)
    assert (found.total_timeout_s, found.first_byte_timeout_s) == (120.0, 300.0)


def test_a_breaker_can_be_off_and_half_written(upstream):
    found = upstream("breaker: {failures: 0}")

    assert (found.breaker_failures, found.breaker_pause_s) == (0, 10.0)


@pytest.mark.parametrize(
    ("line", "path", "words"),
    [
        ("retries: 6", "retries", "expected a number <= 5"),
        ("retries: -1", "retries", "expected a number >= 0"),
        ("retries: 1.5", "retries", "a whole number"),
        ("retries: true", "retries", "a whole number"),
        ("retries: '2'", "retries", "a whole number"),
        ("breaker: 5", "breaker", "expected a mapping"),
        ("breaker: {failures: -1}", "breaker.failures", ">= 0"),
        ("breaker: {failures: many}", "breaker.failures", "a whole number"),
        ("breaker: {pause: 10}", "breaker.pause", "write the number with its unit"),
        ("breaker: {failure: 1}", "breaker.failure", "did you mean 'failures'?"),
        ("timeouts: {total: 600}", "timeouts.total", "write the number with its unit"),
        ("timeouts: {totl: 600s}", "timeouts.totl", "did you mean 'total'?"),
        ("azure: {}", "azure.api_version", "add `api_version:`"),
        ("azure: 2024-10-21", "azure", "expected a mapping"),
        ("azure: {api_version: latest}", "azure.api_version", "such as '2024-10-21'"),
        ("azure: {api_version: 20241021}", "azure.api_version", "such as '2024-10-21'"),
        ("azure: {api_version: '2024-10-21&x=y'}", "azure.api_version", "such as"),
        ("provider: anthropic", "provider", "an entry of another `kind`"),
        ("price: {input_per_million: 1}", "price.output_per_million", "missing"),
        (f"price: {PRICE % ', cache_write_per_million: -1'}", "price.cache_write_per_million", ">"),
        (f"price: {PRICE % ', reasoning_per_million: x'}", "price.reasoning_per_million", "number"),
        (f"price: {PRICE % ', tiers: {bach: {}}'}", "price.tiers.bach", "did you mean 'batch'?"),
        (f"price: {PRICE % ', tiers: [flex]'}", "price.tiers", "a mapping"),
        (
            f"price: {PRICE % ', tiers: {flex: {input_per_million: 1}}'}",
            "price.tiers.flex.output_per_million",
            "missing",
        ),
        (
            f"price: {PRICE % (', tiers: {flex: ' + PRICE % ', tiers: {}' + '}')}",
            "price.tiers.flex.tiers",
            "unknown key",
        ),
    ],
)
def test_a_bad_value_is_one_problem_at_its_place(refused, line, path, words):
    problem = refused(line)

    assert problem.startswith(f"upstreams.openai.{path}: ")
    assert words in problem


def test_all_prices_are_nano_dollars_per_token(upstream):
    five = (
        "{input_per_million: 1, output_per_million: 8, cached_input_per_million: 0.1, "
        "cache_write_per_million: 1.25, reasoning_per_million: 9%s}"
    )
    tiers = f", tiers: {{batch: {PRICE % ''}, flex: {five % ''}}}"

    price = upstream(f"price: {five % tiers}").price

    assert price == Price(
        input=1000.0,
        output=8000.0,
        cached_input=100.0,
        cache_write=1250.0,
        reasoning=9000.0,
        tiers={
            "batch": Price(input=1000.0, output=8000.0),
            "flex": Price(
                input=1000.0,
                output=8000.0,
                cached_input=100.0,
                cache_write=1250.0,
                reasoning=9000.0,
            ),
        },
    )


class TestAzure:
    """Azure OpenAI is of kind openai."""

    URL = "https://example.openai.azure.com"

    @pytest.mark.parametrize("version", ["2024-10-21", "2025-04-01-preview"])
    def test_its_version_is_in_the_table(self, loads, version):
        azure = f"{{kind: openai, base_url: '{self.URL}/', azure: {{api_version: {version}}}}}"

        found = loads(other(azure)).upstreams["other"]

        assert (found.azure_api_version, found.base_url) == (version, self.URL)

    @pytest.mark.parametrize("end", ["/openai", "/openai/", "/openai/v1"])
    def test_an_address_that_already_says_openai_is_refused(self, refused, end):
        problem = refused("azure: {api_version: 2024-10-21}", base_url=self.URL + end)

        assert problem.startswith("upstreams.openai.base_url: ")
        assert "end base_url before /openai" in problem

    def test_without_azure_the_same_address_is_fine(self, loads):
        entry = f"{{kind: openai, base_url: '{self.URL}/openai/v1'}}"

        assert loads(other(entry)).upstreams["other"].azure_api_version is None

    @pytest.mark.parametrize(
        "entry",
        [
            "{kind: anthropic, base_url: 'https://x', azure: {api_version: 2024-10-21}}",
            "{kind: litellm, provider: azure, azure: {api_version: 2024-10-21}}",
        ],
    )
    def test_other_kinds_do_not_know_it(self, refuses, entry):
        (problem,) = refuses(other(entry))

        assert "upstreams.other.azure: the key belongs to an entry of another `kind`" in problem


class TestAnthropic:
    """A server of the Messages API."""

    def test_it_loads_with_everything_that_others_have(self, loads):
        entry = "{kind: anthropic, base_url: 'https://api.anthropic.com/v1', retries: 1, "
        entry += 'api_key: "${ANTHROPIC_API_KEY}", timeouts: {idle: 1s}}'

        assert loads(other(entry)).upstreams["other"] == Upstream(
            name="other",
            kind="anthropic",
            base_url="https://api.anthropic.com/v1",
            api_key="${ANTHROPIC_API_KEY}",
            idle_timeout_s=1.0,
            retries=1,
        )

    def test_its_address_is_required(self, refuses):
        (problem,) = refuses(other("{kind: anthropic}"))

        assert "upstreams.other.base_url: the key is missing" in problem

    def test_its_key_must_be_there(self, refuses):
        (problem,) = refuses(other("{kind: anthropic, base_url: 'https://x', api_key: '${NO}'}"))

        assert "upstreams.other.api_key: " in problem


class TestLiteLLM:
    """A provider that LiteLLM translates."""

    def test_a_variant_can_use_it(self, loads):
        text = other('{kind: litellm, provider: anthropic, api_key: "${ANTHROPIC_API_KEY}"}')
        config = loads(text.replace("upstream: openai", "upstream: other"))

        assert config.routes["support-bot"].control.upstream == "other"
        assert config.upstreams["other"] == Upstream(
            name="other",
            kind="litellm",
            base_url="",
            api_key="${ANTHROPIC_API_KEY}",
            provider="anthropic",
        )

    def test_it_may_have_another_address(self, loads, monkeypatch):
        monkeypatch.setenv("HOST", "10.0.0.7")
        text = other("{kind: litellm, provider: vllm, base_url: 'http://${HOST}/'}")

        assert loads(text).upstreams["other"].base_url == "http://10.0.0.7"

    def test_its_price_reaches_its_variants(self, loads):
        text = other(f"{{kind: litellm, provider: gemini, price: {PRICE % ''}}}")
        config = loads(text.replace("upstream: openai", "upstream: other"))

        assert config.routes["support-bot"].control.price == Price(input=1000.0, output=8000.0)

    @pytest.mark.parametrize(
        ("entry", "words"),
        [
            ("{kind: litellm}", "provider: the key is missing"),
            ("{kind: litellm, provider: 5}", "provider: 5 does not fit"),
            ("{kind: litellm, provider: a/b}", "provider: 'a/b' does not fit"),
            ("{kind: litellm, provider: x, base_url: ftp://x}", "base_url: 'ftp://x' does not fit"),
            ("{kind: litellm, provider: x, api_key: '${NO}'}", "api_key: "),
            (f"{{kind: litellm, provider: x, api_key: {SECRET}}}", "written in plain text"),
        ],
    )
    def test_a_bad_value_is_one_problem(self, refuses, entry, words):
        (problem,) = refuses(other(entry).replace("upstream: openai", "upstream: other"))

        assert "upstreams.other." in problem and words in problem
        assert SECRET not in problem

    def test_it_cannot_relay_untouched_so_it_is_no_default_upstream(self, refuses):
        text = other("{kind: litellm, provider: anthropic}") + "default_upstream: other\n"

        (problem,) = refuses(text)

        assert "default_upstream: upstream 'other' translates" in problem
        assert "expected an upstream of kind openai or anthropic" in problem


def test_every_kind_is_named_where_the_kind_is_unknown(refuses):
    (problem,) = refuses(other("{kind: antropic, base_url: 'https://x'}"))

    assert (
        "upstreams.other.kind: unknown `kind`; expected one of anthropic, litellm, openai"
        in problem
    )


class TestWhereItMayLead:
    @pytest.mark.parametrize(
        "url",
        [
            "http://169.254.169.254/v1",
            "http://[fe80::1]/v1",
            "http://[::ffff:169.254.169.254]/v1",
            "http://metadata.google.internal/v1",
            "http://0x7f000001/v1",
            "http://user:pass@x/v1",
            "unix:/var/run/docker.sock",
        ],
    )
    def test_nothing_is_sent_to_some_addresses(self, refused, url):
        assert "does not fit" in refused(base_url=url)

    def test_a_name_stays_in_the_public_network_unless_it_says_otherwise(self, upstream):
        assert upstream().network == "public"
        assert upstream("network: private").network == "private"

    def test_there_are_two_networks(self, refused):
        assert "network" in refused("network: all")
