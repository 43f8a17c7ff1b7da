"""The real gateway, started as its user would, and its control API."""

from __future__ import annotations

import socket
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from llm_canary.demo.child import Child, DemoError, answers

_READY_S = 60.0


class Gateway:
    """Serves the project of a directory, on SQLite in that directory, while the context lasts."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._port = _free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self.child = Child("the gateway", directory / "gateway.log")

    def __enter__(self) -> Self:
        # The same places as without any variable, so that `llm-canary serve` in the directory
        # shows everything again.
        self.child.start(
            *("llm_canary", "serve", "--config", "canary.yaml", "--port", str(self._port)),
            cwd=self._directory,
            environment={
                "LLM_CANARY_DATABASE_URL": "sqlite:///./llm_canary.db",
                "LLM_CANARY_DATA_DIR": ".llm_canary",
            },
        )
        try:
            self.child.wait_until(lambda: answers(f"{self.url}/readyz"), _READY_S)
        except BaseException:
            self.child.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.child.stop()


class Control:
    """The control API, for the one who tells the story."""

    def __init__(self, url: str) -> None:
        self._client = httpx.AsyncClient(base_url=f"{url}/api/v1", timeout=30.0, trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def start(self, rollout: str) -> None:
        """Start a rollout of the file."""
        await self._call(
            "POST", f"/rollouts/{rollout}/start", {"reason": "the demonstration", "actor": "demo"}
        )

    async def rollouts(self) -> dict[str, dict[str, Any]]:
        """Return every rollout by name."""
        return {view["name"]: view for view in await self._call("GET", "/rollouts")}

    async def history(self) -> list[dict[str, Any]]:
        """Return every applied change, oldest first."""
        return sorted(await self._call("GET", "/history"), key=lambda each: each["at_s"])

    async def decision(self, identity: str) -> dict[str, Any]:
        """Return one decision with its evidence."""
        found: dict[str, Any] = await self._call("GET", f"/decisions/{identity}")
        return found

    async def _call(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401
        try:
            answer = await self._client.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise DemoError(f"the gateway does not answer {path}: {error!r}") from error
        if not answer.is_success:
            raise DemoError(f"the gateway refused {path}: {answer.status_code} {answer.text[:400]}")
        return answer.json()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
