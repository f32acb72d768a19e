"""A family as a table: what each of its fields becomes here. `convert` applies it, the guide is made of it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from google.protobuf.descriptor import FieldDescriptor

from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec import schema
from tao_lite.spec.bind import did_you_mean
from tao_lite.spec.families.source import Source, WrongValueError
from tao_lite.spec.findings import COMMAND_LINE, Finding, Level, Place, error
from tao_lite.spec.text.nodes import PLAIN, Entry, Leaf, Named, Node, Sequenced
from tao_lite.spec.text.syntax import Scalar


class Made(NamedTuple):
    """A value of ours: the path of its field, the value, and the path of the field of theirs that it is from."""

    ours: str
    node: Node
    theirs: str


# Makes fields of ours where they are not theirs one to one; yields notes and warnings of it too.
Step = Callable[[Source], Iterator[Made | Finding]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A field or block of theirs, by its path, and what becomes of it."""

    theirs: str
    # Path of our field; empty where there is none.
    ours: str = ""
    # What it is there, where the file doesn't say it.
    default: str = ""
    # Makes ours of it, several fields together; without it the value stays.
    by: Step | None = None
    # What is otherwise here, or happens instead.
    words: str = ""
    # Without a field of ours: whether something is lost by it, or just said elsewhere.
    level: Level = Level.NOTE
    # Values of which nothing has to be said.
    harmless: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One family: its name, rows, and older paths of its fields with the newer ones."""

    name: str
    rows: Sequence[Row]
    renamed: Mapping[str, str] = field(default_factory=dict)
    # Blocks whose fields may be called as ours too.
    takes_ours: bool = False


@dataclass(frozen=True, slots=True)
class Converted:
    """The file in our words.

    `origins` says of which field of theirs each of ours is, `assumed` which of ours are the family's defaults.
    """

    top: Named
    findings: Sequence[Finding] = ()
    origins: Mapping[str, str] = field(default_factory=dict)
    assumed: frozenset[str] = frozenset()


# What every converted spec says: TAO's defects that compat is about are those of classification_tf1.
_ALWAYS = {"compat": pb.Compat.Mode.Name(pb.Compat.CORRECTED)}
_SILENT = ("", "none", "null", "[]")
_FALSE = ("false", "0", "0.0", "no", "off")


def moved(theirs: str, ours: str, words: str = "", *, default: str = "") -> Row:
    """A field that has another name here."""
    return Row(theirs=theirs, ours=ours, words=words, default=default)


def made(theirs: str, ours: str, by: Step, words: str = "", *, default: str = "") -> Row:
    """A field of which a step makes ours."""
    return Row(theirs=theirs, ours=ours, by=by, words=words, default=default)


def elsewhere(theirs: str, words: str, *harmless: str) -> Row:
    """A field or block that has no meaning here, and what does its work."""
    return Row(theirs=theirs, words=words, harmless=harmless)


def lost(theirs: str, words: str = "there is no such field here", *harmless: str) -> Row:
    """A field or block that has no effect here, though it had one there; off and unset are nothing to speak of."""
    return Row(theirs=theirs, words=f"has no effect: {words}", level=Level.WARNING, harmless=harmless or _FALSE)


def leaf(text: str, place: Place, kind: str = PLAIN) -> Leaf:
    """A value of ours."""
    return Leaf(place, Scalar(text, kind))


def made_of(source: Source, theirs: str, ours: str, text: str, kind: str = PLAIN) -> Made:
    """A value of ours in the place of theirs."""
    item = source.items.get(theirs)
    return Made(ours, leaf(text, item.node.place if item else source.place(theirs), kind), theirs)


def said(source: Source, level: Level, theirs: str, text: str) -> Finding:
    """What is to be said of a field of theirs."""
    item = source.items.get(theirs)
    return Finding(level, item.path if item else theirs, text, item.place if item else source.place(theirs))


def convert(family: Family, top: Named) -> Converted:
    """The file in our words; its findings hold what is wrong with it, and what becomes of fields that we don't have."""
    try:
        defaults = {row.theirs: row.default for row in family.rows if row.default}
        source = Source(top, family.renamed, defaults)
    except WrongValueError as wrong:
        return Converted(Named(top.place, []), [wrong.finding])
    worker = _Worker(family, source)
    worker.work()
    known = {row.ours: row.theirs for row in reversed(family.rows) if row.ours}
    return Converted(worker.tree(top.place), worker.findings, known | worker.origins, frozenset(worker.assumed))


class _Worker:
    def __init__(self, family: Family, source: Source) -> None:
        self._family, self._source = family, source
        self._rows = {row.theirs: row for row in family.rows}
        self._nodes: dict[str, Node] = {}
        self.findings: list[Finding] = []
        self.origins: dict[str, str] = {}
        self.assumed: set[str] = set()
        # By its row, the fields of the file that have none here.
        self._unread: dict[str, list[str]] = {}

    def work(self) -> None:
        for path in self._source.items:
            self._attempt(self._given(path))
        self.findings += [self._without_field(self._rows[theirs], paths) for theirs, paths in self._unread.items()]
        steps: dict[Step, None] = {row.by: None for row in self._family.rows if row.by and self._applies(row)}
        for step in steps:
            self._attempt(step(self._source))
        for row in self._family.rows:
            if row.default and row.ours and not row.by and not self._source.has(row.theirs) and self._applies(row):
                self._attempt(iter([made_of(self._source, row.theirs, row.ours, row.default)]))
        for path, text in _ALWAYS.items():
            self._put(Made(path, leaf(text, Place(1, 1)), path))

    def tree(self, place: Place) -> Named:
        """The fields of ours as blocks, in the order of the file."""
        return _block(self._nodes, place)

    def _given(self, path: str) -> Iterator[Made | Finding]:
        """What a field of the file becomes."""
        item, row = self._source.items[path], self._row(path)
        if row is None and self._family.takes_ours and descriptor(item.path):
            row = Row(theirs=path, ours=item.path)
        if row is None:
            near = did_you_mean(path, self._rows) or did_you_mean(path.rpartition(".")[2], _last_names(self._rows))
            yield error(item.place, item.path, f"unknown field{near}")
        elif row.by:
            return
        elif row.ours:
            node = self._value(path, row)
            if node:
                yield Made(row.ours, node, path)
        elif not self._is_harmless(path, row):
            self._unread.setdefault(row.theirs, []).append(path)

    def _without_field(self, row: Row, paths: Sequence[str]) -> Finding:
        """What is said of the fields of one row that have none here: once for all fields of a block."""
        first = self._source.items[paths[0]]
        if list(paths) == [row.theirs]:
            return Finding(row.level, first.path, row.words, first.place)
        names = ", ".join(path.removeprefix(f"{row.theirs}.") for path in paths)
        return Finding(row.level, row.theirs, f"{names}: {row.words}", first.place)

    def _row(self, path: str) -> Row | None:
        """The row of the field, else of the nearest block around it."""
        while path not in self._rows and path:
            path = path.rpartition(".")[0]
        return self._rows.get(path)

    def _value(self, path: str, row: Row) -> Node | None:
        """The value for our field; nothing for an empty one, which in TAO is unset."""
        field_of_ours = descriptor(row.ours)
        node = self._source.node(path)
        if not isinstance(node, Leaf):
            if field_of_ours and not field_of_ours.is_repeated:
                raise self._source.wrong(path, "found a list, must be a single value")
            return node
        is_path = field_of_ours is not None and schema.rule(field_of_ours).HasField("path")
        text = (node.value.text if node.value else "") if is_path else self._source.text(path)
        if not text.strip():
            return None
        if field_of_ours and field_of_ours.is_repeated:
            return Sequenced(node.place, [node])
        return node

    def _is_harmless(self, path: str, row: Row) -> bool:
        """Whether nothing has to be said of the value, or of a block that is switched off."""
        switches = [f"{row.theirs}.{name}" for name in ("enable", "enabled")]
        if path != row.theirs and any(self._source.has(one) and not self._source.is_on(one) for one in switches):
            return True
        node = self._source.items[path].node
        if isinstance(node, Sequenced):
            text = ", ".join(one.value.text for one in node.items if isinstance(one, Leaf) and one.value)
        else:
            text = node.value.text if node.value else ""
        return text.strip().lower() in (*_SILENT, *row.harmless)

    def _applies(self, row: Row) -> bool:
        """Whether the file is about this part of the family, so that its defaults count."""
        group = row.theirs.partition(".")[0]
        needed_by = ("train", "evaluate", "dataset", "model") if group in ("dataset", "model") else ()
        return self._source.has(group, *needed_by)

    def _attempt(self, results: Iterator[Made | Finding]) -> None:
        try:
            for one in results:
                if isinstance(one, Made):
                    self._put(one)
                else:
                    self.findings.append(one)
        except WrongValueError as wrong:
            self.findings.append(wrong.finding)

    def _put(self, one: Made) -> None:
        if one.ours in self._nodes:
            return
        self._nodes[one.ours] = one.node
        item = self._source.items.get(one.theirs)
        self.origins[one.ours] = item.path if item else one.theirs
        if item is None:
            self.assumed.add(one.ours)


def descriptor(path: str) -> FieldDescriptor | None:
    """Our field at a dotted path."""
    message, found = schema.EXPERIMENT, None
    for name in path.split("."):
        found = schema.fields(message).get(name) if message else None
        if found is None:
            return None
        block = schema.block_type(found)
        message = block  # type: ignore[assignment]  # Nothing below a value.
    return found


def _last_names(paths: Mapping[str, Row]) -> list[str]:
    return [path.rpartition(".")[2] for path in paths]


def _block(nodes: Mapping[str, Node], place: Place) -> Named:
    """Blocks of the values by path; each stands where its first value does."""
    inner: dict[str, dict[str, Node]] = {}
    entries: list[Entry] = []
    for path, node in nodes.items():
        name, _, rest = path.partition(".")
        if rest:
            inner.setdefault(name, {})[rest] = node
        else:
            entries.append(Entry(name, node.place, node))
    for name, own in inner.items():
        places = [node.place for node in own.values()]
        first = min((place for place in places if place != COMMAND_LINE), default=COMMAND_LINE)
        entries.append(Entry(name, first, _block(own, first)))
    return Named(place, sorted(entries, key=lambda one: one.place))
