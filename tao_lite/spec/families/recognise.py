"""Which family a file is of, told by its keys; other tasks of TAO are named."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from tao_lite.spec import schema
from tao_lite.spec.bind import nearest
from tao_lite.spec.families import marks
from tao_lite.spec.families.source import at
from tao_lite.spec.findings import Finding, Place, error
from tao_lite.spec.text.nodes import Leaf, Named
from tao_lite.spec.text.syntax import Field

OURS = marks.OURS

_READ = f"ours (model_config, train_config, ...), {marks.TF2}, {marks.PYT} and its OpenMMLab form, {marks.MULTITASK}"


class ForeignError(Exception):
    """The file is of no family that can be read; carries what is to be said."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.text)
        self.finding = finding


class _Found(NamedTuple):
    path: str
    place: Place


def family(top: Named) -> str:
    """The family of a JSON or YAML file; ours for one that is empty or has only mistakes in our words.

    Raises:
        ForeignError: two families in one file, another task's file, or one that is not trained here.
    """
    _refuse_other_tasks(top)
    found = {name: mark for name, paths in marks.MARKS.items() if (mark := _first(top, paths))}
    ours = next((_Found(one.name, one.place) for one in top.entries if one.name in _our_blocks()), None)
    if ours and marks.MULTITASK not in found:
        is_first_form = not found and any(one.name in marks.FIRST_FORM for one in top.entries)
        found[marks.TF2 if is_first_form else OURS] = ours
    if len(found) > 1:
        raise ForeignError(_two(found))
    name = next(iter(found), "") or _faint(top)
    if not name and top.entries and not any(nearest(one.name, _our_blocks()) for one in top.entries):
        names = ", ".join(dict.fromkeys(one.name for one in top.entries))
        text = f"is no spec that can be read here: found {names}; known are {_READ}"
        raise ForeignError(error(top.entries[0].place, "", text))
    return name or OURS


def other_task(fields: Sequence[Field]) -> Finding | None:
    """What is to be said of text format that is another task's; nothing if it may be ours."""
    blocks = {one.name: one for one in fields}
    for name, task in marks.OTHER_TASKS.items():
        if name in blocks:
            return _other(blocks[name].place, name, task)
    return None


def of_text(fields: Sequence[Field]) -> str:
    """The family of text format."""
    kinds = {
        f"{block.name}.{one.name}": marks.BLOCK if isinstance(one.value, list) else marks.VALUE
        for block in fields
        for one in (block.value if isinstance(block.value, list) else [])
    }
    is_multitask = any(kinds.get(path) == kind for path, kind in marks.MARKS[marks.MULTITASK].items())
    return marks.MULTITASK if is_multitask else OURS


def _our_blocks() -> Iterable[str]:
    return [name for name in schema.fields(schema.EXPERIMENT) if name != "compat"]


def _first(top: Named, paths: dict[str, str]) -> _Found | None:
    return next(_present(top, paths), None)


def _present(top: Named, paths: dict[str, str]) -> Iterator[_Found]:
    for path, kind in paths.items():
        node = at(top, path)
        kinds = (marks.ANY, marks.BLOCK if isinstance(node, Named) else marks.VALUE)
        if node is not None and kind in kinds:
            yield _Found(path, _place(top, path))


def _place(top: Named, path: str) -> Place:
    """Where the last name of the path stands."""
    outer, _, name = path.rpartition(".")
    block = at(top, outer) if outer else top
    assert isinstance(block, Named)
    return next(one.place for one in block.entries if one.name == name)


def _faint(top: Named) -> str:
    for name, paths, kind in marks.FAINT:
        if _first(top, dict.fromkeys(paths, kind)):
            return name
    return ""


def _refuse_other_tasks(top: Named) -> None:
    for path, task in marks.OTHER_TASKS.items():
        node = at(top, path)
        if node is not None and not (isinstance(node, Leaf) and not node.value):
            raise ForeignError(_other(_place(top, path), path, task))


def _other(place: Place, path: str, task: str) -> Finding:
    return error(place, "", f"{path} makes this a spec of {task}; only image classification is trained here: {_READ}")


def _two(found: dict[str, _Found]) -> Finding:
    (name, mark), (other, other_mark) = sorted(found.items(), key=lambda one: one[1].place)[:2]
    text = (
        f"{other_mark.path} is {_of(other)}, but {mark.path} on line {mark.place.line} is {_of(name)}; "
        "a file holds one family, so take out what is of the other"
    )
    return error(other_mark.place, "", text)


def _of(name: str) -> str:
    return "of our own form" if name == OURS else f"{name}'s"
