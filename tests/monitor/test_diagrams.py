"""Pictures looked at pixel by pixel, at places that follow from the numbers drawn."""

import pytest
import torch
from PIL import Image

from tao_lite.metrics.calibration import Bin, Calibration
from tao_lite.metrics.counts import Evaluation, Scores
from tao_lite.monitor import diagrams

BLUE, WHITE, ORANGE = (0, 92, 171), (255, 255, 255), (230, 159, 0)


def evaluation(matrix: list[list[int]]) -> Evaluation:
    score = Scores(0.0, 0.0, 0.0, 0)
    return Evaluation(
        num_images=sum(map(sum, matrix)),
        num_non_finite=0,
        top1=0.0,
        top_k=0.0,
        k=1,
        loss=0.0,
        per_class=(score,) * len(matrix),
        macro=score,
        weighted=score,
        confusion_matrix=tuple(map(tuple, matrix)),
        class_names=tuple(f"class {index}" for index in range(len(matrix))),
    )


def colours(picture: Image.Image) -> dict[tuple[int, ...], int]:
    """How many pixels have each colour."""
    return {colour: count for count, colour in picture.getcolors(1 << 24) or () if isinstance(colour, tuple)}


def test_a_cell_of_the_confusion_matrix_is_as_blue_as_its_share_of_the_row() -> None:
    found = colours(diagrams.confusion_matrix(evaluation([[4, 0], [1, 3]])))
    # A quarter and three quarters of the way from white to blue; by hand: 255 - 0.25 * 255 = 191.25, ...
    cells = {BLUE: 1.0, (191, 214, 234): 0.25, (64, 133, 192): 0.75}
    for colour in cells:
        # Less the number in it: most of 44 x 44 pixels.
        assert 0.9 * 44**2 < found[colour] <= 44**2


def test_a_class_without_images_has_a_white_row() -> None:
    assert BLUE not in colours(diagrams.confusion_matrix(evaluation([[0, 0], [0, 0]])))


@pytest.mark.parametrize(("num_classes", "side"), [(21, 588), (100, 600), (599, 599), (1500, 600)])
def test_the_matrix_of_many_classes_stays_small_and_keeps_its_diagonal(num_classes: int, side: int) -> None:
    matrix = [[int(true == predicted) for predicted in range(num_classes)] for true in range(num_classes)]
    picture = diagrams.confusion_matrix(evaluation(matrix))
    assert (picture.width, picture.height) == (side + 16, side + 32)
    # Whole cells of blue or, where a pixel is the mean of 2 x 2 or 3 x 3 classes, at least a third of it.
    middle = picture.getpixel((8 + side // 2, 24 + side // 2))
    assert isinstance(middle, tuple)
    assert middle == BLUE if num_classes <= side else middle[0] <= 255 * 2 / 3
    assert picture.getpixel((8 + side - 1, 24)) == WHITE


def test_long_and_foreign_names_fit() -> None:
    assert diagrams.short("a" * 18) == "a" * 18
    assert diagrams.short("a" * 19) == f"{'a' * 17}…"
    diagrams.gallery([torch.zeros(3, 2, 2, dtype=torch.uint8)], [["\u8f66\u8f86\n\U0001f600\x00", ""]])


def test_a_bar_of_the_reliability_diagram_ends_at_the_share_of_right_answers() -> None:
    bins = tuple(Bin(index / 4, (index + 1) / 4, 10 * (index == 3), 0.9, 0.5) for index in range(4))
    picture = diagrams.reliability(Calibration(num_images=10, ece=0.4, nll=1.0, bins=bins))
    column = [picture.getpixel((8 + 280, 24 + y)) for y in range(321)]  # 280 of 320: in the last quarter
    # From the top: white to 0.9, an orange frame to 0.5 of 320 pixels, blue to the bottom.
    assert (column[31], column[32], column[100]) == (WHITE, ORANGE, WHITE)
    assert (column[160], column[170], column[300]) == (ORANGE, BLUE, BLUE)
    assert column[280] == BLUE
    assert BLUE not in [picture.getpixel((8 + 100, 24 + y)) for y in range(321)]


def test_a_gallery_shows_the_pixels_of_each_image() -> None:
    images = [torch.full((3, 2, 4), value, dtype=torch.uint8) for value in range(9)]
    images[1] = torch.tensor([[[10, 20]], [[30, 40]], [[50, 60]]], dtype=torch.uint8).repeat(1, 2, 2)
    picture = diagrams.gallery(images, [["one", "two"]] * 9)
    # Three rows of three, 104 + 8 wide, half as high as wide, with two lines of 16 pixels and a margin.
    assert (picture.width, picture.height) == (3 * 112, 3 * (52 + 32 + 8))
    assert picture.getpixel((112, 0)) == (10, 30, 50)
    assert picture.getpixel((112 + 26, 0)) == (20, 40, 60)
    assert picture.getpixel((224, 184)) == (8, 8, 8)


def test_a_gallery_of_grey_images_is_grey() -> None:
    picture = diagrams.gallery([torch.full((1, 300, 300), 7, dtype=torch.uint8)], [["a"]])
    assert picture.getpixel((70, 70)) == (7, 7, 7)
