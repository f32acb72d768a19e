"""A spec as JSON: text to nodes, each with its place."""

import json

from tao_lite.spec.text.nodes import Entry, Leaf, Named, Node, Sequenced
from tao_lite.spec.text.syntax import MAX_DEPTH, Scalar, TextFormatError, Token, tokens


def parse(text: str) -> Named:
    """The object that the file holds.

    Raises:
        TextFormatError: with the place and what was expected there.
    """
    reader = _Reader(text)
    place = reader.next.place
    top = reader.node(depth=0)
    if not isinstance(top, Named):
        raise TextFormatError(place, "must be an object, { ... }, with blocks such as model_config")
    if reader.next.kind != "end":
        raise TextFormatError(reader.next.place, f"expected the end of the file, found {reader.next.text!r}")
    return top


class _Reader:
    def __init__(self, text: str) -> None:
        self._tokens = tokens(text)
        self.next = next(self._tokens)

    def node(self, *, depth: int) -> Node:
        token = self._take()
        if token.text in ("{", "[") and depth > MAX_DEPTH:
            raise TextFormatError(token.place, f"blocks are nested more than {MAX_DEPTH} deep")
        if token.text == "{":
            return Named(token.place, self._entries(depth))
        if token.text == "[":
            return Sequenced(token.place, self._items(depth))
        return Leaf(token.place, _scalar(token))

    def _entries(self, depth: int) -> list[Entry]:
        entries: list[Entry] = []
        while not self._ends("}", after_one=bool(entries)):
            name = self._take()
            if name.kind != "string":
                raise TextFormatError(name.place, f"expected a name in double quotes, found {_found(name)}")
            self._expect(":")
            entries.append(Entry(_string(name), name.place, self.node(depth=depth + 1)))
        return entries

    def _items(self, depth: int) -> list[Node]:
        items: list[Node] = []
        while not self._ends("]", after_one=bool(items)):
            items.append(self.node(depth=depth + 1))
        return items

    def _ends(self, closing: str, *, after_one: bool) -> bool:
        """Whether the closing mark comes; takes it, or the comma before the next one."""
        if self.next.text == closing:
            self._take()
            return True
        if after_one:
            self._expect(",", f"',' or '{closing}'")
        return False

    def _expect(self, mark: str, words: str = "") -> None:
        token = self._take()
        if token.text != mark:
            raise TextFormatError(token.place, f"expected {words or repr(mark)}, found {_found(token)}")

    def _take(self) -> Token:
        token = self.next
        if token.kind != "end":
            self.next = next(self._tokens)
        return token


def _scalar(token: Token) -> Scalar | None:
    if token.kind == "string":
        return Scalar(_string(token), "string")
    if token.kind == "number" or token.text in ("true", "false"):
        return Scalar(token.text, token.kind)
    if token.text == "null":
        return None
    raise TextFormatError(token.place, f"expected a value, found {_found(token)}")


def _string(token: Token) -> str:
    try:
        return str(json.loads(token.text))
    except ValueError as error:
        raise TextFormatError(token.place, f"{token.text} is not a string of JSON") from error


def _found(token: Token) -> str:
    return repr(token.text) if token.text else "the end of the file"
