"""A chat request: read as far as routing needs it, rewritten only where a variant asks for it.

What the client wrote travels as the bytes it wrote; only fields that a variant sets are replaced.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from msgspec import Raw

from llm_canary.errors import InvalidRequest
from llm_canary.gateway.snapshot import CompiledVariant

_USER = "user"


class Message(msgspec.Struct, gc=False):
    """A message as far as routing looks into it."""

    role: str = ""
    content: Raw = Raw(b"null")


_fields_decoder = msgspec.json.Decoder(dict[str, Raw])
_messages_decoder = msgspec.json.Decoder(list[Message])
_encoder = msgspec.json.Encoder()


class ChatRequest:
    """The validated body of `POST /v1/chat/completions`."""

    __slots__ = ("body", "fields", "messages", "model", "stream")

    def __init__(self, body: bytes) -> None:
        """Read `body`; raise InvalidRequest naming the field that is wrong."""
        self.body = body
        self.fields = _read_fields(body)
        self.model = self._read_model()
        self.messages = self._read_messages()
        self.stream = self._read_stream()

    def value(self, path: tuple[str, ...]) -> object:
        """Return the value at `path` in the body, None when there is none."""
        raw = self.fields.get(path[0])
        value = None if raw is None else _readable(raw)
        for name in path[1:]:
            if not isinstance(value, dict):
                return None
            value = value.get(name)
        return value

    def opening(self) -> Iterator[tuple[str, bytes]]:
        """Yield role and content of the messages up to and including the first user message.

        Without a user message only the first counts: the later ones differ from turn to turn.
        """
        roles = [message.role for message in self.messages]
        end = roles.index(_USER) + 1 if _USER in roles else 1
        for message in self.messages[:end]:
            yield message.role, bytes(message.content)

    def first_user_text(self) -> str:
        """Return the text of the first user message, "" when there is none."""
        for message in self.messages:
            if message.role == _USER:
                return text_of(message.content)
        return ""

    def asks_for_usage(self) -> bool:
        """Say whether the client itself asked for the usage chunk."""
        options = self.value(("stream_options",))
        return isinstance(options, dict) and options.get("include_usage") is True

    def choices(self) -> int:
        """Return `n`: how many answers were asked for."""
        if "n" not in self.fields:
            return 1
        count = self.value(("n",))
        return count if isinstance(count, int) and count > 0 else 1

    def rewritten(self, variant: CompiledVariant, *, add_usage: bool) -> bytes:
        """Return the body for `variant`; the original bytes when nothing has to change.

        The variant's prompt becomes the first system message. A system message of the app's own is
        kept after it: dropping it would lose instructions that nobody moved into the prompt.
        """
        system_message, params = variant.system_message, variant.params
        keeps_model = self.model == variant.variant.model
        if keeps_model and system_message is None and not params and not add_usage:
            return self.body
        fields = self.fields.copy()
        fields["model"] = variant.model
        if system_message is not None:
            messages = bytes(fields["messages"])
            fields["messages"] = Raw(b"[" + system_message + b"," + messages[1:])
        fields.update(params)
        if add_usage:
            fields["stream_options"] = self._options_with_usage()
        return _encoder.encode(fields)

    def _options_with_usage(self) -> Raw:
        options = self.value(("stream_options",))
        mine = {"include_usage": True}
        return Raw(_encoder.encode({**options, **mine} if isinstance(options, dict) else mine))

    def _read_model(self) -> str:
        model = self._decoded("model")
        if model is None:
            raise InvalidRequest(
                "the request names no model; set `model` to one of the gateway's routes",
                param="model",
                code="missing_required_parameter",
            )
        if not isinstance(model, str) or not model:
            raise _wrong_type("model", "a non-empty string", model)
        return model

    def _read_stream(self) -> bool:
        raw = self.fields.get("stream")
        if raw is None:
            return False
        stream = self._decoded("stream")
        if stream is None or isinstance(stream, bool):
            return bool(stream)
        raise _wrong_type("stream", "true or false", stream)

    def _read_messages(self) -> list[Message]:
        raw = self.fields.get("messages")
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

    def _decoded(self, name: str) -> object:
        raw = self.fields.get(name)
        return None if raw is None else _readable(raw)


def text_of(content: bytes | Raw) -> str:
    """Return the text of a message's content, which is a string or a list of parts."""
    value = _readable(content)
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        return ""
    parts = (part.get("text") for part in value if isinstance(part, dict))
    return "\n".join(part for part in parts if isinstance(part, str))


def _readable(raw: bytes | Raw) -> object:
    """Return the value of `raw`; None for what no text or number can hold, as a lone surrogate.

    That the body is JSON was checked when it was read, but not what its escapes mean.
    """
    try:
        return msgspec.json.decode(raw)
    except ValueError:
        return None


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


def _wrong_type(name: str, expected: str, value: object) -> InvalidRequest:
    kind = "null" if value is None else type(value).__name__
    return InvalidRequest(f"{name} must be {expected}, got {kind}", param=name, code="invalid_type")
