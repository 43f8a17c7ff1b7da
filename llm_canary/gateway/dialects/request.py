"""A request: read as far as routing needs it, rewritten only where a variant asks for it.

What the client wrote travels as the bytes it wrote; only fields that a variant sets are replaced.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from msgspec import Raw

from llm_canary.errors import InvalidRequest
from llm_canary.gateway.snapshot import CompiledVariant

USER = "user"
encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_fields_decoder = msgspec.json.Decoder(dict[str, Raw])


class InferenceRequest:
    """The validated body of a request for an inference; each endpoint has its own kind."""

    __slots__ = ("body", "fields", "model", "stream")
    needs_model = True

    def __init__(self, body: bytes) -> None:
        """Read `body`; raise InvalidRequest naming the field that is wrong."""
        self.body = body
        self.fields = _read_fields(body)
        self.model = self._read_model()
        self.stream = self._read_stream()

    def value(self, path: tuple[str, ...]) -> object:
        """Return the value at `path` in the body, None when there is none."""
        raw = self.fields.get(path[0])
        value = None if raw is None else readable(raw)
        for name in path[1:]:
            if not isinstance(value, dict):
                return None
            value = value.get(name)
        return value

    def opening(self) -> Iterator[tuple[str, bytes]]:
        """Yield role and content of what every later request of the conversation repeats."""
        yield USER, self.body

    def first_user_text(self) -> str:
        """Return the text of the first user message, "" when there is none."""
        return ""

    def texts(self) -> Iterator[str]:
        """Yield all text of the prompt: what its tokens are estimated from."""
        yield self.first_user_text()

    def content(self) -> bytes:
        """Return the JSON of the prompt, for the content store."""
        return b"null"

    def expected_format(self) -> object:
        """Return the `response_format` in the form of chat completions, None without one."""
        return None

    def asks_for_usage(self) -> bool:
        """Say whether a stream will report its usage without the gateway's asking."""
        return True

    def choices(self) -> int:
        """Return how many answers were asked for."""
        return 1

    def previous_response_id(self) -> str | None:
        """Return the id of the response that this request continues."""
        return None

    def prompted(self, fields: dict[str, Raw], text: bytes) -> None:
        """Put a variant's prompt, a JSON string, into `fields`.

        Raises InvalidRequest where there is no place for one.
        """
        del fields, text
        raise InvalidRequest(
            "this route's variant has a prompt version, for which this endpoint has no place; "
            "use chat completions or responses, or a route without a prompt",
            param="model",
            code="prompt_not_supported",
        )

    def rewritten(self, variant: CompiledVariant, *, add_usage: bool) -> bytes:
        """Return the body for `variant`; the original bytes when nothing has to change."""
        prompt = variant.prompt_for(self.value)
        params = variant.params
        keeps_model = self.model == variant.variant.model
        if keeps_model and prompt is None and not params and not add_usage:
            return self.body
        fields = self.fields.copy()
        fields["model"] = variant.model
        if prompt is not None:
            self.prompted(fields, prompt)
        fields.update(params)
        if add_usage:
            fields["stream_options"] = self._options_with_usage()
        return encode(fields)

    def _options_with_usage(self) -> Raw:
        options = self.value(("stream_options",))
        mine = {"include_usage": True}
        return Raw(encode({**options, **mine} if isinstance(options, dict) else mine))

    def _read_model(self) -> str:
        model = self._decoded("model")
        if model is None and not self.needs_model:
            return ""
        if model is None:
            raise InvalidRequest(
                "the request names no model; set `model` to one of the gateway's routes",
                param="model",
                code="missing_required_parameter",
            )
        if not isinstance(model, str) or not model:
            raise wrong_type("model", "a non-empty string", model)
        return model

    def _read_stream(self) -> bool:
        raw = self.fields.get("stream")
        if raw is None:
            return False
        stream = self._decoded("stream")
        if stream is None or isinstance(stream, bool):
            return bool(stream)
        raise wrong_type("stream", "true or false", stream)

    def _decoded(self, name: str) -> object:
        raw = self.fields.get(name)
        return None if raw is None else readable(raw)


class Message(msgspec.Struct, gc=False):
    """A message as far as routing looks into it."""

    role: str = ""
    content: Raw = Raw(b"null")


_messages_decoder = msgspec.json.Decoder(list[Message])


def read_messages(fields: dict[str, Raw]) -> list[Message]:
    """Return the messages of a chat; raise InvalidRequest when there are none."""
    raw = fields.get("messages")
    if raw is None:
        raise InvalidRequest(
            "the request has no messages; send a non-empty list",
            param="messages",
            code="missing_required_parameter",
        )
    try:
        messages = _messages_decoder.decode(raw)
    except msgspec.DecodeError as error:
        # msgspec names types and places, never values.
        raise InvalidRequest(
            f"messages must be a list of objects with a string `role`: {error}",
            param="messages",
            code="invalid_type",
        ) from None
    if not messages:
        raise InvalidRequest(
            "messages is empty; send at least one", param="messages", code="empty_array"
        )
    return messages


def opening_of(messages: list[Message]) -> Iterator[tuple[str, bytes]]:
    """Yield role and content of the messages up to and including the first user message.

    Without a user message only the first counts: the later ones differ from turn to turn.
    """
    roles = [message.role for message in messages]
    end = roles.index(USER) + 1 if USER in roles else 1
    for message in messages[:end]:
        yield message.role, bytes(message.content)


def user_text_of(messages: list[Message]) -> str:
    """Return the text of the first user message, "" when there is none."""
    for message in messages:
        if message.role == USER:
            return text_of(message.content)
    return ""


def text_of(content: bytes | Raw) -> str:
    """Return the text of a message's content, which is a string or a list of parts."""
    value = readable(content)
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        return ""
    parts = (part.get("text") for part in value if isinstance(part, dict))
    return "\n".join(part for part in parts if isinstance(part, str))


def readable(raw: bytes | Raw) -> object:
    """Return the value of `raw`; None for what no text or number can hold, as a lone surrogate.

    That the body is JSON was checked when it was read, but not what its escapes mean.
    """
    try:
        return _decode(raw)
    except ValueError:
        return None


def wrong_type(name: str, expected: str, value: object) -> InvalidRequest:
    """Return the error for a field of another type than `expected`."""
    kind = "null" if value is None else type(value).__name__
    return InvalidRequest(f"{name} must be {expected}, got {kind}", param=name, code="invalid_type")


def _read_fields(body: bytes) -> dict[str, Raw]:
    try:
        body.decode()  # inside of a value that is passed on, the decoder does not look
        return _fields_decoder.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidRequest(
            f"the request body must be a JSON object: {error}", code="invalid_type"
        ) from None
    except msgspec.DecodeError as error:
        raise InvalidRequest(
            f"the request body is not JSON: {error}", code="invalid_json"
        ) from None
    except (RecursionError, UnicodeDecodeError):
        raise InvalidRequest(
            "the request body is not JSON that can be read: nested too deep, or not UTF-8",
            code="invalid_json",
        ) from None
