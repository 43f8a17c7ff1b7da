"""Everything that can be reached from some objects, as somebody would see it who shows it."""

from __future__ import annotations

import functools
import types
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import SecretStr

# They must keep the password to connect by it; what they themselves show is looked at.
_CLOSED = (
    "sqlalchemy",
    "psycopg",
    "sqlite3",
    "asyncio",
    "uvloop",
    "_asyncio",
    "_thread",
    "threading",
)
_LEAVES = (SecretStr, str, bytes, int, float, complex, bool, type(None), type, types.ModuleType)


def shown(roots: Iterable[object]) -> Iterator[tuple[str, str]]:
    """Yield where each object is and what `repr` and `str` say of it."""
    seen: dict[int, object] = {}
    waiting = deque((f"root {index}", root) for index, root in enumerate(roots))
    while waiting:
        where, each = waiting.popleft()
        if id(each) in seen or isinstance(each, type | types.ModuleType):
            continue
        seen[id(each)] = each
        yield where, f"{each!r}\n{each!s}"
        if not isinstance(each, _LEAVES):
            waiting.extend((f"{where}{name}", child) for name, child in _children(each))


def _children(each: Any) -> Iterator[tuple[str, object]]:
    if isinstance(each, Mapping):
        for key, value in list(each.items()):
            yield f"[key {key!r}]", key
            yield f"[{key!r}]", value
    elif isinstance(each, list | tuple | set | frozenset | deque):
        yield from ((f"[{index}]", child) for index, child in enumerate(list(each)))
    if type(each).__module__.partition(".")[0] in _CLOSED:
        return
    if isinstance(each, types.MethodType):
        yield ".__self__", each.__self__
        yield ".__func__", each.__func__
    if isinstance(each, types.FunctionType):
        for name, cell in zip(each.__code__.co_freevars, each.__closure__ or (), strict=True):
            if cell is not None and _is_filled(cell):
                yield f".<{name}>", cell.cell_contents
    if isinstance(each, functools.partial):
        yield from ((".func", each.func), (".args", each.args), (".keywords", each.keywords))
    held = getattr(each, "__dict__", {})
    if isinstance(held, dict):
        yield from ((f".{name}", value) for name, value in list(held.items()))
    for kind in type(each).__mro__:
        for name in _slots(kind):
            if (value := getattr(each, name, None)) is not None:
                yield f".{name}", value


def _slots(kind: type) -> Iterator[str]:
    for attribute in ("__slots__", "__struct_fields__"):
        names = kind.__dict__.get(attribute, ())
        if isinstance(names, str):
            names = (names,)
        for name in names if isinstance(names, tuple | list | set | dict) else ():
            is_private = name.startswith("__") and not name.endswith("__")
            yield f"_{kind.__name__.lstrip('_')}{name}" if is_private else name


def _is_filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - raises when it is empty
    except ValueError:
        return False
    return True
