"""Paths in a spec: what is expanded, what stands in for a file of TAO's, and what each stage says of the rest."""

from pathlib import Path

import pytest

from tao_lite.errors import SpecError
from tao_lite.spec.load import Examined, examine, load_text

PRETRAINED = "train_config.pretrained_model_path"
MODEL = "eval_config.model_path"


def spec(**paths: str) -> str:
    """A spec with these paths, by the name of their field."""
    train = {"train_dataset_path": "data", **paths}
    evaluation = {
        "eval_dataset_path": train.pop("eval_dataset_path", "data"),
        "model_path": train.pop("model_path", ""),
    }
    blocks = (" ".join(f'{name}: "{value}"' for name, value in block.items() if value) for block in (train, evaluation))
    return """
model_config {{ arch: "resnet" input_image_size: "3,64,64" use_batch_norm: true }}
train_config {{
  {}
  optimizer {{ sgd {{ }} }} batch_size_per_gpu: 8 n_epochs: 2 preprocess_mode: "torch"
  lr_config {{ cosine {{ learning_rate: 0.1 }} }}
}}
eval_config {{
  {}
}}
""".format(*blocks)


def report(stage: str = "train", **paths: str) -> Examined:
    return examine(spec(**paths), Path("a.cfg"), stage=stage)


def pretrained(found: Examined) -> str:
    return found.experiment.train_config.pretrained_model_path


def test_home_and_variables_are_expanded_with_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DATA_ROOT", "/data")
    found = report(
        train_dataset_path="~/train", val_dataset_path="$DATA_ROOT/val", eval_dataset_path="/mnt/${DATA_ROOT}/a$$b"
    )
    train, evaluation = found.experiment.train_config, found.experiment.eval_config
    assert (train.train_dataset_path, train.val_dataset_path) == (f"{tmp_path}/train", "/data/val")
    assert evaluation.eval_dataset_path == "/mnt//data/a$b"
    assert found.lines(found.notes) == (
        f'a.cfg:4:23: train_config.train_dataset_path: "~/train" -> "{tmp_path}/train"',
        'a.cfg:4:51: train_config.val_dataset_path: "$DATA_ROOT/val" -> "/data/val"',
        'a.cfg:9:22: eval_config.eval_dataset_path: "/mnt/${DATA_ROOT}/a$$b" -> "/mnt//data/a$b"',
    )


def test_text_of_a_spec_has_its_paths_as_written_and_means_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FIELD.md C3; a doubled dollar sign stays doubled, too, and a path that a stage changes is the stage's."""
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    paths = {
        "train_dataset_path": "~/train",
        "val_dataset_path": "$DATA_ROOT/val",
        "pretrained_model_path": "/a$$b.pth",
    }
    loaded = load_text(spec(**paths), Path("a.cfg"), stage="train")
    for name, text in paths.items():
        assert f'{name}: "{text}"' in loaded.text()
    assert load_text(loaded.text(), Path("a.cfg"), stage="train").experiment == loaded.experiment
    loaded.experiment.train_config.val_dataset_path = "/other"
    assert 'val_dataset_path: "/other"' in loaded.text()


def test_weights_that_are_left_out_are_left_out_of_the_text() -> None:
    loaded = load_text(spec(pretrained_model_path="~/a.tlt"), Path("a.cfg"))
    assert "a.tlt" not in loaded.text()


@pytest.mark.parametrize("value", [None, ""])
def test_an_unset_variable_is_an_error_of_the_stages_that_read_the_path(
    monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv("NO_SUCH", raising=False)
    if value is not None:
        monkeypatch.setenv("NO_SUCH", value)
    found = report(pretrained_model_path="$NO_SUCH/${NO_SUCH}")
    assert found.lines(found.problems) == (
        (
            'a.cfg:4:53: train_config.pretrained_model_path: found "$NO_SUCH/${NO_SUCH}", but the environment variable '
            "NO_SUCH is not set; export NO_SUCH=..., or write $$ where a dollar sign is meant"
        ),
    )
    assert report("evaluate", pretrained_model_path="$NO_SUCH/x").problems == []
    assert report("train", model_path="$NO_SUCH/x").problems == []
    both = report(train_dataset_path="$NO_SUCH/$NOR_THIS").problems
    assert [one.text for one in both if "the environment variables NO_SUCH, NOR_THIS are not set" in one.text]


def test_a_notebooks_placeholder_is_a_variable_a_folder_or_a_blocker(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TAO_DATA_PATH", raising=False)
    found = report(train_dataset_path="TAO_DATA_PATH/train")
    assert found.problems == []
    assert found.lines(found.blockers) == (
        (
            "a.cfg:4:23: train_config.train_dataset_path: TAO_DATA_PATH looks like a notebook's placeholder, and there "
            "is no folder or environment variable of that name; export TAO_DATA_PATH=..., or write the path itself"
        ),
    )
    monkeypatch.setenv("TAO_DATA_PATH", "/data")
    found = report(train_dataset_path="TAO_DATA_PATH/train")
    assert found.experiment.train_config.train_dataset_path == "/data/train"
    assert [note.text for note in found.notes] == ['"TAO_DATA_PATH/train" -> "/data/train"']
    (tmp_path / "TAO_DATA_PATH").mkdir()
    found = report(train_dataset_path="TAO_DATA_PATH/train")
    assert found.experiment.train_config.train_dataset_path == "TAO_DATA_PATH/train"
    assert found.blockers == []


@pytest.mark.parametrize("path", ["{{ data }}/train", "<your data>", "/data/{% x %}"])
def test_a_template_that_was_never_filled_in_is_a_blocker(path: str) -> None:
    (blocker,) = report(train_dataset_path=path).blockers
    assert blocker.text.startswith("holds the placeholder ")
    assert blocker.text.endswith("; write the path itself")


def test_folders_in_capitals_are_no_placeholders() -> None:
    for path in ("DATA/train", "VOC2012/train", "/data/MY_DATA/train", "MY_DATA.v2/train", "data"):
        assert report(train_dataset_path=path).blockers == []


def test_a_backslash_that_became_a_tab_is_an_error() -> None:
    (problem,) = report(train_dataset_path="C:\\train").problems
    assert problem.text == (
        "found 'C:\\train', which holds a control character: in a string a backslash starts an escape; "
        "write / between folders, or two backslashes"
    )


@pytest.mark.parametrize("suffix", [".tlt", ".hdf5", ".etlt", ".HDF5", ".onnx"])
@pytest.mark.parametrize("ours", [".pth", ".safetensors"])
def test_our_file_of_the_same_stem_stands_in_for_one_of_taos(tmp_path: Path, suffix: str, ours: str) -> None:
    (tmp_path / f"resnet_080{ours}").touch()
    old, new = tmp_path / f"resnet_080{suffix}", tmp_path / f"resnet_080{ours}"
    found = report(pretrained_model_path=str(old))
    assert pretrained(found) == str(new)
    assert found.blockers == []
    assert [(note.path, note.text) for note in found.notes] == [(PRETRAINED, f'"{old}" -> "{new}"')]
    found = report("evaluate", model_path=str(old))
    assert found.experiment.eval_config.model_path == str(new)


def test_a_deployed_network_is_evaluated_itself_whatever_lies_beside_it(tmp_path: Path) -> None:
    for name in ("a.onnx", "a.pth"):
        (tmp_path / name).touch()
    assert report("evaluate", model_path=f"{tmp_path}/a.onnx").experiment.eval_config.model_path == f"{tmp_path}/a.onnx"
    (warning,) = report("evaluate", model_path=f"{tmp_path}/b.onnx").warnings
    assert 'b.onnx" is not there, and there is no b.pth' in warning.text


def test_pth_stands_in_before_safetensors(tmp_path: Path) -> None:
    for suffix in (".pth", ".safetensors"):
        (tmp_path / f"a{suffix}").touch()
    assert pretrained(report(pretrained_model_path=f"{tmp_path}/a.tlt")) == f"{tmp_path}/a.pth"


def test_weights_that_only_tao_reads_are_left_out_of_the_stage_that_needs_them() -> None:
    paths = {"pretrained_model_path": "/w/resnet_18.hdf5", "model_path": "/w/resnet_080.tlt"}
    training, evaluation = report(**paths), report("evaluate", **paths)
    assert training.lines(training.warnings) == (
        (
            "a.cfg:4:53: train_config.pretrained_model_path: training starts from random weights instead: "
            '"/w/resnet_18.hdf5" is not there, and there is no resnet_18.pth or resnet_18.safetensors beside it; '
            'give "torchvision://IMAGENET1K_V1" or a .pth, .safetensors or .hdf5 file, or nothing for random weights'
        ),
    )
    assert not training.experiment.train_config.HasField("pretrained_model_path")
    assert training.experiment.eval_config.model_path == "/w/resnet_080.tlt"
    assert evaluation.lines(evaluation.warnings) == (
        (
            "a.cfg:9:41: eval_config.model_path: the best checkpoint of the results folder is taken instead: "
            '"/w/resnet_080.tlt" is encrypted by NVIDIA, so that only TAO can read it, and there is no '
            "resnet_080.pth or resnet_080.safetensors beside it; give a checkpoint of tao_lite with -m"
        ),
    )
    assert not evaluation.experiment.eval_config.HasField("model_path")
    assert report("prune", **paths).warnings == []
    for found in (training, evaluation):
        assert found.problems == found.blockers == []


def test_weights_that_a_user_names_on_the_command_line_are_never_left_out() -> None:
    overrides = [f"{PRETRAINED}=/w/a.tlt"]
    (warning,) = load_text(spec(), Path("a.cfg"), overrides=overrides).warnings
    assert warning.startswith(f'--set: {PRETRAINED}: train would stop here: "/w/a.tlt" is encrypted by NVIDIA')
    with pytest.raises(SpecError, match=f'^--set: {PRETRAINED}: "/w/a.tlt" is encrypted by NVIDIA'):
        load_text(spec(), Path("a.cfg"), overrides=overrides, running=True)


def test_keras_weights_that_exist_are_left_to_the_training_and_to_no_other_stage(tmp_path: Path) -> None:
    path = tmp_path / "resnet_18.hdf5"
    path.touch()
    found = report(pretrained_model_path=str(path))
    assert pretrained(found) == str(path)
    assert found.blockers == found.warnings == found.notes == []
    (warning,) = report("evaluate", model_path=str(path)).warnings
    assert f'"{path}" holds Keras weights, which only a training can start from, and there is no' in warning.text
    (tmp_path / "resnet_18.pth").touch()
    assert pretrained(report(pretrained_model_path=str(path))) == f"{tmp_path}/resnet_18.pth"


def test_keras_weights_that_a_user_names_and_that_are_not_there_are_an_error() -> None:
    overrides = [f"{PRETRAINED}=/w/a.hdf5"]
    with pytest.raises(SpecError, match=f'^--set: {PRETRAINED}: "/w/a.hdf5" is not there, and there is no a.pth'):
        load_text(spec(), Path("a.cfg"), overrides=overrides, running=True)


@pytest.mark.parametrize(
    "path", ["torchvision://IMAGENET1K_V1", "timm://a1_in1k", "/nowhere/a.pth", "results/x/weights/pruned.pth"]
)
def test_weights_in_our_forms_are_left_to_the_stage(path: str) -> None:
    found = report(pretrained_model_path=path)
    assert pretrained(found) == path
    assert found.blockers == found.notes == []


def test_missing_folders_are_no_business_of_a_check() -> None:
    found = report(train_dataset_path="/nowhere/train", val_dataset_path="/nowhere/val")
    assert found.problems == found.blockers == found.warnings == []


def test_prune_writes_our_suffix_where_a_script_for_tao_names_its_own() -> None:
    text = spec() + 'prune_config { output_path: "/w/resnet_pruned.tlt" }'
    found = examine(text, Path("a.cfg"), stage="prune")
    assert found.experiment.prune_config.output_path == "/w/resnet_pruned.pth"
    assert [note.text for note in found.notes] == ['"/w/resnet_pruned.tlt" -> "/w/resnet_pruned.pth"']
    assert found.blockers == []


def test_blanks_around_a_path_are_no_part_of_it() -> None:
    found = report(train_dataset_path=" data/train ")
    assert found.experiment.train_config.train_dataset_path == "data/train"
    assert [note.text for note in found.notes] == ['" data/train " -> "data/train"']


def test_weights_that_stand_in_the_file_and_can_not_be_read_are_no_weights_that_are_not_set() -> None:
    """FIELD.md D1."""
    text = spec(pretrained_model_path="/w/a.hdf5").replace(
        "use_batch_norm", "freeze_blocks: 0 freeze_bn: true use_batch_norm"
    )
    said = {one.path: one.text for one in examine(text, Path("a.cfg"), stage="train").warnings}
    words = "freezes random weights: what train_config.pretrained_model_path names can't be read"
    assert said["model_config.freeze_blocks"] == said["model_config.freeze_bn"] == words
    assert said[PRETRAINED].startswith("training starts from random weights instead: ")
    without = examine(text.replace('pretrained_model_path: "/w/a.hdf5"', ""), Path("a.cfg"), stage="train").warnings
    assert [one.text for one in without] == [
        "freezes random weights: train_config.pretrained_model_path is not set"
    ] * 2


@pytest.mark.parametrize(
    "path",
    [
        "/path/to/your/pretrained/model",
        "/path/to/dataset/train",
        "path/to/train",
        "/PATH/TO/images",
        "/data/path_to_images",
        "~/path-to/train",
        "/srv/you/your_dataset/train",
        "/your/train",
        "YOUR-DATA/train",
        "/data/.../train",
        "???",
        "/data/xxx/train",
        "/some/path/train",
        "{data_dir}/train",
        "[your data]/train",
        "%USERPROFILE%/train",
    ],
)
def test_a_path_of_a_page_for_everyone_is_a_blocker(path: str) -> None:
    """FIELD.md D2."""
    for name in ("train_dataset_path", "pretrained_model_path"):
        (blocker,) = report(**{name: path}).blockers
        assert (blocker.path, blocker.place.line) == (f"train_config.{name}", 4)
        assert blocker.text.endswith("; write the path itself")
        assert report("inference", **{name: path}).blockers == []


@pytest.mark.parametrize(
    "path", ["/data/paths/to_do", "/data/yours/train", "/data/tour/x", "/a..b/xx/train", "timm://your", "/data[1]/a{2}"]
)
def test_a_path_that_only_resembles_one_of_a_page_is_left_alone(path: str) -> None:
    assert report(pretrained_model_path=path).blockers == []


def test_a_path_like_that_of_a_page_which_exists_is_meant(tmp_path: Path) -> None:
    (tmp_path / "path" / "to").mkdir(parents=True)
    assert report(train_dataset_path=f"{tmp_path}/path/to").blockers == []


def test_what_is_kept_has_each_path_as_it_was_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """FIELD.md C3."""
    (tmp_path / "a.pth").touch()
    monkeypatch.setenv("IMAGES", "/secret/data")
    monkeypatch.setenv("TAO_DATA_PATH", "/secret/tao")
    monkeypatch.setenv("HOME", "/secret/home")
    written = {
        "train_dataset_path": "${IMAGES}/train",
        "val_dataset_path": "TAO_DATA_PATH/val",
        "eval_dataset_path": "~/a$$b",
        "pretrained_model_path": f"{tmp_path}/a.tlt",
    }
    found = load_text(spec(**written), Path("a.cfg"))
    assert found.experiment.train_config.train_dataset_path == "/secret/data/train"
    assert "secret" not in found.text()
    kept = found.written
    assert [kept.train_config.train_dataset_path, kept.train_config.val_dataset_path] == list(written.values())[:2]
    assert kept.eval_config.eval_dataset_path == "~/a$$b"
    assert load_text(found.text(), Path("b.cfg")).experiment == found.experiment
    monkeypatch.setenv("IMAGES", "/elsewhere")
    assert load_text(found.text(), Path("b.cfg")).experiment.train_config.train_dataset_path == "/elsewhere/train"


def test_a_path_that_became_another_one_is_kept_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """FIELD.md C3."""
    monkeypatch.setenv("IMAGES", "/data")
    found = load_text(spec(train_dataset_path="$IMAGES/train"), Path("a.cfg"))
    found.experiment.train_config.train_dataset_path = "/price in $/train"
    assert load_text(found.text(), Path("b.cfg")).experiment == found.experiment


def test_evaluation_of_images_of_its_own_needs_no_variable_of_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """FIELD.md C3: a checkpoint is evaluated on a machine where its training's variables are not set."""
    monkeypatch.delenv("NO_SUCH", raising=False)
    text = spec(train_dataset_path="$NO_SUCH/train", val_dataset_path="$NO_SUCH/val")
    assert examine(text, Path("a.cfg"), stage="evaluate").problems == []
    no_images = text.replace('eval_dataset_path: "data"', "")
    assert len(examine(no_images, Path("a.cfg"), stage="evaluate").problems) == 2
