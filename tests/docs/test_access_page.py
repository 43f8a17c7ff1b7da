"""docs/access.md: its commands do what they say, its file loads, its table of roles is the code's."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from llm_canary.auth import AccessRole, Permission, may
from llm_canary.cli import main
from llm_canary.config.load import load
from llm_canary.storage import migrate
from llm_canary.storage.engine import make_engine

PAGE = (Path(__file__).parents[2] / "docs/access.md").read_text()
COLUMNS = (
    Permission.SERVE,
    Permission.REVIEW,
    Permission.READ,
    Permission.OPERATE,
    Permission.ADMINISTER,
)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_every_command_runs_in_the_order_of_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/canary.db"
    monkeypatch.setenv("LLM_CANARY_DATABASE_URL", url)
    engine = make_engine(url)
    migrate.upgrade(engine)
    engine.dispose()
    lines = [line for block in blocks("sh") for line in block.splitlines()]

    assert len(lines) == 12
    for line in lines:
        password = "correct horse battery\n" * 2
        done = CliRunner().invoke(main, shlex.split(line)[1:], input=password)
        assert done.exit_code == 0, (line, done.output)


def test_the_file_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "unused")
    monkeypatch.setenv("OIDC_CLIENT_SECRET", "unused")
    (text,) = blocks("yaml")
    (tmp_path / "canary.yaml").write_text(text)

    loaded = load(tmp_path / "canary.yaml")

    assert loaded.warnings == ()
    assert loaded.file.web.oidc is not None


@pytest.mark.parametrize("role", AccessRole)
def test_the_table_of_roles_is_the_codes(role: AccessRole) -> None:
    (row,) = re.findall(rf"^\| `{role}`[^|]*\|(.*)\|$", PAGE, re.MULTILINE)

    said = [cell.strip() == "yes" for cell in row.split("|")]

    assert said == [may(role, permission) for permission in COLUMNS]
