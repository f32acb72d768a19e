"""JSON and YAML: the same tree as text format gives, every place right, and nothing that harms."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tao_lite.errors import SpecError
from tao_lite.spec import bind
from tao_lite.spec.load import examine, load
from tao_lite.spec.text import forms, json_form, nodes, yaml_form
from tao_lite.spec.text.syntax import TextFormatError

TEXT = """
model_config { arch: "resnet" input_image_size: "3,64,64" use_batch_norm: true freeze_blocks: [0, 1] }
dataset_config {
  format: KITTI
  kitti { class_mapping { key: "Van" value: "Car" } class_mapping { key: "no" value: "yes" } }
}
train_config {
  train_dataset_path: "data"
  optimizer { sgd { momentum: 0.9 } }
  batch_size_per_gpu: 8
  n_epochs: 2
  preprocess_mode: "caffe"
  pretrained_model_path: "torchvision://IMAGENET1K_V1"
  lr_config { soft_anneal { learning_rate: 1e-2 annealing_divider: 10 annealing_points: 0.3 annealing_points: 0.6 } }
  image_mean { key: "r" value: 1 }
  image_mean { key: "g" value: 2 }
  image_mean { key: "b" value: 3 }
  precision: FP32
}
"""
YAML = """\
# Plain words are strings only where the schema says so.
model_config: {arch: resnet, input_image_size: "3,64,64", use_batch_norm: true, freeze_blocks: [0, 1]}
dataset_config:
  format: KITTI
  classmap_path:
  kitti:
    class_mapping: {Van: Car, no: yes}
train_config:
  train_dataset_path: data
  val_dataset_path: ~
  optimizer: {sgd: {momentum: .9}}
  batch_size_per_gpu: 8
  n_epochs: 2
  preprocess_mode: 'caffe'
  pretrained_model_path: torchvision://IMAGENET1K_V1
  lr_config:
    soft_anneal:
      learning_rate: 1e-2
      annealing_divider: 10
      annealing_points:
        - 0.3
        - 0.6
  image_mean:
    r: 1
    g: 2
    b: 3
  precision: FP32
"""
JSON = {
    "model_config": {
        "arch": "resnet",
        "input_image_size": "3,64,64",
        "use_batch_norm": True,
        "freeze_blocks": [0, 1],
    },
    "dataset_config": {"format": "KITTI", "kitti": {"class_mapping": {"Van": "Car", "no": "yes"}}},
    "train_config": {
        "train_dataset_path": "data",
        "val_dataset_path": None,
        "optimizer": {"sgd": {"momentum": 0.9}},
        "batch_size_per_gpu": 8,
        "n_epochs": 2,
        "preprocess_mode": "caffe",
        "pretrained_model_path": "torchvision://IMAGENET1K_V1",
        "lr_config": {
            "soft_anneal": {"learning_rate": 0.01, "annealing_divider": 10, "annealing_points": [0.3, 0.6]},
        },
        "image_mean": {"r": 1, "g": 2, "b": 3},
        "precision": "FP32",
    },
}


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def problem(name: str, text: str) -> str:
    """`line:column: text` of the one problem that stops the reader."""
    with pytest.raises(TextFormatError) as caught:
        forms.document(text, Path(name))
    found = caught.value
    return f"{found.place.line}:{found.place.column}: {found.text}"


def test_the_three_forms_of_a_spec_are_the_same_spec(tmp_path: Path) -> None:
    expected = load(written(tmp_path, "spec.cfg", TEXT)).experiment
    tabbed = json.dumps(JSON, indent="\t")
    for name, text in (
        ("a.yaml", YAML),
        ("a.yml", YAML),
        ("a.YAML", YAML.replace("\n", "\r\n")),
        ("a.json", json.dumps(JSON)),
        ("b.json", tabbed),
        ("c.yaml", tabbed.replace("\t", " ")),
    ):
        assert load(written(tmp_path, name, text)).experiment == expected, name


def test_problems_of_json_and_yaml_have_their_places(tmp_path: Path) -> None:
    path = written(tmp_path, "a.yaml", YAML.replace("n_epochs: 2", "n_epoch: 2").replace(": 8", ": many"))
    with pytest.raises(SpecError) as caught:
        load(path)
    assert str(caught.value).replace(f"{path}:", "").splitlines() == [
        "12:23: train_config.batch_size_per_gpu: found many, must be a whole number of 0 or more",
        "13:3: train_config.n_epoch: unknown field; did you mean n_epochs?",
    ]
    path = written(tmp_path, "a.json", json.dumps(JSON, indent=1).replace('"n_epochs": 2', '"n_epochs": "é"'))
    with pytest.raises(SpecError, match=r'a\.json:29:15: train_config\.n_epochs: found "é", must be a whole number'):
        load(path)


@pytest.mark.parametrize("value", ["0b1", "0o7", "1_000"])
def test_numbers_of_python_are_none_in_a_spec(value: str) -> None:
    """In text format they can't even be written, so that upgrading would give another spec."""
    text = f"train_config:\n  n_epochs: {value}\n  mixup_alpha: {value}\n"
    problems = [problem.text for problem in examine(text, Path("a.yaml"), stage=None).problems]
    assert sum(problem.startswith(f"found {value}, must be a") for problem in problems) == 2


def test_old_spellings_are_converted_in_every_form(tmp_path: Path) -> None:
    path = written(tmp_path, "a.yaml", YAML.replace("optimizer: {sgd: {momentum: .9}}", "optimizer: sgd"))
    spec = load(path)
    assert spec.experiment.train_config.optimizer.WhichOneof("optim") == "sgd"
    assert spec.notes[0].startswith(f"{path}:11:14: train_config.optimizer: ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3", "3:1: a is given a second time; the first is on line 1"),
        ("dataset_config: {kitti: {class_mapping: {x: 1, x: 2}}}", "1:48: x is given a second time; the first is on"),
        ("a: &x 1\nb: *x", "2:4: *x is an alias; write the value out"),
        ("a: !!python/object:os.system {}", "1:4: tag:yaml.org,2002:python/object:os.system is a tag; write the"),
        ("a: 1\n---\nb: 1", "2:1: a second document starts here; a spec is one"),
        ("- a", "1:1: must be values or blocks by name, with a colon after each name"),
        ("a: [[1]]", "1:5: a: a list holds values or blocks, not lists or null"),
        ("a: [~]", "1:5: a: a list holds values or blocks, not lists or null"),
        ("? [a]\n: 1", "1:3: a name must be a single word"),
        ("a: {b: 1", "1:9: can't be read as YAML: expected ',' or '}', but got '<stream end>'"),
        ("a:\n\t1", "2:1: can't be read as YAML: found character '\\t' that cannot start any token"),
        ('a: "\\ud800"', "1:4: the string holds half of a surrogate pair, which is no character"),
        ('a: "\\U00110000"', "1:7: can't be read as YAML: no such character"),
        ("a: \x07", "1:4: YAML can't hold this character"),
        ("a: " * 40, "1:5: can't be read as YAML: mapping values are not allowed here"),
        ("{a: " * 40, "1:133: blocks are nested more than 32 deep"),
    ],
)
def test_yaml_that_is_no_spec_is_told_with_its_place(text: str, expected: str) -> None:
    assert problem("a.yaml", text).startswith(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "1:1: expected a value, found the end of the file"),
        ("[]", "1:1: must be an object, { ... }, with blocks such as model_config"),
        ("{} {}", "1:4: expected the end of the file, found '{'"),
        ("{a: 1}", "1:2: expected a name in double quotes, found 'a'"),
        ('{"a" 1}', "1:6: expected ':', found '1'"),
        ('{"a": 1 "b": 2}', "1:9: expected ',' or '}', found '\"b\"'"),
        ('{"a": [1, 2}', "1:12: expected ',' or ']', found '}'"),
        ('{"a": NaN}', "1:7: expected a value, found 'NaN'"),
        ("{'a': 1}", "1:2: 'a' is not a string of JSON"),
        ('{"a": "\\q"}', '1:7: "\\q" is not a string of JSON'),
        ('{"a": "\\ud800"}', "1:7: the string holds half of a surrogate pair, which is no character"),
        ('{"a": 1,\n "a": 2}', "2:2: a is given a second time; the first is on line 1"),
        ('{"a":' * 40, "1:166: blocks are nested more than 32 deep"),
        ("[" * 40, "1:34: blocks are nested more than 32 deep"),
    ],
)
def test_json_that_is_no_spec_is_told_with_its_place(text: str, expected: str) -> None:
    assert problem("a.json", text) == expected


def test_an_empty_yaml_file_is_an_empty_spec() -> None:
    for text in ("", "# nothing\n", "---\n", "~"):
        assert forms.document(text, Path("a.yaml")).fields == []


def test_long_yaml_is_refused_before_it_is_read() -> None:
    start = time.perf_counter()
    assert problem("a.yaml", "a: &a [*a]\n" * 100_000).startswith("1:1: the file has 1,100,000 characters; at most")
    assert time.perf_counter() - start < 0.5


PIECES = st.sampled_from(
    (
        *"{}[],:-?&*!|>'\"%@`#~ \n\t\0é",
        *("model_config", "arch", "train_config", "image_mean", "key", "value", "1", "no", "null", "<<", "\n  "),
        *("--- ", "...\n", "!!str ", "\\U00110000", "\\ud800", "%YAML 1.1\n", "%TAG ! x"),
    )
)


@settings(max_examples=400)
@given(text=st.lists(PIECES, max_size=25).map("".join))
def test_no_json_or_yaml_ends_in_another_error(text: str) -> None:
    for form in (json_form, yaml_form):
        try:
            fields = nodes.fields(form.parse(text))
        except TextFormatError:
            continue
        bind.bind(fields)
