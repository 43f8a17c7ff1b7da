"""What the gateway knows of every upstream: how a request is sent, and what its answer shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from llm_canary.opaque import Opaque
from llm_canary.routing.table import Path

if TYPE_CHECKING:
    from llm_canary.providers.connections import Connections

MAX_ANSWER_BYTES = 64 * 1024 * 1024

HeaderFields = Sequence[tuple[bytes, bytes]]


class AnswerCut(Exception):  # noqa: N818 - a fact about the answer, not an error of ours
    """The upstream's answer broke off before its framing said it was over."""


class Outbound(NamedTuple):
    """A request as one upstream gets it."""

    path: str  # below the upstream's base_url: "/chat/completions"
    body: bytes
    headers: HeaderFields  # of the client's header what goes on; names in lower case
    model: str | None  # as the body names it
    stream: bool = False
    method: str = "POST"
    query: str = ""  # as it stands in the URL, without "?"
    content_type: bytes = b"application/json"


class Answer(Protocol):
    """An upstream's answer, whose body is still to be read."""

    status: int
    sent_params: tuple[str, ...] | None  # names of the body fields sent; None: the body's own

    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """Return the header fields as they came."""
        ...

    async def read_some(self) -> bytes:
        """Return what has arrived, waiting for something; b"" at the end; raise AnswerCut."""
        ...

    def at_end(self) -> bool:
        """Whether the whole answer was read."""
        ...

    def abort(self) -> None:
        """Close the connection, so that the upstream stops working."""
        ...


class Wire(Protocol):
    """How requests reach one upstream."""

    path: Path
    api_key: Opaque | None  # what is sent with each request, and never passed on

    def use(self, connections: Connections) -> None:
        """Get ready inside the running loop; `connections` are those of all relaying wires."""
        ...

    async def close(self) -> None:
        """Close the connections that are this wire's own."""
        ...

    async def send(self, outbound: Outbound) -> Answer:
        """Return the answer once its headers are here; raise UpstreamUnavailable or its kin.

        Nothing is sent twice. InvalidRequest says that this upstream has no such endpoint.
        """
        ...
