"""Loading spec files: what is accepted, and what each problem says."""

import math
import re
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tao_lite.errors import SpecError
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.findings import Finding, Level
from tao_lite.spec.load import MAX_BYTES, examine, load, read
from tao_lite.stages import preflight
from tests.conftest import ROOT

GOOD = """
model_config { arch: "resnet", input_image_size: "3,64,64" use_batch_norm: true }
train_config {
  train_dataset_path: "data"
  optimizer { sgd { momentum: 0.9 } }
  batch_size_per_gpu: 8
  n_epochs: 2
  preprocess_mode: "torch"
  lr_config { cosine { learning_rate: 0.1 } }
}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "spec.cfg"
    path.write_bytes(text.encode())
    return path


def problems(path: Path, *overrides: str, stage: str = "train") -> list[str]:
    with pytest.raises(SpecError) as caught:
        load(path, overrides=overrides, stage=stage)
    return str(caught.value).replace(f"{path}:", "").splitlines()


def test_a_good_spec_has_no_problem_and_no_warning(tmp_path: Path) -> None:
    spec = load(written(tmp_path, GOOD))
    assert spec.experiment.train_config.n_epochs == 2
    assert spec.warnings == ()


def test_every_spelling_of_the_text_format_is_read(tmp_path: Path) -> None:
    text = (
        "\ufeff"
        + GOOD.replace("\n", "\r\n")
        + (
            "eval_config: { top_k : 3 ; enable_center_crop: True, }\r\n"
            "# comment\r\n"
            "prune_config < normalizer: 'L' \"2\" excluded_layers: ['a', 'b\\x63'] >"
        )
    )
    experiment = load(written(tmp_path, text)).experiment
    assert experiment.eval_config.top_k == 3
    assert experiment.eval_config.enable_center_crop
    assert experiment.prune_config.normalizer == "L2"
    assert list(experiment.prune_config.excluded_layers) == ["a", "bc"]


def test_repeated_numbers_come_one_by_one_or_as_a_list(tmp_path: Path) -> None:
    one_by_one = GOOD.replace("use_batch_norm", "freeze_blocks: 0 freeze_blocks: 1 use_batch_norm")
    as_list = GOOD.replace("use_batch_norm", "freeze_blocks: [0, 1] use_batch_norm")
    for text in (one_by_one, as_list):
        assert list(load(written(tmp_path, text)).experiment.model_config.freeze_blocks) == [0, 1]


def test_a_leading_zero_does_not_make_a_number_octal(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD.replace("n_epochs: 2", "n_epochs: 010"))
    assert load(path).experiment.train_config.n_epochs == 10


BAD_FIELDS = [
    ("n_epochs: 2", "n_epoch: 2", "7:3: train_config.n_epoch: unknown field; did you mean n_epochs?"),
    ("n_epochs: 2", "n_epochs: 0", "7:13: train_config.n_epochs: found 0, must be >= 1"),
    ("n_epochs: 2", "n_epochs: -2", "7:13: train_config.n_epochs: found -2, must be a whole number of 0 or more"),
    ("n_epochs: 2", 'n_epochs: "two"', '7:13: train_config.n_epochs: found "two", must be a whole number of 0 or more'),
    ("n_epochs: 2", "n_epochs: 2.5", "7:13: train_config.n_epochs: found 2.5, must be a whole number of 0 or more"),
    ("n_epochs: 2", "n_epochs { }", "7:12: train_config.n_epochs: found a block, must be a whole number of 0 or more"),
    (
        "n_epochs: 2",
        "n_epochs: 2 n_epochs: 3",
        "7:25: train_config.n_epochs: set a second time; the first is on line 7",
    ),
    (
        "n_epochs: 2",
        "n_epochs: 2 top_k: 3",
        "7:15: train_config.top_k: unknown here; it belongs in eval_config.top_k",
    ),
    (
        "n_epochs: 2",
        "n_epochs: 2 precision: FP61",
        (
            "7:26: train_config.precision: found FP61, "
            "must be one of AUTO, FP32, TF32, FP16, BF16, O0, O1, O2, O3; did you mean FP16?"
        ),
    ),
    (
        "use_batch_norm: true",
        "use_batch_norm: treu",
        "2:76: model_config.use_batch_norm: found treu, must be true or false; did you mean true?",
    ),
    ('"torch"', "3", "8:20: train_config.preprocess_mode: found 3, must be a string in quotes"),
    (
        '"torch"',
        '"Torhc"',
        '8:20: train_config.preprocess_mode: found "Torhc", must be one of "caffe", "torch", "tf"; did you mean torch?',
    ),
    (
        "batch_size_per_gpu: 8",
        "batch_size_per_gpu: 0",
        "6:23: train_config.batch_size_per_gpu: found 0, must be >= 1; 32 suits most GPUs",
    ),
    (
        "cosine { learning_rate: 0.1 }",
        "soft_anneal { learning_rate: 0.1 soft_start: 0.4 annealing_divider: 10 annealing_points: [0.3, 0.6] }",
        (
            "9:105: train_config.lr_config.soft_anneal.annealing_points: found 0.3, 0.6, must all be above soft_start "
            "0.4; move the points or it"
        ),
    ),
    (
        "cosine { learning_rate: 0.1 }",
        "soft_anneal { learning_rate: 0.1 annealing_divider: 10 annealing_points: [0.6, 0.3] }",
        (
            "9:89: train_config.lr_config.soft_anneal.annealing_points: found 0.6, 0.3, must increase; write them in "
            "order"
        ),
    ),
    (
        "use_batch_norm: true }",
        "resize_mode: LETTERBOX } eval_config { enable_center_crop: true }",
        "2:119: eval_config.enable_center_crop: found true beside model_config.resize_mode LETTERBOX; leave one out",
    ),
    (
        "momentum: 0.9",
        "nesterov: true",
        (
            "5:31: train_config.optimizer.sgd.nesterov: found true without momentum; set momentum (0.9 is usual) or "
            "nesterov: false"
        ),
    ),
    (
        '"torch"',
        '"torch" random_rotate { angle_list: 45 }',
        "8:56: train_config.random_rotate.angle_list: found 45, must be 90, 180 or 270",
    ),
    (
        '"torch"',
        '"torch" random_crop { min_area: 0.5 max_area: 0.25 }',
        "8:52: train_config.random_crop.min_area: found 0.5, must be at most max_area, which is 0.25",
    ),
    (
        '"torch"',
        '"torch" vflip_probability: 1.5',
        "8:47: train_config.vflip_probability: found 1.5, must be >= 0 and <= 1",
    ),
    (
        '"3,64,64"',
        '"64,64,3"',
        (
            '2:50: model_config.input_image_size: found "64,64,3", must be "channels,height,width" with 1 or 3 '
            'channels and sides from 16 to 9999, such as "3,224,224"'
        ),
    ),
    (
        "cosine { learning_rate: 0.1 }",
        "cosine { learning_rate: nan }",
        "9:39: train_config.lr_config.cosine.learning_rate: found nan, must be finite",
    ),
    (
        "cosine { learning_rate: 0.1 }",
        "cosine { learning_rate: 0.1 soft_start: 1 }",
        "9:55: train_config.lr_config.cosine.soft_start: found 1, must be >= 0 and < 1",
    ),
    (
        "cosine { learning_rate: 0.1 }",
        "cosine { }",
        "9:15: train_config.lr_config.cosine.learning_rate: is missing; add learning_rate: with a number",
    ),
    (
        "cosine { learning_rate: 0.1 }",
        "",
        "9:3: train_config.lr_config: is empty; add one of step, soft_anneal, cosine, linear, exponential",
    ),
    (
        "cosine { learning_rate: 0.1 }",
        "cosine { learning_rate: 0.1 } step { }",
        (
            "9:50: train_config.lr_config.step: cosine is set already; keep one of step, soft_anneal, cosine, linear, "
            "exponential"
        ),
    ),
    (
        "optimizer { sgd { momentum: 0.9 } }",
        'optimizer: "sdg"',
        '5:14: train_config.optimizer: found "sdg", must be a block: optimizer { ... } with sgd, adam, rmsprop, adamw',
    ),
    (
        "n_epochs: 2",
        "n_epochs: 2 image_mean { key: 'r' value: 1 }",
        "7:15: train_config.image_mean: found the keys r, must have exactly b, g, r",
    ),
    (
        "n_epochs: 2",
        "n_epochs: 2 image_mean { key: 'r' }",
        "7:26: train_config.image_mean: must be image_mean { key: ... value: ... }",
    ),
    (
        'train_dataset_path: "data"',
        'train_dataset_path: ""',
        "4:23: train_config.train_dataset_path: found an empty string, must be set",
    ),
]


@pytest.mark.parametrize(("good", "bad", "expected"), BAD_FIELDS, ids=[bad for _, bad, _ in BAD_FIELDS])
def test_a_wrong_field_is_told_with_place_value_and_remedy(tmp_path: Path, good: str, bad: str, expected: str) -> None:
    assert good in GOOD
    assert problems(written(tmp_path, GOOD.replace(good, bad))) == [expected]


BAD_TEXTS = [
    ("model_config {", "1:15: the file ends inside the block opened at line 1; a '}' is missing"),
    ('arch: "resnet', '1:7: the string has no closing " on its line'),
    ("a: 1 }", "1:6: expected a field name, found '}'"),
    ("arch resnet", "1:6: expected ':' or '{' after 'arch', found 'resnet'"),
    ("arch: }", "1:7: expected a value, found '}'"),
    ("arch:", "1:6: expected a value, found the end of the file"),
    ("arch: 1.2.3", "1:7: can't read '1.2.3'; expected a field, a value or a brace"),
    ("arch: @", "1:7: can't read '@'; expected a field, a value or a brace"),
    ("a {" * 40, "1:99: blocks are nested more than 32 deep"),
]


@pytest.mark.parametrize(("text", "expected"), BAD_TEXTS, ids=[text[:20] for text, _ in BAD_TEXTS])
def test_text_that_is_not_text_format_is_told_with_its_place(tmp_path: Path, text: str, expected: str) -> None:
    assert problems(written(tmp_path, text)) == [expected]


def test_all_problems_are_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = GOOD.replace("n_epochs: 2", "n_epochs: 0").replace('"resnet"', "7").replace("sgd", "sdg")
    assert [line.split(": ")[1] for line in problems(written(tmp_path, text))] == [
        "model_config.arch",
        "train_config.optimizer",
        "train_config.optimizer.sdg",
        "train_config.n_epochs",
    ]


def test_an_empty_file_lacks_the_blocks_of_its_stage(tmp_path: Path) -> None:
    path = written(tmp_path, "")
    missing = "1:1: model_config: is missing; add a block model_config { ... }"
    assert problems(path) == [missing, "1:1: train_config: is missing; add a block train_config { ... }"]
    images = "1:1: eval_config.eval_dataset_path: is missing; add the folder of images, or give it with -i"
    assert problems(path, stage="evaluate") == [missing, images]


def test_overrides_replace_fields_whole(tmp_path: Path) -> None:
    text = GOOD.replace("use_batch_norm", "freeze_blocks: 3 use_batch_norm")
    experiment = load(
        written(tmp_path, text),
        overrides=[
            "train_config.n_epochs=7",
            "train_config.train_dataset_path=/data/a b=c",
            "model_config.freeze_blocks=[0, 1]",
            "train_config.early_stopping={ patience: 3 }",
            "dataset_config.kitti.margin=0.25",
        ],
    ).experiment
    assert experiment.train_config.n_epochs == 7
    assert experiment.train_config.train_dataset_path == "/data/a b=c"
    assert list(experiment.model_config.freeze_blocks) == [0, 1]
    assert experiment.train_config.early_stopping.patience == 3
    assert experiment.dataset_config.kitti.margin == 0.25


def test_a_wrong_override_is_told_without_a_line(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)
    assert problems(path, "train_config.n_epoch=7") == [
        "--set: train_config.n_epoch: unknown field; did you mean n_epochs?"
    ]
    assert problems(path, "train_config.n_epochs=x") == [
        "--set: train_config.n_epochs: found x, must be a whole number of 0 or more"
    ]
    for wrong in ("train_config.n_epochs", "=3", "train_config..n_epochs=3"):
        assert problems(path, wrong) == [f"--set {wrong}: must be field.path=value, such as train_config.n_epochs=5"]


def test_warnings_name_what_surprises_and_what_has_no_effect(tmp_path: Path) -> None:
    text = (
        GOOD.replace(" use_batch_norm: true", "")
        .replace('preprocess_mode: "torch"', "")
        .replace("momentum", "lr: 0.1 momentum")
    )
    warnings = [line.split(".cfg:")[1] for line in load(written(tmp_path, text), check=preflight.check).warnings]
    assert warnings == [
        (
            "2:1: model_config.use_batch_norm: unset means no batch normalisation, as in TAO; most networks want "
            "use_batch_norm: true"
        ),
        "3:1: train_config.preprocess_mode: unset means caffe, as in TLT before the field existed",
        "5:25: train_config.optimizer.sgd.lr: has no effect: lr_config sets the learning rate, as in TAO",
    ]


def test_files_that_are_no_spec_are_named(tmp_path: Path) -> None:
    binary, latin, large = tmp_path / "binary", tmp_path / "latin", tmp_path / "large"
    binary.write_bytes(b"PK\x03\x04\0\0")
    latin.write_bytes('arch: "\xe9"'.encode("latin-1"))
    large.write_bytes(b"#" * (MAX_BYTES + 1))
    hint = "; -e takes a spec file such as specs/classification_spec.cfg"
    expected = {
        tmp_path / "absent": f": no such file; check the path{hint}",
        tmp_path: f": is a folder, not a regular file{hint}",
        Path("/dev/null"): f": is a device, not a regular file{hint}",
        binary: ": is a binary file; a spec file is text",
        latin: f":1: byte 0xe9 is not UTF-8; save it as UTF-8{hint}",
        large: f": has more than 200,000 bytes, which is more than is read; is it the right file?{hint}",
    }
    for path, text in expected.items():
        with pytest.raises(SpecError, match=f"^{re.escape(f'{path}{text}')}$"):
            load(path)


def test_the_text_of_a_spec_loads_to_the_same_spec(tmp_path: Path) -> None:
    spec = load(written(tmp_path, GOOD), overrides=["train_config.label_smoothing=0.1"])
    assert load(written(tmp_path, spec.text())).experiment == spec.experiment


@settings(max_examples=300)
@given(pieces=st.lists(st.sampled_from([*"abc_19.-:{}<>[]\"'\\#,; \n", "train_config", "arch", "é"])))
def test_no_text_ends_in_another_error(tmp_path_factory: pytest.TempPathFactory, pieces: list[str]) -> None:
    path = written(tmp_path_factory.getbasetemp(), "".join(pieces))
    with pytest.raises(SpecError):
        load(path)


def test_a_utf16_file_of_windows_is_read(tmp_path: Path) -> None:
    path = tmp_path / "spec.cfg"
    path.write_bytes(GOOD.encode("utf-16"))
    assert load(path).experiment == load(written(tmp_path, GOOD)).experiment


HINTS = [
    (
        "n_epochs: 2",
        "n_epochs: {{ n }}",
        "7:14: expected a field name, found '{'; fill in the {{ ... }} of the template first",
    ),
    (
        '"resnet"',
        "\u201cresnet\u201d",
        (
            "2:22: can't read '\u201cresnet\u201d'; expected a field, a value or a brace; write "
            'straight quotes (") in place of curly ones'
        ),
    ),
    ("n_epochs: 2", "n_epochs = 2", "7:12: can't read '='; expected a field, a value or a brace; write name: value"),
    (
        '"3,64,64"',
        "3,64,64",
        (
            "2:52: expected a field name, found '64'; a value with commas needs quotes, such as "
            '"3,224,224", and a list brackets: [0, 1]'
        ),
    ),
    (
        '"data"',
        "/data/train",
        "4:23: can't read '/data/train'; expected a field, a value or a brace; a path needs quotes: \"/data/train\"",
    ),
    ("n_epochs: 2", "// epochs\n", "7:3: can't read '//'; expected a field, a value or a brace; comments start with #"),
    (
        "\nmodel_config",
        "%%writefile spec.cfg\nmodel_config",
        "1:1: can't read '%%writefile'; expected a field, a value or a brace; take out the notebook's % line",
    ),
    ("\nmodel_config", '{ "model_config"', "1:1: expected a field name, found '{'; a JSON file needs the suffix .json"),
]


@pytest.mark.parametrize(("good", "bad", "expected"), HINTS, ids=[bad for _, bad, _ in HINTS])
def test_a_line_that_is_not_text_format_is_told_with_its_likely_cause(
    tmp_path: Path, good: str, bad: str, expected: str
) -> None:
    assert problems(written(tmp_path, GOOD.replace(good, bad))) == [expected]


EVALUATION_ONLY = """
model_config { arch: "resnet" input_image_size: "3,64,64" }
train_config { preprocess_mode: "caffe" }
eval_config { eval_dataset_path: "data" }
"""


def test_a_file_with_only_what_evaluate_needs_is_for_evaluate(tmp_path: Path) -> None:
    path = written(tmp_path, EVALUATION_ONLY)
    assert load(path, stage="evaluate").warnings == ()
    needed = "train_dataset_path, optimizer, batch_size_per_gpu, n_epochs, lr_config"
    answer = f"this file has only what evaluate needs; to train, add {needed} (or use it with evaluate)"
    assert problems(path) == [f"3:1: train_config: {answer}"]
    assert problems(path, "train_config.n_epochs=1") == [f"3:1: train_config: {answer.replace('n_epochs, ', '')}"]
    without = written(tmp_path, EVALUATION_ONLY.replace('train_config { preprocess_mode: "caffe" }', ""))
    assert problems(without) == [f"1:1: train_config: {answer}"]


def test_conversions_are_told_as_notes_at_the_users_own_line(tmp_path: Path) -> None:
    text = GOOD.replace("use_batch_norm: true", "use_batch_norm: true\n  use_imagenet_head: True")
    spec = load(written(tmp_path, text))
    assert spec.experiment.model_config.retain_head
    place = f"{tmp_path / 'spec.cfg'}:3:3: model_config.use_imagenet_head"
    assert spec.notes == (f"{place}: use_imagenet_head -> retain_head, its name since TAO 4",)
    assert spec.warnings == ()


def test_overrides_reach_what_was_converted_and_may_be_in_old_spelling(tmp_path: Path) -> None:
    text = GOOD.replace("optimizer { sgd { momentum: 0.9 } }", 'optimizer: "sgd"')
    spec = load(
        written(tmp_path, text),
        overrides=["train_config.optimizer.sgd.momentum=0.5", "model_config.use_imagenet_head=yes"],
    )
    assert spec.experiment.train_config.optimizer.sgd.momentum == 0.5
    assert spec.experiment.model_config.retain_head
    assert [note.split(": ", 1)[0] for note in spec.notes] == ["--set", "--set", f"{tmp_path / 'spec.cfg'}:5:14"]


def test_what_only_stops_this_machine_is_a_warning_until_the_stage_runs(tmp_path: Path) -> None:
    def check(experiment: pb.Experiment, stage: str) -> list[Finding]:
        assert experiment.model_config.arch == "resnet"
        return [Finding(Level.BLOCKER, "model_config.arch", f"{stage} has no time today")]

    path = written(tmp_path, GOOD)
    place = f"{path}:2:22: model_config.arch: "
    assert load(path, check=check).warnings == (f"{place}train would stop here: train has no time today",)
    with pytest.raises(SpecError, match=f"^{re.escape(place)}train has no time today$"):
        load(path, check=check, running=True)


def test_a_check_adds_to_all_other_problems_in_the_order_of_the_file(tmp_path: Path) -> None:
    def check(_: pb.Experiment, stage: str) -> list[Finding]:
        return [Finding(Level.ERROR, "train_config.n_epochs", f"too many for {stage}")]

    text = GOOD.replace("batch_size_per_gpu: 8", "batch_size_per_gpu: 0").replace('"torch"', '"x"')
    with pytest.raises(SpecError) as caught:
        load(written(tmp_path, text), check=check)
    fields = [line.split(": ")[1] for line in str(caught.value).splitlines()]
    assert fields == ["train_config.batch_size_per_gpu", "train_config.n_epochs", "train_config.preprocess_mode"]


# The answers that INDEX.md of the shared specs, or the file itself, makes right: own models can't be read by anything
# but TAO, and a file without training sections can't train. TAO 5 itself refuses the two with use_imagenet_head.
REFUSED_BY_TRAINING = {
    "arcayi_playground_AI__byom_classification_direct_eval_spec.cfg": "model_config.arch",
    "arcayi_playground_AI__byom_classification_retrain_spec.cfg": "model_config.arch",
    "arcayi_playground_AI__byom_classification_spec.cfg": "model_config.arch",
    "NVIDIA_tao_deploy__experiment_spec.txt": "train_config",
    "NVIDIA_tao_deploy__experiment_spec__37a3486.txt": "train_config",
}
CONVERTED = {
    "NVIDIA-AI-IOT_tao_toolkit_recipes__classification_cspdarknet53.txt": ["model_config.use_imagenet_head"],
    "NVIDIA-AI-IOT_tao_toolkit_recipes__mobilenetv2_imagenet2012.txt": ["model_config.use_imagenet_head"],
}
REAL_SPECS = sorted(ROOT.parent.joinpath("shared", "specs").glob("*.[ct][fx][gt]"))


@pytest.mark.parametrize("path", REAL_SPECS, ids=[path.name for path in REAL_SPECS])
def test_a_real_spec_is_accepted_where_it_has_a_meaning(path: Path) -> None:
    for stage in ("train", "evaluate", "prune", "export"):
        report = examine(read(path), path, stage=stage, check=preflight.check)
        refused = {REFUSED_BY_TRAINING[path.name]} if stage == "train" and path.name in REFUSED_BY_TRAINING else set()
        assert {problem.path for problem in report.problems} == refused
        assert [note.path for note in report.notes] == CONVERTED.get(path.name, [])


def test_float_fields_hold_the_nearest_32_bit_number(tmp_path: Path) -> None:
    rate = load(written(tmp_path, GOOD)).experiment.train_config.lr_config.cosine.learning_rate
    assert rate == struct.unpack("f", struct.pack("f", 0.1))[0]
    assert math.isclose(rate, 0.1, rel_tol=1e-7)


@pytest.mark.parametrize("end", ["\r", "\r\n", "\x85", "\u2028", "\u2029", "\f", "\x1c"])
def test_an_error_in_yaml_is_told_whatever_ends_its_lines(tmp_path: Path, end: str) -> None:
    """FIELD.md B6."""
    path = tmp_path / "a.yaml"
    path.write_text(f"train_config:{end}  n_epochs: 2{end}  n_workers: [", encoding="utf-8", newline="")
    with pytest.raises(SpecError, match=rf"^{re.escape(str(path))}:\d+:\d+: "):
        load(path)


def test_a_picture_that_is_no_square_cannot_be_turned_by_a_quarter() -> None:
    wide = GOOD.replace("3,64,64", "3,64,96").replace('"torch"', '"torch" random_rotate { %s }')
    (problem,) = examine(wide % "", Path("a.cfg"), stage="train").problems
    assert "turns by 90 and 270 need a square input" in problem.text
    assert not examine(wide % "angle_list: 180", Path("a.cfg"), stage="train").problems
