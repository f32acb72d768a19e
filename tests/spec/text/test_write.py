"""Writing a tree: the one form, and that nothing is lost on the way."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tao_lite.spec.findings import Place
from tao_lite.spec.text import write
from tao_lite.spec.text.syntax import Document, Field, Scalar, document

ROOT = Path(__file__).resolve().parents[3]


def rewritten(text: str) -> str:
    return write.text(document(text))


def test_the_form_has_two_spaces_no_separators_and_one_kind_of_bracket() -> None:
    assert rewritten("a: {\n\t\tb : 'x\"y', ; c < d: [1 2],\ne:[3]\n>\n\n\n # end\n }  ") == (
        'a {\n  b: "x\\"y"\n  c {\n    d: [1, 2]\n    e: 3\n  }\n\n  # end\n}\n'
    )


def test_blocks_stay_on_one_line_that_stood_on_one() -> None:
    assert rewritten("a{b{c:1 d:[2,3]}}") == "a { b { c: 1 d: [2, 3] } }\n"
    assert rewritten("a{\nb{c:1}}") == "a {\n  b { c: 1 }\n}\n"
    assert rewritten("a{ } b {\n}") == "a { }\nb { }\n"
    assert rewritten("a { b: 1 # why\n}") == "a {\n  b: 1  # why\n}\n"


def test_what_is_too_long_for_a_line_is_broken() -> None:
    names = [f'"{letter * 30}"' for letter in "abc"]
    assert rewritten(f"l: [{','.join(names)}]") == f"l: [\n  {names[0]},\n  {names[1]},\n  {names[2]}\n]\n"
    assert rewritten(f"x {{ a: {names[0]} b: {names[1]} c: {names[2]} }}") == (
        f"x {{\n  a: {names[0]}\n  b: {names[1]}\n  c: {names[2]}\n}}\n"
    )


def test_fields_of_one_name_are_a_list_only_if_they_were_one() -> None:
    assert rewritten("a: [0, 1] a: 2 b: 3") == "a: [0, 1]\na: 2\nb: 3\n"
    assert rewritten("a: [0, # x\n 1]") == "a: 0  # x\na: 1\n"
    assert rewritten("a: [{b: 1}, {b: 2}]") == "a { b: 1 }\na { b: 2 }\n"


def test_values_keep_their_spelling_and_strings_are_escaped() -> None:
    text = 'a: 010\nb: 1e-5\nc: True\nd: "\\\\ \\" \\n\\t\\r \\001\\177 é \u2028"\n'
    assert rewritten(text) == text
    place = Place(0, 0)
    raw = [Field("a", Scalar(text, "raw"), place, place) for text in ("5", "true", "data/a b", "")]
    assert write.text(Document(raw)) == 'a: [5, true, "data/a b", ""]\n'


@pytest.mark.parametrize("path", sorted((ROOT / "specs").glob("*.cfg")), ids=lambda path: path.name)
def test_the_shipped_specs_have_the_form(path: Path) -> None:
    assert rewritten(path.read_text()) == path.read_text()


def _glued(*parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(*parts).map("".join)


SPACE = st.sampled_from(
    ["", " ", "\n", "\n\n", "\n\n\n", "\t", "\r\n", " # note\n", "\n# it's {\n", "\n\n  # a { b\n\n# c\n", " #\n"]
)
NAME = st.sampled_from(["a", "b", "n_layers"])
VALUE = st.sampled_from(
    ['"x"', "'y\"'", '"a" "b"', "1", "-2.5e-3", "true", "010", '"é\\n\\001\\x419"', '"\x85\u2028\x7f"', f'"{"w" * 90}"']
)
SEPARATOR = st.sampled_from(["", ",", ";", ";,"])
SINGLE = _glued(NAME, SPACE, st.just(":"), SPACE, VALUE, SPACE, SEPARATOR, st.just(" "))
ITEMS = st.lists(_glued(SPACE, VALUE, SPACE, st.just(","), SPACE), max_size=4).map("".join)
LIST = _glued(NAME, SPACE, st.just(":["), ITEMS, SPACE, st.just("]"), SPACE, SEPARATOR, st.just(" "))


def _fields(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    colon = st.sampled_from(["", ":"])
    block = _glued(NAME, SPACE, colon, SPACE, st.just("{"), SPACE, inner, SPACE, st.just("}"), SPACE, SEPARATOR, SPACE)
    return st.lists(SINGLE | LIST | block, max_size=4).map("".join)


@settings(max_examples=400)
@given(text=_glued(SPACE, st.recursive(_fields(st.just("")), _fields, max_leaves=12), SPACE))
def test_reading_what_was_written_gives_the_same_document(text: str) -> None:
    tree = document(text)
    written = write.text(tree)
    assert document(written) == tree
    assert rewritten(written) == written
    assert written.count("#") == text.count("#")
