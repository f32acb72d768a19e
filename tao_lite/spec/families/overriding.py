"""One override of the command line, in the words of a file of another family, as Hydra reads it."""

from collections.abc import Sequence

from tao_lite.errors import SpecError
from tao_lite.spec.families import source
from tao_lite.spec.findings import COMMAND_LINE
from tao_lite.spec.text import yaml_form
from tao_lite.spec.text.nodes import Entry, Leaf, Named, Node, Sequenced
from tao_lite.spec.text.syntax import Scalar, TextFormatError


def overridden(top: Named, override: str) -> Named:
    """The file with one `field.path=value` of the command line, as Hydra reads it: `+` before it and lists too.

    Raises:
        SpecError: it is no such thing.
    """
    dotted, equals, value = override.partition("=")
    names = source.names(dotted.strip().lstrip("+"))
    if not equals or not all(names):
        raise SpecError(f"--set {override}: must be field.path=value, such as train.num_epochs=5")
    node = _with(top, names, _value(value))
    assert isinstance(node, Named)
    return node


def _value(text: str) -> Node:
    """A value of the command line, as in YAML where it is that."""
    try:
        node = yaml_form.parse(f"value: {text}").entries[0].node
    except TextFormatError:
        node = Leaf(COMMAND_LINE, Scalar(text, "string"))
    return _moved(node)


def _moved(node: Node) -> Node:
    """The node as one of the command line."""
    if isinstance(node, Leaf):
        return Leaf(COMMAND_LINE, node.value)
    if isinstance(node, Sequenced):
        return Sequenced(COMMAND_LINE, [_moved(one) for one in node.items])
    return Named(COMMAND_LINE, [Entry(one.name, COMMAND_LINE, _moved(one.node)) for one in node.entries])


def _with(node: Node | None, names: Sequence[str], value: Node) -> Node:
    """The node with the value at that path; blocks that are not there are added."""
    if not names:
        return value
    name, *rest = names
    if isinstance(node, Sequenced) and name.isdecimal() and int(name) < len(node.items):
        items = list(node.items)
        items[int(name)] = _with(items[int(name)], rest, value)
        return Sequenced(node.place, items)
    block = node if isinstance(node, Named) else Named(COMMAND_LINE, [])
    entries = list(block.entries)
    for index, one in enumerate(entries):
        if one.name == name:
            place = one.place if rest else COMMAND_LINE
            entries[index] = Entry(name, place, _with(one.node, rest, value))
            return Named(block.place, entries)
    return Named(block.place, [*entries, Entry(name, COMMAND_LINE, _with(None, rest, value))])
