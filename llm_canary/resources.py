"""Finds `web/`, `rubrics/` and `migrations/` in a checkout or inside the installed wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def resource_dir(name: str) -> Path:
    """Return the folder `name`; raise FileNotFoundError when it is in neither place."""
    places = (_PACKAGE.parent / name, _PACKAGE / "_data" / name)
    # A checkout has pyproject.toml beside the package; site-packages may hold an unrelated `web/`.
    if (_PACKAGE.parent / "pyproject.toml").is_file() and places[0].is_dir():
        return places[0]
    if places[1].is_dir():
        return places[1]
    raise FileNotFoundError(f"resource folder {name!r} is in neither {places[0]} nor {places[1]}")
