"""Names that look alike and are not the same: told apart in words."""

import unicodedata
from collections.abc import Iterable


def pairs(names: Iterable[str], others: Iterable[str]) -> list[tuple[str, str]]:
    """Of two lists, the names that differ and look the same, or nearly, to a person; each pair once."""
    by_look: dict[str, list[str]] = {}
    for other in sorted(set(others)):
        by_look.setdefault(_look(other), []).append(other)
    found = [(name, other) for name in sorted(set(names)) for other in by_look.get(_look(name), []) if name != other]
    return [pair for number, pair in enumerate(found) if pair[::-1] not in found[:number]]


def told_apart(name: str, other: str) -> str:
    """Wherein two names that look alike differ; both are written so that it can be seen."""
    return f"{name!a} and {other!a} differ in {_difference(name, other)}"


def difference(names: Iterable[str], others: Iterable[str]) -> str:
    """Wherein names that should be the same differ, as the end of a message; empty where none look alike."""
    return "".join(f"; {told_apart(*pair)}" for pair in pairs(names, others))


def _difference(name: str, other: str) -> str:
    if unicodedata.normalize("NFC", name) == unicodedata.normalize("NFC", other):
        return "their Unicode form, composed or not"
    if name.casefold() == other.casefold():
        return "case"
    if name.strip() == other.strip():
        return "blanks at the ends"
    return "signs that are hard to see: case, blanks, hyphens or Unicode form"


def _look(name: str) -> str:
    """Equal for names that a person may take for the same."""
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    # Separators, invisible signs, hyphens and underscores.
    return "".join(sign for sign in plain if unicodedata.category(sign)[0] not in "ZC" and sign not in "-_") or name
