"""The tree of a text: where each comment goes, and how long reading takes."""

import time

import pytest

from tao_lite.spec.findings import COMMAND_LINE, Place
from tao_lite.spec.text.syntax import (
    MAX_PIECES,
    Field,
    Scalar,
    TextFormatError,
    document,
    parse,
    parse_value,
)

COMMENTED = """\
# the file

# the network
model_config { # opens
  # its name
  arch: "resnet", # as in TAO
  n_layers: 18

  # last in the block
} # closes
# the end
"""


def one(text: str) -> Field:
    (field,) = parse(text)
    return field


def test_every_comment_has_its_place_in_the_tree() -> None:
    tree = document(COMMENTED)
    (model,) = tree.fields
    assert isinstance(model.value, list)
    arch, n_layers = model.value
    assert model.comments == ["# the file", "", "# the network"]
    assert (model.opening, model.comment) == ("# opens", "# closes")
    assert model.closing == ["", "# last in the block"]
    assert (arch.comments, arch.comment) == (["# its name"], "# as in TAO")
    assert (n_layers.comments, n_layers.comment) == ([], "")
    assert tree.closing == ["# the end"]


@pytest.mark.parametrize(
    ("text", "before", "after"),
    [
        ("a: 1 # x\n", [], "# x"),
        ("a: 1, # x\n", [], "# x"),
        ("a: 1 # x\n, # y\n", [], "# x"),
        ("a { } # x", [], "# x"),
        ("a: # x\n1 # y", ["# x"], "# y"),
        ("a # x\n: # y\n{ }", ["# x", "# y"], ""),
        ("\n\n# x\n\n\n# y\n\na: 1", ["# x", "", "# y", ""], ""),
        ('a: "b" # x\n "c" # y', ["# x"], "# y"),
        ("a: []# x\n b: 1", ["# x"], ""),
    ],
)
def test_a_comment_belongs_to_the_field_around_or_after_it(text: str, before: list[str], after: str) -> None:
    field = parse(text)[0]
    assert (field.comments, field.comment) == (before, after)


def test_comments_in_a_list_belong_to_its_items() -> None:
    first, second = parse("a: [\n # x\n 0, # y\n 1 # z\n]")
    assert (first.comments, first.comment) == (["# x"], "# y")
    assert (second.comments, second.comment) == ([], "# z")


def test_no_comment_is_lost_wherever_it_stands() -> None:
    pieces = ["a", "{", "b", ":", "[", "1", ",", "2", "]", ";", "c", ":", '"x"', '"y"', "d", ":", "[", "]", "}"]
    text = "# 0\n" + "".join(f"{piece} # {number}\n" for number, piece in enumerate(pieces, start=1))
    tree = document(text)
    found = list(tree.closing)
    fields = list(tree.fields)
    for field in fields:
        found += [*field.comments, field.comment, field.opening, *field.closing]
        fields += field.value if isinstance(field.value, list) else []
    assert sorted(filter(None, found)) == sorted(f"# {number}" for number in range(len(pieces) + 1))


def test_fields_are_equal_that_say_the_same_elsewhere() -> None:
    assert parse("a { b: 1 }") == parse("\n\na  {  b:1 }")
    assert parse("a { b: 1 }") != parse("a { b: 1 # why\n }")


def test_places_count_from_one_and_follow_every_kind_of_line() -> None:
    fields = parse("a: 1\r\n# x\r\n\tb: 'y'\n\n  c { d: 2 }")
    assert [(field.place, field.value_place) for field in fields] == [
        (Place(1, 1), Place(1, 4)),
        (Place(3, 2), Place(3, 5)),
        (Place(5, 3), Place(5, 5)),
    ]


def test_a_value_of_the_command_line_has_its_place() -> None:
    (block,) = parse_value("{ patience: 3 }", "early_stopping")
    assert isinstance(block.value, list)
    assert [block.place, block.value[0].place, block.value[0].value_place] == [COMMAND_LINE] * 3
    assert parse_value("some text", "a") == [Field("a", Scalar("some text", "raw"), COMMAND_LINE, COMMAND_LINE)]


def test_a_spec_of_sixty_lines_is_read_in_less_than_five_milliseconds() -> None:
    lines = "".join(f"  field_{number}: {number}.5  # comment {number}\n" for number in range(58))
    text = f"train_config {{\n{lines}}}\n"
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        document(text)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.005


def test_reading_stops_in_a_text_that_no_spec_is_as_long_as() -> None:
    with pytest.raises(TextFormatError, match=r"^100,000 words up to here") as caught:
        parse("a:1\n" * MAX_PIECES)
    assert caught.value.place == Place(25_001, 1)
