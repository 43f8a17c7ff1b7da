"""Providers that LiteLLM translates: OpenAI's chat completions and embeddings for everything else.

The only file that imports litellm, when it is needed: it takes seconds and 200 MB. See ADR 0010.

Clients choose the body, and litellm takes its own settings (`api_base`, `fallbacks`, ...) from the
same keyword arguments: so only the named fields are passed on.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections import deque
from collections.abc import Mapping
from functools import cache, partial
from types import SimpleNamespace
from typing import Any

import orjson

from llm_canary.errors import InvalidRequest, UpstreamUnavailable
from llm_canary.opaque import Opaque, text_of
from llm_canary.providers.connections import check_upstream, forbid_redirects
from llm_canary.providers.translated_answer import body_of, event_of
from llm_canary.providers.translated_error import Failed, error_body, failure_of, useful_headers
from llm_canary.providers.wire import MAX_ANSWER_BYTES, Answer, AnswerCut, Outbound
from llm_canary.routing.table import Path, Upstream

_CHAT, _EMBEDDINGS = "/chat/completions", "/embeddings"
_ALWAYS_SENT = frozenset({"model", "messages", "input", "stream"})
# `metadata` is for tracing inside litellm and never reaches a provider, so it is not here.
# fmt: off
_CHAT_FIELDS = frozenset({
    "messages", "stream", "stream_options", "temperature", "top_p", "top_k", "n", "stop",
    "max_tokens", "max_completion_tokens", "modalities", "prediction", "audio",
    "presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "top_logprobs", "user",
    "response_format", "seed", "tools", "tool_choice", "parallel_tool_calls", "functions",
    "function_call", "reasoning_effort", "verbosity", "thinking", "web_search_options",
    "service_tier", "store", "safety_identifier", "prompt_cache_key",
})
# fmt: on
_EMBEDDING_FIELDS = frozenset({"input", "dimensions", "encoding_format", "user"})
_JSON, _SSE = b"application/json", b"text/event-stream; charset=utf-8"
_LOGGERS = ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy")
_SETTINGS = {
    "telemetry": False,  # gone from newer versions
    "suppress_debug_info": True,  # no advertisement on stdout after an error
    "turn_off_message_logging": True,
    "disable_streaming_logging": True,
}
# Read by litellm while it is imported or used.
_ENVIRONMENT = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # no download of prices
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",  # no download of header names
    "LITELLM_MODE": "PRODUCTION",  # do not read .env
}


@cache
def litellm_library() -> Any:  # noqa: ANN401 - a library that is imported late
    """Import litellm with everything off that is not translation; raise UpstreamUnavailable."""
    os.environ.update(_ENVIRONMENT)
    try:
        import httpx  # noqa: PLC0415 - the data plane itself does without
        import litellm  # noqa: PLC0415 - takes seconds
        import openai  # noqa: PLC0415 - all errors of litellm's are this package's
        from litellm import utils  # noqa: PLC0415
        from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler  # noqa: PLC0415
        from litellm.llms.openai.common_utils import BaseOpenAILLM  # noqa: PLC0415
    except ImportError:
        raise UpstreamUnavailable(
            "this upstream needs LiteLLM, which is not installed; "
            "run `pip install --force-reinstall llm-canary-gateway`",
            code="litellm_missing",
        ) from None
    for name in _LOGGERS:
        logging.getLogger(name).disabled = True  # its messages quote prompts
    for name, value in _SETTINGS.items():
        setattr(litellm, name, value)
    forbid_redirects(AsyncHTTPHandler, "create_client")
    forbid_redirects(BaseOpenAILLM, "_get_async_http_client")
    for name in ("callbacks", "input_callback", "success_callback", "failure_callback"):
        setattr(litellm, name, [])
    return SimpleNamespace(
        acompletion=litellm.acompletion,
        aembedding=litellm.aembedding,
        asystemone=litellm.asystemone,
        adecisions=litellm.adecisions,
        completion_cost=litellm.completion_cost,
        close_clients=partial(_close_clients, litellm),
        map_chat=utils.get_optional_params,
        map_embedding=utils.get_optional_params_embeddings,
        Error=openai.OpenAIError,
        APITimeout=openai.APITimeoutError,
        Timeout=httpx.Timeout,
    )


async def _close_clients(litellm: Any) -> None:  # noqa: ANN401 - a library without types
    """Close litellm's connections: also of the client that it shares between streams.

    Its own function closes what is in its cache, which forgets that client after an hour; the event
    loop of a server that had streamed could then not be closed.
    """
    await litellm.close_litellm_async_clients()
    shared = vars(litellm).get("module_level_aclient")  # made when it is first used
    if shared is not None:
        await shared.close()


class LiteLlmWire:
    """One provider behind LiteLLM's translation."""

    path = Path.TRANSLATED

    def __init__(self, upstream: Upstream, api_key: Opaque | None) -> None:
        self.upstream = upstream
        self.api_key = api_key

    def use(self, connections: object) -> None:  # noqa: ARG002 - litellm has its own pools
        """Import litellm in a thread, so that the first request does not wait for it."""
        threading.Thread(target=_warm, name="import-litellm", daemon=True).start()

    async def close(self) -> None:
        """Close litellm's connections, which all translated upstreams share."""
        if litellm_library.cache_info().currsize:
            await litellm_library().close_clients()

    async def send(self, outbound: Outbound) -> Answer:
        """Return the answer once its first piece is here; raise UpstreamUnavailable or its kin."""
        if outbound.method != "POST" or outbound.path not in (_CHAT, _EMBEDDINGS):
            raise InvalidRequest(
                f"upstream {self.upstream.name!r} is translated by LiteLLM and serves "
                f"chat completions and embeddings, not {outbound.path}",
                code="endpoint_not_supported",
            )
        library = await asyncio.to_thread(self._ready)
        call = _Call(library, self.upstream, text_of(self.api_key), outbound)
        try:
            response = await call.start()
            if not outbound.stream:
                return _WholeAnswer(200, body_of(response), call.headers(response), call.sent())
            answer = _StreamAnswer(call, response)
            await answer.begin()
        except library.Error as error:
            failed = call.failure(error)
            return _WholeAnswer(
                failed.status, error_body(failed), failed.headers, call.sent(), _JSON
            )
        return answer

    def _ready(self) -> Any:  # noqa: ANN401 - litellm
        check_upstream(self.upstream)
        return litellm_library()


def _warm() -> None:
    try:
        litellm_library()
    except UpstreamUnavailable as error:
        logging.getLogger(__name__).warning("%s", error.message)


class _Call:
    """One request to the provider."""

    def __init__(
        self,
        library: Any,  # noqa: ANN401
        upstream: Upstream,
        api_key: str | None,
        outbound: Outbound,
    ) -> None:
        self.library = library
        self._upstream = upstream
        self._api_key = api_key
        self._outbound = outbound
        self._model = outbound.model or ""
        self._provider = upstream.provider or ""
        self._is_chat = outbound.path == _CHAT
        self._has_departed = False  # the translation is done, the provider is asked

    async def start(self) -> Any:  # noqa: ANN401
        """Ask the provider; raise what litellm raises."""
        upstream, fields = self._upstream, self._fields()
        limit_s = upstream.total_timeout_s
        if self._outbound.stream:
            limit_s = max(upstream.first_byte_timeout_s, upstream.idle_timeout_s)
        ask = self.library.acompletion if self._is_chat else self.library.aembedding
        return await ask(
            model=f"{self._provider}/{self._model}",
            api_key=self._api_key,
            api_base=upstream.base_url or None,
            drop_params=True,
            num_retries=0,
            max_retries=0,
            timeout=self.library.Timeout(limit_s, connect=upstream.connect_timeout_s),
            logger_fn=self._note,
            **fields,
            # Tools would make it look for MCP servers, and need a package that it does not require.
            **({"_skip_mcp_handler": True} if self._is_chat else {}),
        )

    def sent(self) -> tuple[str, ...]:
        """Return the names of the body's fields that reached the provider.

        A field counts when the provider's parameters have it, or differ without it: `stop` goes to
        Anthropic as `stop_sequences`, `seed` does not go at all.
        """
        if not self._has_departed:
            return ()
        fields = self._fields()
        params = {name: fields[name] for name in fields if name not in _ALWAYS_SENT}
        mapped = self._mapped(params)
        extra = mapped.get("extra_body") or {}
        sent = {name for name in fields if name in _ALWAYS_SENT} | {"model"}
        for name in params:
            others = {key: params[key] for key in params if key != name}
            if name in mapped or name in extra or self._mapped(others) != mapped:
                sent.add(name)
        return tuple(sorted(sent))

    def failure(self, error: Exception) -> Failed:
        """Return what of `error` the client gets; raise it where it is no answer of a provider."""
        return failure_of(
            error,
            upstream=self._upstream,
            has_departed=self._has_departed,
            private=[self._upstream.base_url, self._api_key, *self._texts()],
        )

    @staticmethod
    def headers(response: object) -> Mapping[str, str]:
        """Return the provider's header."""
        hidden = getattr(response, "_hidden_params", None) or {}
        return hidden.get("additional_headers") or {}

    def _texts(self) -> list[object]:
        body = orjson.loads(self._outbound.body)
        return [body.get("messages"), body.get("input")]

    def _fields(self) -> dict[str, Any]:
        """Return the body's fields that are passed on; anew each time, as litellm changes them."""
        body = orjson.loads(self._outbound.body)
        known = _CHAT_FIELDS if self._is_chat else _EMBEDDING_FIELDS
        return {name: body[name] for name in body if name in known and body[name] is not None}

    def _mapped(self, params: dict[str, Any]) -> dict[str, Any]:
        """Return the provider's own parameters."""
        map_ = self.library.map_chat if self._is_chat else self.library.map_embedding
        mapped: dict[str, Any] = map_(
            model=self._model, custom_llm_provider=self._provider, drop_params=True, **params
        )
        return mapped

    def _note(self, details: Mapping[str, Any]) -> None:
        """Learn from litellm's logging hook that the request is translated."""
        if (details.get("additional_args") or {}).get("complete_input_dict"):
            self._has_departed = True


class _WholeAnswer:
    """An answer that is here completely."""

    def __init__(
        self,
        status: int,
        body: bytes,
        headers: Mapping[str, str],
        sent_params: tuple[str, ...],
        content_type: bytes = _JSON,
    ) -> None:
        self.status = status
        self.sent_params: tuple[str, ...] | None = sent_params
        self._headers = ((b"content-type", content_type), *useful_headers(headers))
        self._body: bytes | None = body

    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        return self._headers

    async def read_some(self) -> bytes:
        body, self._body = self._body or b"", None
        return body

    def at_end(self) -> bool:
        return self._body is None

    def abort(self) -> None:
        self._body = None


class _StreamAnswer:
    """A stream as server-sent events.

    A task of its own reads: closing litellm's stream leaves the provider's connection open, while
    cancelling a read closes it.
    """

    status = 200

    def __init__(self, call: _Call, stream: Any) -> None:  # noqa: ANN401 - litellm's
        self.sent_params: tuple[str, ...] | None = call.sent()
        self._call = call
        self._headers = ((b"content-type", _SSE), *useful_headers(call.headers(stream)))
        self._parts: deque[bytes] = deque()
        self._unread = 0
        self._error: Exception | None = None
        self._arrived = asyncio.Event()
        self._is_over = False
        self._reader = asyncio.create_task(self._read(stream))

    async def begin(self) -> None:
        """Wait for the first event; raise what litellm raises before it."""
        try:
            await self._arrived.wait()
        except BaseException:
            self.abort()
            raise
        if not self._parts and isinstance(error := self._error, self._call.library.Error):
            raise error

    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        return self._headers

    async def read_some(self) -> bytes:
        while not self._parts and not self._is_over:
            self._arrived.clear()
            await self._arrived.wait()
        if self._parts:
            data = b"".join(self._parts)
            self._parts.clear()
            self._unread = 0
            return data
        error, self._error = self._error, None
        return b"" if error is None else self._last_words(error)

    def at_end(self) -> bool:
        return self._is_over and not self._parts and self._error is None

    def abort(self) -> None:
        self._reader.cancel()

    async def _read(self, stream: Any) -> None:  # noqa: ANN401
        try:
            async for chunk in stream:
                self._put(event_of(chunk, stream))
            self._put(b"data: [DONE]\n\n")
        except Exception as error:  # noqa: BLE001 - it is raised where the answer is read
            self._error = error
        finally:
            self._is_over = True
            self._arrived.set()

    def _put(self, event: bytes) -> None:
        self._unread += len(event)
        if self._unread > MAX_ANSWER_BYTES:
            raise AnswerCut("the client reads too slowly")
        self._parts.append(event)
        self._arrived.set()

    def _last_words(self, error: Exception) -> bytes:
        """Return the event that the provider's error is; raise AnswerCut for a broken stream."""
        if not isinstance(error, self._call.library.Error):
            raise error
        try:
            failed = self._call.failure(error)
        except UpstreamUnavailable as broken:
            raise AnswerCut(broken.code) from None
        return b"data: " + error_body(failed) + b"\n\n"
