"""Tables for specs/guides/coming_from_tao.md: every field of TAO's newer tasks, and what becomes of it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import differences

if TYPE_CHECKING:
    from tao_lite.spec.families.table import Row

_BY = "families.py"


def put(page: str) -> str:
    """The page with a table for each family, and that of networks, between their comments."""
    from tao_lite.spec.families import shared
    from tao_lite.spec.families.all import FAMILIES

    for name, family in FAMILIES.items():
        own = [row for row in family.rows if row not in shared.AROUND]
        page = differences.between(page, f"fields of {name}", _fields(own, family.renamed), _BY)
    page = differences.between(page, "fields around an experiment", _fields(shared.AROUND, {}), _BY)
    return differences.between(page, "networks of classification_pyt", _networks(), _BY)


def _fields(rows: "Sequence[Row]", renamed: Mapping[str, str]) -> Iterator[str]:
    yield from ("| there | where it is unset | here | what is otherwise, or happens instead |", "|---|---|---|---|")
    older: dict[str, list[str]] = {}
    for old, new in renamed.items():
        older.setdefault(new, []).append(f"`{old}`")
    for row in sorted(rows, key=lambda row: row.theirs):
        there = ", ".join([f"`{row.theirs}`", *older.get(row.theirs, [])])
        yield f"| {there} | {_code(row.default)} | {_code(row.ours)} | {_words(row)} |"
    paths = {row.theirs for row in rows}
    if blocks := [f"{', '.join(olds)} for `{new}`" for new, olds in older.items() if new not in paths]:
        yield from ("", f"Older names of blocks, and of fields around: {'; '.join(blocks)}.")


def _words(row: "Row") -> str:
    return row.words.removeprefix("no field here: ").replace("|", "&#124;")


def _code(text: str) -> str:
    return ", ".join(f"`{part.strip()}`" for part in text.split(",") if part.strip())


def _networks() -> Iterator[str]:
    from tao_lite.spec.families import backbones

    yield from ("| `model.backbone.type` there | `model_config.arch` here |", "|---|---|")
    yield from (f"| `{name}` | `{backbones.ours(name)}` |" for name in backbones.same())
    yield from (f"| `{_plain(pattern)}` | none: {why} |" for pattern, why in backbones.others())


def _plain(pattern: str) -> str:
    """A pattern as people write one: with * for anything."""
    for old, new in ((r"\d", "0-9"), (".*", "*"), ("[-_]", "_"), ("_?-?", "_"), ("_?", "_"), ("?", ""), ("|", ", ")):
        pattern = pattern.replace(old, new)
    return pattern
