"""The API and the pages over a database, without the server around them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import httpx
from argon2 import PasswordHasher
from fastapi import FastAPI
from sqlalchemy.engine import Engine

from llm_canary.access.accounts import Accounts
from llm_canary.access.audit import Audit
from llm_canary.access.gate import Gate
from llm_canary.access.keys import ApiKeys
from llm_canary.api.services import ApiServices
from llm_canary.auth import AccessRole
from llm_canary.clock import Clock, ManualClock, utc
from llm_canary.opaque import Opaque
from llm_canary.pages.app import add_pages
from llm_canary.pages.services import PageServices
from llm_canary.pages.visit import COOKIE
from llm_canary.retention.erase import Eraser
from llm_canary.routing.table import StoredKeys
from llm_canary.storage.engine import write_session
from llm_canary.storage.repositories.installation import KEY_SECRET, get_or_set
from llm_canary.storage.repositories.keys import stored_keys
from tests.support import leaks, schema
from tests.support.asgi import AsgiClient
from tests.support.rollout_reader import ViewReader
from tests.support.served import served

QUICK_HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
PASSWORD = "correct horse battery"
ORIGIN = "http://testserver"  # as the pages see it, where no server is
leaks.GIVEN.add(PASSWORD)


def api_services(engine: Engine | None, clock: Clock, **changes: Any) -> ApiServices:
    facts: dict[str, Any] = {
        "engine": engine,
        "rollouts": None,
        "reviews": None,
        "eraser": None if engine is None else Eraser(engine, clock),
        "gate": Gate(engine, clock, tuple),
        "keys": ApiKeys(engine, clock),
        "audit": SimpleNamespace(note=lambda *_: None)
        if engine is None
        else Audit(engine, clock, via="api"),
        "clock": clock,
        "config": lambda: None,
        "status": dict,
        "ready": lambda: None,
    }
    return ApiServices(**(facts | changes))


class Web:
    """The pages over a database of their own, or over `engine`; `services` may be given in part, and the `app` to add them to."""

    def __init__(self, folder: Path, *, engine: Engine | None = None, **services: Any) -> None:
        self._own = engine is None
        self.engine = engine or schema.sqlite_engine(folder / "web.db")
        self.clock = services.pop("clock", None) or ManualClock()
        self.keys: tuple[Any, ...] = ()
        self.gate = Gate(self.engine, self.clock, lambda: self.keys, self._stored_keys)
        self.gate.accounts = Accounts(self.engine, self.clock, QUICK_HASHER)
        facts: dict[str, Any] = {
            "engine": self.engine,
            "rollouts": SimpleNamespace(read=ViewReader([])),
            "reviews": None,
            "gate": self.gate,
            "keys": ApiKeys(self.engine, self.clock),
            "audit": Audit(self.engine, self.clock, via="web"),
            "clock": self.clock,
            "config": lambda: None,
            "status": dict,
            "ready": lambda: None,
        }
        self.app = services.pop("app", None) or FastAPI()
        self.site = add_pages(self.app, PageServices(**(facts | services)))
        self.client = AsgiClient(self.app)
        self.cookie: str | None = None

    def account(self, name: str, role: str) -> None:
        self.gate.accounts.create(name, AccessRole(role), password=PASSWORD, by="test")

    def log_in(self, name: str, role: str | None = None) -> None:
        """Log in; make the account first where a role is given."""
        if role is not None:
            self.account(name, role)
        answer = self.post("/login", name=name, password=PASSWORD)
        assert answer.status_code == 303, answer.text
        self.cookie = answer.cookies[COOKIE]

    def get(self, path: str = "/", **headers: str) -> httpx.Response:
        return self.client.get(path, headers={**self._cookies(), **headers})

    def csrf(self, path: str = "/") -> str:
        found = re.search(r'"x-csrf-token": "([\w-]+)"', self.get(path).text)
        assert found is not None, f"no token on {path}"
        return found[1]

    def post(
        self,
        path: str,
        *,
        csrf: str = "",
        htmx: bool = False,
        origin: str | None = None,
        referer: str | None = None,
        **form: str,
    ) -> httpx.Response:
        headers = {"content-type": "application/x-www-form-urlencoded", **self._cookies()}
        headers |= {k: v for k, v in (("origin", origin), ("referer", referer)) if v is not None}
        if csrf:
            headers["x-csrf-token"] = csrf
        if htmx:
            headers["hx-request"] = "true"
        return self.client.post(path, content=urlencode(form), headers=headers)

    @contextmanager
    def served(self) -> Iterator[str]:
        """Serve the pages on a port of this machine; `url` is where."""
        with served(self.app) as self.url:
            yield self.url

    def _stored_keys(self) -> StoredKeys:
        with write_session(self.engine) as session:
            secret = Opaque.fromhex(get_or_set(session, KEY_SECRET, "00" * 32))
            return stored_keys(session, ended_since=utc(0.0), secret=secret)

    def _cookies(self) -> dict[str, str]:
        return {} if self.cookie is None else {"cookie": f"{COOKIE}={self.cookie}"}

    def close(self) -> None:
        if self._own:
            self.engine.dispose()
