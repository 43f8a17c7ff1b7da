"""Chromium for tests that look at pages, or a skip that says what is lacking."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def chromium() -> Iterator[Any]:
    from tests.conftest import require

    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        require("playwright is not installed")
    path = os.environ.get("LLM_CANARY_CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        except Error as error:
            require(f"Chromium does not start: {error.message.splitlines()[0]}")
        yield browser
        browser.close()
