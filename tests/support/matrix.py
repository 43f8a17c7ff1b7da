"""Who may do what at which address: read from the rules in force, and written into docs/security.md."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import NamedTuple

from fastapi.routing import APIRoute

from llm_canary.api.app import MODULES, PREFIX
from llm_canary.api.deps import Needs
from llm_canary.auth import AccessRole, Permission, may
from llm_canary.documents.reference import renewed
from llm_canary.gateway.app import METHODS
from tests.support.control import Web

PAGE = Path(__file__).parents[2] / "docs/security.md"
BEGIN, END = "<!-- matrix: begin (generated; make docs) -->", "<!-- matrix: end -->"
# What the gateway takes beside its table: one model, and what it relays as it is.
RELAYED = (("GET", "/v1/models/{model}"), ("GET", "/v1/{path}"), ("POST", "/v1/{path}"))
OPEN = frozenset({"/healthz", "/readyz"})  # of the data plane


class Rule(NamedTuple):
    """One method of one address; `needs` None = everybody may, also who is not known."""

    method: str
    path: str
    needs: Permission | None

    def lets(self, role: AccessRole | None) -> bool:
        """Say whether the role may; None is somebody who is not known."""
        return self.needs is None or (role is not None and may(role, self.needs))


def data_plane() -> list[Rule]:
    """Return the gateway's rules: a key that may serve, except for the health checks.

    A browser asks before it sends feedback (OPTIONS) and has no key then; it is told origins only.
    """
    listed = [(method, path) for path, methods in METHODS.items() for method in methods]
    return [
        Rule(method, path, None if path in OPEN or method == "OPTIONS" else Permission.SERVE)
        for method, path in (*listed, *RELAYED)
        if method != "HEAD"
    ]


def api() -> list[Rule]:
    """Return the rules of the control API; an operation without a permission is an error."""
    rules = [Rule("GET", "/openapi.json", None)]
    routes = [each for module in MODULES for each in module.router.routes]
    for route in routes:
        assert isinstance(route, APIRoute)
        (needs,) = [
            each.call.permission
            for each in route.dependant.dependencies
            if isinstance(each.call, Needs)
        ]
        rules += [Rule(method, PREFIX + route.path, needs) for method in sorted(route.methods)]
    return rules


def pages() -> list[Rule]:
    """Return the rules of the pages."""
    with tempfile.TemporaryDirectory() as folder:
        web = Web(Path(folder))
        web.close()
    return [Rule(method, path, needs) for (method, path), needs in web.site.rules.items()]


def tables() -> str:
    """Return the matrix as Markdown."""
    parts = []
    for title, rules in (("Gateway", data_plane()), ("API", api()), ("Pages", pages())):
        head = ["| | needs |", *(f" {role} |" for role in AccessRole)]
        rows = [
            f"| `{rule.method} {rule.path}` | {rule.needs or 'nothing'} |"
            + "".join(" yes |" if rule.lets(role) else " |" for role in AccessRole)
            for rule in sorted(rules, key=lambda each: (each.path, each.method))
        ]
        parts += [f"### {title}\n", "".join(head), "|---" * (2 + len(AccessRole)) + "|", *rows, ""]
    return "\n".join(parts).rstrip()


if __name__ == "__main__":
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(renewed(page, BEGIN, END, tables()), encoding="utf-8")
