"""Datasets: prompts with what is needed to grade the answers to them, frozen by hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from llm_canary.documents.rows import RowProblems, read_rows
from llm_canary.errors import ConfigError, DataError
from llm_canary.rubric.item import Item, ItemsHash, item_of


class Dataset:
    """A file that was checked once and is read again for each pass, so that it need not fit."""

    def __init__(self, path: Path, *, frozen: bool = True, required: Sequence[str] = ()) -> None:
        problems = RowProblems(path)
        seen: dict[bytes, int] = {}
        digest = ItemsHash()
        for row in read_rows(path, problems):
            try:
                item = item_of(row)
            except DataError as error:
                problems.add(row.line, error.message)
                continue
            for name in required:
                if getattr(item, name) is None:
                    problems.add(row.line, f"`{name}` is missing, and the rubric requires it")
            key = hashlib.blake2b(item.id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
            if key in seen:
                problems.add(row.line, f"id {item.id!r} stands also on line {seen[key]}")
            seen[key] = row.line
            digest.add(item)
        problems.raise_any()
        if not seen:
            raise ConfigError(f"{path.name} holds no rows; a dataset needs at least one")
        self.path = path
        self.name = path.stem
        self.hash = digest.hexdigest()  # of what the rows mean, not how they are written
        self._count = len(seen)
        known = read_frozen(path) if frozen else None
        if known is not None and known["hash"] != self.hash:
            raise ConfigError(
                f"{path.name} differs from its frozen version {known['version']} "
                f"({known['hash'][:12]}, now {self.hash[:12]}); undo the change, or freeze a new "
                f"version with `llm-canary dataset freeze {path.name}`"
            )

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Item]:
        problems = RowProblems(self.path)
        for row in read_rows(self.path, problems):
            yield item_of(row)


def frozen_path(path: Path) -> Path:
    """Return the file beside a dataset that holds its version and hash."""
    return path.with_name(f"{path.name}.frozen.json")


def read_frozen(path: Path) -> dict[str, Any] | None:
    """Return name, version, hash and rows of a frozen dataset, None when it is not frozen."""
    file = frozen_path(path)
    if not file.exists():
        return None
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
        return {"version": int(known["version"]), "hash": str(known["hash"])}
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigError(f"{file.name} cannot be read; freeze the dataset again") from None
