"""The environments that other people's clients need: made once, in `.conformance/` of this checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORKSHOP = ROOT / ".conformance"
# What belongs to our own environment must not reach theirs.
_NOT_INHERITED = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV", "OPENAI_API_KEY")


class CannotBeMade(Exception):  # noqa: N818 - a fact about this machine
    """Something that the environment needs is not to be had here; the text says what."""


def environment(**more: str) -> dict[str, str]:
    """Return the variables that a client's process gets."""
    return {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED} | more


def python_with(name: str, *requirements: str) -> Path:
    """Return the Python of the environment `name`, in which pip installs `requirements`."""
    home = WORKSHOP / name
    python = home / "bin" / "python"
    stamp = home / "installed"
    wanted = "\n".join(requirements + tuple(_content(word) for word in requirements))
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    shutil.rmtree(home, ignore_errors=True)
    run(sys.executable, "-m", "venv", str(home))
    run(
        str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements
    )
    stamp.write_text(wanted)
    return python


def node_with(name: str, *packages: str) -> Path:
    """Return a directory in whose `node_modules` npm has installed `packages`, with versions."""
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            raise CannotBeMade(f"{tool} is not installed")
    home = WORKSHOP / name
    stamp = home / "installed"
    wanted = "\n".join(packages)
    if stamp.exists() and stamp.read_text() == wanted:
        return home
    # Beside it first, and moved there whole: another process may make the same at this moment.
    WORKSHOP.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=WORKSHOP))
    try:
        (made / "package.json").write_text('{"private": true, "type": "module"}')
        quiet = ("--no-audit", "--no-fund", "--silent", "--no-package-lock")
        run("npm", "install", *quiet, *packages, cwd=made)
        (made / stamp.name).write_text(wanted)
        if not (stamp.exists() and stamp.read_text() == wanted):
            shutil.rmtree(home, ignore_errors=True)
            made.rename(home)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return home


def run(*command: str, cwd: Path | None = None) -> str:
    """Run a command of the set-up and return what it says; raise CannotBeMade when it fails."""
    done = subprocess.run(
        command, cwd=cwd, env=environment(), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()[-400:]
        raise CannotBeMade(f"`{' '.join(command[:4])} ...` failed: {said}")
    return done.stdout


def _content(word: str) -> str:
    path = Path(word)
    return path.read_text() if path.suffix == ".txt" else ""
