"""Talks to a running server for the commands that need one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import click

from llm_canary import __version__
from llm_canary.cli.output import CommandFailed, Exit

if TYPE_CHECKING:
    import httpx

DEFAULT_URL = "http://127.0.0.1:8484"
_TIMEOUT_S = 30.0
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class ControlClient:
    """The control API of one server; each refusal or failure ends the command with its way out."""

    def __init__(
        self, url: str, api_key: str | None, transport: httpx.BaseTransport | None = None
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise click.UsageError(
                f"LLM_CANARY_URL or --url is {url!r}; expected something like {DEFAULT_URL}"
            )
        self._url = url.rstrip("/")
        self._api_key = api_key
        self._transport = transport
        # A proxy for the outside world must not be asked for this machine.
        self._trust_env = parts.hostname not in _LOOPBACK

    def get(self, *path: str, params: dict[str, str | int] | None = None) -> Any:  # noqa: ANN401
        """Return the JSON answer of GET /api/v1/<path>."""
        return self._call("GET", path, params=params)

    def post(self, *path: str, body: dict[str, object]) -> Any:  # noqa: ANN401
        """Return the JSON answer of POST /api/v1/<path>."""
        return self._call("POST", path, body=body)

    def delete(self, *path: str, params: dict[str, str | int]) -> Any:  # noqa: ANN401
        """Return the JSON answer of DELETE /api/v1/<path>."""
        return self._call("DELETE", path, params=params)

    def _call(
        self,
        method: str,
        path: tuple[str, ...],
        *,
        params: dict[str, str | int] | None = None,
        body: dict[str, object] | None = None,
    ) -> Any:  # noqa: ANN401 - the shape depends on the path
        import httpx  # noqa: PLC0415 - keeps `--help` fast

        headers = {"user-agent": f"llm-canary/{__version__}"}
        if self._api_key:
            headers["authorization"] = f"Bearer {self._api_key}"
        url = "/".join([f"{self._url}/api/v1", *(quote(part, safe="") for part in path)])
        try:
            with httpx.Client(
                transport=self._transport,
                headers=headers,
                timeout=_TIMEOUT_S,
                trust_env=self._trust_env,
            ) as client:
                answer = client.request(method, url, params=params, json=body)
        except httpx.TimeoutException as error:
            raise CommandFailed(
                f"{self._url} did not answer within {_TIMEOUT_S:.0f} s; see its log",
                Exit.OPERATIONAL,
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise CommandFailed(
                f"no llm-canary server at {self._url} ({error}); start one with "
                "`llm-canary serve`, or set LLM_CANARY_URL to where it runs",
                Exit.OPERATIONAL,
            ) from error
        return self._read(answer)

    def _read(self, answer: httpx.Response) -> Any:  # noqa: ANN401
        try:
            value = answer.json()
        except ValueError as error:
            kind = answer.headers.get("content-type", "no content type")
            raise CommandFailed(
                f"{answer.url} answered {answer.status_code} with {kind} instead of JSON; "
                "is LLM_CANARY_URL a llm-canary server?",
                Exit.OPERATIONAL,
            ) from error
        if answer.is_success:
            return value
        raise CommandFailed(
            self._refusal(answer, value),
            Exit.OPERATIONAL if answer.status_code >= 500 else Exit.FAILED,
        )

    def _refusal(self, answer: httpx.Response, value: object) -> str:
        error = value.get("error") if isinstance(value, dict) else None
        message = error.get("message") if isinstance(error, dict) else None
        text = str(message or f"{answer.url} answered {answer.status_code}")
        if answer.status_code == 401:
            text += "\nset LLM_CANARY_API_KEY to a key of the server's canary.yaml"
        return text


def server_options(command: Any) -> Any:  # noqa: ANN401 - click's decorators are untyped by nature
    """Add `--url`; the key comes from the environment only, so that no process list shows it."""
    return click.option(
        "--url",
        envvar="LLM_CANARY_URL",
        default=DEFAULT_URL,
        show_default=True,
        show_envvar=True,
        help="The running server; its key comes from LLM_CANARY_API_KEY.",
    )(command)


def connect(url: str) -> ControlClient:
    """Return a client for `url` with the key of the environment."""
    import os  # noqa: PLC0415

    return ControlClient(url, os.environ.get("LLM_CANARY_API_KEY") or None)
