"""JSON that may be damaged or hostile, and the digest that tells whether a document is the one that was written."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["is_same", "json_digest", "parsed"]


def parsed(text: str | bytes, *, parse_constant: Callable[[str], Any] = float) -> Any:
    """Return the value of a JSON text; `ValueError` if it is none, too deep, or has a name twice in an object.

    `parse_constant` is given NaN, Infinity and -Infinity, which JSON does not have.
    """
    try:
        return json.loads(text, object_pairs_hook=_each_name_once, parse_constant=parse_constant)
    except RecursionError as error:
        raise ValueError(str(error)) from None


def json_digest(document: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a document's JSON with sorted names and no spaces, its own ``digest`` left out."""
    said = {name: value for name, value in document.items() if name != "digest"}
    text = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def is_same(wanted: object, found: object) -> bool:
    """Return whether two JSON values are the same all through: 0, 0.0 and false are not, but 1 will do for 1.0."""
    if type(wanted) is float and type(found) is int:
        return wanted == found
    if isinstance(wanted, dict) and isinstance(found, dict):
        return wanted.keys() == found.keys() and all(is_same(value, found[name]) for name, value in wanted.items())
    if isinstance(wanted, list) and isinstance(found, list):
        return len(wanted) == len(found) and all(is_same(*pair) for pair in zip(wanted, found, strict=True))
    return type(wanted) is type(found) and wanted == found


def _each_name_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        (name, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"{name[:60]!r} twice in an object")
    return found
