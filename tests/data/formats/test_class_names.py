"""Label maps in text format, as TensorFlow's object detection writes them."""

import os
import re
from pathlib import Path

import pytest
from PIL import Image

from tao_lite.data.dataset import load
from tao_lite.data.example import Options
from tao_lite.data.formats.class_names import read_label_map
from tao_lite.errors import DataError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "map.pbtxt"


def test_items_may_hold_blocks(path: Path) -> None:
    # Fields of StringIntLabelMap, object_detection/protos/string_int_label_map.proto of tensorflow/models.
    path.write_text("""
item {  # with a { brace
  name: "/m/01g317"
  id: 1
  display_name: "Person"
  keypoints { id: 7 label: "nose" }
  keypoints { id: 8 label: "}" }
}
item: { keypoints: { id: 9 name: "x" }, id: 2, name: "Ca" 'fé' }
other { id: 3 name: "none" }
""")
    assert read_label_map(path) == {1: "/m/01g317", 2: "Café"}


def test_as_many_classes_as_imagenet_21k_has_are_more_words_than_a_spec_may_hold_and_are_read(path: Path) -> None:
    path.write_text("".join(f'item {{\n  id: {number}\n  name: "n{number}"\n}}\n' for number in range(21_841)))
    assert len(read_label_map(path)) == 21_841


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "item { id: 1 name: 'a' }\n item { id: 2 }",
            '2:2: the item has no name; must be as item { id: 1 name: "cat" }',
        ),
        ("item { name: 'a' keypoints { id: 1 } }", "1:1: the item has no id; must be"),
        ("item: 3", "1:1: the item has no id; must be"),
        ("item { id: 1.5 name: 'a' }", "1:12: id must be written as in item { id: 1 name"),
        ("item {\n id: 1\n name: cat\n}", "3:8: name must be written as in item"),
        ("item {\n id: 1\n name: 'a'\n", "4:1: the file ends inside the block opened at line 1"),
        ("nothing", "1:8: expected ':' or '{' after 'nothing', found the end of the file"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(path: Path, text: str, said: str) -> None:
    path.write_text(text)
    with pytest.raises(DataError, match=re.escape(f"{path}:{said}")):
        read_label_map(path)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("two\nlines", r"the class 'two\\nlines' has control characters; rename it"),
        ("\x1b[31mred", r"the class '\\x1b\[31mred' has control characters; rename it"),
        (os.fsdecode(b"k\xf6rper"), "has bytes that are not UTF-8; rename it"),
    ],
)
def test_a_class_has_a_name_of_one_line_that_can_be_shown(tmp_path: Path, name: str, said: str) -> None:
    """FIELD.md A8, C5: of a folder, a data.yaml's list and a label map alike."""
    for label in ("cat", name):
        (tmp_path / label).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / label / "0.png")
    with pytest.raises(DataError, match=said) as caught:
        load(tmp_path, "IMAGE_FOLDER", Options())
    assert str(caught.value).isprintable()
