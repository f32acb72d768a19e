"""`dataset convert`: what is written is what is read, an interruption costs nothing, nothing foreign is overwritten."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from tao_lite.cli.dataset import _TARGETS
from tao_lite.data import convert as writing
from tao_lite.data.convert import TARGETS
from tao_lite.data.dataset import load, read_classmap, splits
from tao_lite.data.decode import decode
from tao_lite.data.example import Example, KittiOptions, Options, Split
from tao_lite.data.formats.tfrecord_example import features
from tao_lite.data.formats.tfrecord_file import records
from tao_lite.data.left_out import LeftOut
from tao_lite.spec.load import load as load_spec
from tests.data.command import exit_code

WHOLE = KittiOptions(min_height_pixels=0, max_occlusion=3, max_truncation=1)
# Those whose examples have one label, read from a folder.
OF_ONE_TASK = [target for target in TARGETS if target != "multitask"]


def convert(capsys: pytest.CaptureFixture[str], spec: Path, output: Path, target: str, *more: str) -> tuple[int, str]:
    """Exit code, and what is printed."""
    code = exit_code("dataset", "convert", "-e", spec, "-o", output, "--to", target, *more)
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def spec_of(path: Path, train: Path, val: Path, kind: str = "AUTO") -> Path:
    path.write_text(
        f'train_config {{ train_dataset_path: "{train}" val_dataset_path: "{val}" }}\n'
        f"dataset_config {{ format: {kind} kitti {{ margin: 0.1 }} }}"
    )
    return path


def pixels(example: Example) -> bytes:
    image = decode(example.path, 3, example.span)
    left, top, right, bottom = example.box or (0, 0, image.shape[1], image.shape[0])
    return image[top:bottom, left:right].tobytes()


def shown(examples: Sequence[Example]) -> list[tuple[str, bytes]]:
    return sorted((example.label, pixels(example)) for example in examples)


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """A spec of pictures of several kinds."""
    for number, name in enumerate(("a cat/1.png", "a cat/2.jpg", "dog/x/1.bmp", "dog/deep.png", "dog/wrong.jpg")):
        for split in ("train", "val"):
            path = tmp_path / split / name
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = np.random.default_rng([number, split == "val"]).integers(0, 256, (20, 24, 3), dtype=np.uint8)
            image = Image.fromarray(noise)
            image.save(path, "PNG" if "wrong" in name else None)
    return spec_of(tmp_path / "s.cfg", tmp_path / "train", tmp_path / "val")


def test_targets_of_the_command_line_are_those_there_are() -> None:
    assert sorted(_TARGETS) == sorted([*TARGETS, "cache"])


@pytest.mark.parametrize("target", OF_ONE_TASK)
def test_whole_pictures_keep_their_bytes(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], target: str
) -> None:
    output = tmp_path / "out"
    code, text = convert(capsys, folders, output, target)
    assert code == 0, text
    assert "Wrote 5 examples for train, 5 examples for val in" in text
    assert f'train_dataset_path: "{output}/train"' in text
    assert f"format: {target.upper()}" in text
    for split in ("train", "val"):
        before = load(tmp_path / split, "IMAGE_FOLDER", Options())
        after = load(output / split, target.upper(), Options(kitti=WHOLE, report=LeftOut(fail=True)))
        renamed = [(label.replace(" ", "_") if target == "kitti" else label, shows) for label, shows in shown(before)]
        assert shown(after) == renamed
        contents = {example.path.read_bytes() for example in before}
        for example in after:
            path, span = example.path, example.span
            content = span.file.read_bytes()[span.offset :][: span.length] if span else path.read_bytes()
            assert content in contents
    names = ["a_cat" if target == "kitti" else "a cat", "dog"]
    assert json.loads((output / "classmap.json").read_text()) == {names[0]: 0, names[1]: 1}


@pytest.mark.slow
@pytest.mark.parametrize("target", OF_ONE_TASK)
def test_objects_show_the_same_pixels(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], target: str
) -> None:
    root = shared / "data/yolo/sign6"
    spec = spec_of(tmp_path / "s.cfg", root, root)
    code, text = convert(capsys, spec, tmp_path / "out", target)
    assert code == 0, text
    for split in get_args(Split)[:2]:
        options = Options(split=split, kitti=KittiOptions(margin=0.1))
        before = load(root, "YOLO", options)
        after = load(tmp_path / "out" / split, target.upper(), Options(kitti=WHOLE, report=LeftOut(fail=True)))
        renamed = [(label.replace(" ", "_") if target == "kitti" else label, shows) for label, shows in shown(before)]
        assert shown(after) == sorted(renamed)
        # Objects of one picture stay together, whoever divides them again.
        if target != "image_folder":
            assert len({example.group for example in after}) == len({example.path for example in before})


@pytest.mark.parametrize(
    "source",
    [
        "folders/hymenoptera_small/train",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("kitti_png", "kitti_jpeg", "tfrecord/raccoon", "yolo/sign6")
        ),
    ],
)
def test_real_data_goes_through_coco_and_manifest_and_comes_out_the_same(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str
) -> None:
    spec = spec_of(tmp_path / "0.cfg", shared / "data" / source, shared / "data" / source)
    before = load(shared / "data" / source, "AUTO", Options(kitti=KittiOptions(margin=0.1)))
    groups = [one.group for one in before]
    for target in ("coco", "manifest", "coco"):
        output = tmp_path / f"{target}{spec.stem}"
        code, text = convert(capsys, spec, output, target)
        assert code == 0, text
        after = load(output / "train", "AUTO", Options(report=LeftOut(fail=True)))
        assert [(one.label, pixels(one)) for one in after] == [(one.label, pixels(one)) for one in before]
        assert [groups.index(one) for one in groups] == [[one.group for one in after].index(one.group) for one in after]
        spec = tmp_path / f"{int(spec.stem) + 1}.cfg"
        spec_of(spec, output / "train", output / "val").write_text(spec.read_text().replace("margin: 0.1", ""))


def test_manifest_keeps_groups_and_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (40, 20)).save(tmp_path / "1.png")
    rows = ["1.png,=a,,,,,p/1,0.5", "1.png,\u00e9 b,1,2,30,15,p/1,2"]
    (tmp_path / "x.csv").write_text("\n".join(["path,label,left,top,right,bottom,group,weight", *rows]))
    spec = spec_of(tmp_path / "s.cfg", tmp_path / "x.csv", tmp_path / "x.csv")
    code, text = convert(capsys, spec, tmp_path / "out", "manifest", "--set", "dataset_config.kitti.margin=0")
    assert code == 0, text
    after = load(tmp_path / "out/train", "AUTO", Options())
    assert [(one.label, one.box, one.group, one.weight) for one in after] == [
        ("=a", None, "p/1", 0.5),
        ("\u00e9 b", (1, 2, 30, 15), "p/1", 2),
    ]


def test_coco_is_as_other_programs_want_it(folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert convert(capsys, folders, tmp_path / "out", "coco")[0] == 0
    content = json.loads((tmp_path / "out/train/instances.json").read_text())
    assert content["categories"] == [{"id": 1, "name": "a cat"}, {"id": 2, "name": "dog"}]
    assert content["images"][0] == {"id": 1, "file_name": "000000_1.png", "width": 24, "height": 20}
    whole = {"bbox": [0, 0, 24, 20], "area": 480, "iscrowd": 0}
    assert content["annotations"][2] == {"id": 3, "image_id": 3, "category_id": 2, **whole}
    assert len(content["annotations"]) == len(content["images"]) == 5


def test_labels_of_several_tasks_are_a_csv_file(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    code, text = convert(capsys, folders, output, "multitask")
    assert code == 0, text
    assert f'train_dataset_path: "{output}/train/labels.csv"' in text
    assert "dataset_config { format: MULTITASK }" in text
    lines = (output / "train" / "labels.csv").read_text().splitlines()
    # Pictures of no boxes have no occlusion.
    assert lines[0] == "fname,type"
    assert [line.partition(",")[2] for line in lines[1:]] == ["a cat", "a cat", "dog", "dog", "dog"]
    assert all((output / "train" / line.partition(",")[0]).is_file() for line in lines[1:])


def test_written_examples_train_as_the_ones_they_were_made_of_do(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert convert(capsys, folders, tmp_path / "out", "tfrecord")[0] == 0
    (path,) = (tmp_path / "out/train").iterdir()
    assert path.name == "part-00000-of-00001.tfrecord"
    found = [features(record.content) for record in records(path, LeftOut(fail=True))]
    assert [one["image/class/label"].ints() for one in found] == [[0], [0], [1], [1], [1]]
    assert [one["image/format"].texts() for one in found] == [["png"], ["jpg"], ["png"], ["png"], ["bmp"]]
    assert found[0]["image/filename"].texts() == ["000000_1.png"]


@pytest.mark.parametrize("target", TARGETS)
def test_interrupted_conversion_is_gone_on_with(
    folders: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    target: str,
) -> None:
    monkeypatch.setattr(writing, "EXAMPLES_PER_SHARD", 2)
    whole, output = tmp_path / "whole", tmp_path / "out"
    assert convert(capsys, folders, whole, target)[0] == 0
    shutil.copytree(whole, output)
    files = sorted(path for path in (output / "train").rglob("*") if path.is_file() and path.parent.name != "image_2")
    for path in files[1::2]:
        path.unlink()
    (output / "classmap.json").unlink(missing_ok=True)
    (files[0].parent / ".000001_x.png.4711").write_bytes(b"half")
    kept = files[0].stat().st_mtime_ns
    code, text = convert(capsys, folders, output, target)
    assert code == 0, text
    assert files[0].stat().st_mtime_ns == kept
    names = {path.relative_to(whole) for path in whole.rglob("*")}
    assert {path.relative_to(output) for path in output.rglob("*")} - names == {
        (files[0].parent / ".000001_x.png.4711").relative_to(output)
    }
    for name in names:
        assert (whole / name).is_dir() or (whole / name).read_bytes() == (output / name).read_bytes()


def test_shards_hold_so_many_examples_each(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "EXAMPLES_PER_SHARD", 2)
    assert convert(capsys, folders, tmp_path / "out", "tfrecord")[0] == 0
    files = sorted((tmp_path / "out/train").iterdir())
    assert [path.name for path in files] == [f"part-{number:05d}-of-00003.tfrecord" for number in range(3)]
    assert [len(list(records(path, LeftOut(fail=True)))) for path in files] == [2, 2, 1]


@pytest.mark.parametrize("target", TARGETS)
def test_what_was_damaged_after_it_was_written_is_noticed(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], target: str
) -> None:
    output = tmp_path / "out"
    assert convert(capsys, folders, output, target)[0] == 0
    victim = max((output / "train").rglob("*.*"), key=lambda path: path.stat().st_size)
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    code, text = convert(capsys, folders, output, target)
    assert code == 2
    assert str(victim) in text
    assert "Traceback" not in text


def test_broken_pictures_are_left_out_or_end_the_conversion(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "train/dog/deep.png").write_bytes(b"no picture")
    for target in TARGETS:
        caplog.clear()
        code, text = convert(capsys, folders, tmp_path / target, target)
        assert code == 0, text
        assert "deep.png: not a JPEG" in caplog.text
        assert "1 of 5 examples were left out" in caplog.text
        assert "Wrote 4 examples for train" in text
        code, text = convert(
            capsys, folders, tmp_path / f"{target} again", target, "--set", "dataset_config.on_bad_example=FAIL"
        )
        assert code == 2
        assert "deep.png: not a JPEG" in text


def test_folder_that_holds_something_else_is_left_alone(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    expected = f"{output}: holds something else already; name another folder with -o, or remove it"
    output.mkdir()
    (output / "mine.txt").write_text("dear")
    assert expected in convert(capsys, folders, output, "kitti")[1]
    assert [path.name for path in output.iterdir()] == ["mine.txt"]
    shutil.rmtree(output)
    assert convert(capsys, folders, output, "kitti")[0] == 0
    code, text = convert(capsys, folders, output, "tfrecord")
    assert (code, expected in text) == (2, True)
    shutil.copy(tmp_path / "train/dog/deep.png", tmp_path / "train/dog/more.png")
    code, text = convert(capsys, folders, output, "kitti")
    assert (code, expected in text) == (2, True)


def test_classes_that_have_no_name_there_are_refused(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(tmp_path / "train/dog", tmp_path / "train/a_cat")
    shutil.copytree(tmp_path / "val/dog", tmp_path / "val/a_cat")
    code, text = convert(capsys, folders, tmp_path / "out", "kitti")
    assert code == 2
    assert "classes can't be named in KITTI labels: a cat, a_cat, dog; rename with class_mapping" in text


@pytest.mark.parametrize("target", ["image_folder", "tfrecord"])
def test_the_order_of_classes_of_a_data_set_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], target: str
) -> None:
    names = ("zebra", "unseen", "ant")
    for split in ("train", "valid"):
        for number in (0, 2):
            picture = tmp_path / split / "images" / f"{number}.png"
            picture.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((20, 24, 3), 60 * number, np.uint8)).save(picture)
            label = tmp_path / split / "labels" / f"{number}.txt"
            label.parent.mkdir(exist_ok=True)
            label.write_text(f"{number} 0.5 0.5 0.8 0.8\n")
    (tmp_path / "data.yaml").write_text(f"train: train/images\nval: valid/images\nnc: 3\nnames: {list(names)}\n")
    spec = spec_of(tmp_path / "s.cfg", tmp_path, tmp_path)
    code, text = convert(capsys, spec, tmp_path / "out", target)
    assert code == 0, text
    assert json.loads((tmp_path / "out" / "classmap.json").read_text()) == {"zebra": 0, "unseen": 1, "ant": 2}
    printed = tmp_path / "printed.cfg"
    printed.write_text("\n".join(text[text.index("train_config {") :].splitlines()[:2]))
    for written in (spec, printed):
        experiment = load_spec(written, stage=None).experiment
        path = experiment.dataset_config.classmap_path
        train, _ = splits(experiment, read_classmap(Path(path)) if path else None)
        assert train.class_names == names
