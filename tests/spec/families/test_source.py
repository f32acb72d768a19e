"""Interpolations, open values, lists and overrides, as OmegaConf and Hydra have them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tao_lite.errors import SpecError
from tao_lite.spec.findings import Level
from tests.spec.families.yamls import PYT, TF2, errors, experiment, lines, read


def test_an_interpolation_is_filled_in_wherever_it_stands() -> None:
    train = experiment(TF2).train_config
    assert train.val_dataset_path == "/data/birds/train/../val"


def test_an_interpolation_may_stand_for_a_list_an_item_or_a_neighbour() -> None:
    text = TF2.replace("[0.5, 0.75]", "${gen_trt_engine.points}").replace(
        "input_height: 64", "input_height: ${.input_width}"
    )
    found = experiment(text + "gen_trt_engine: {points: [0.25, '${gen_trt_engine.points[0]}5']}\n")
    assert list(found.train_config.lr_config.soft_anneal.annealing_points) == pytest.approx([0.25, 0.255])
    assert found.model_config.input_image_size == "3,96,96"


def test_a_name_that_is_not_at_the_top_is_looked_up_in_the_blocks_around() -> None:
    assert (
        experiment(PYT.replace("${dataset.root_dir}/val", "${root_dir}/val")).train_config.val_dataset_path
        == "/data/leaves/val"
    )


def test_a_variable_of_the_environment_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIRDS", "/mnt/birds")
    assert (
        experiment(TF2.replace("/data/birds/train\n", "${oc.env:BIRDS}/train\n", 1)).train_config.train_dataset_path
        == "/mnt/birds/train"
    )


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "${dataset.train_dataset_path}",
            "${data.path}",
            (
                "5:21: dataset.val_dataset_path: classification_tf2: can't fill in ${data.path}: the file has no value "
                "data.path; write the value out, or ${oc.env:NAME} for a variable"
            ),
        ),
        (
            "${dataset.train_dataset_path}",
            "${oc.decode:x}",
            ("5:21: dataset.val_dataset_path: classification_tf2: can't fill in ${oc.decode:x}: only ${oc.env"),
        ),
        (
            "${dataset.train_dataset_path}",
            "${dataset.val_dataset_path}",
            (
                "5:21: dataset.val_dataset_path: classification_tf2: dataset.val_dataset_path -> "
                "dataset.val_dataset_path is a circle; write one of them out"
            ),
        ),
        (
            "num_epochs: 30",
            "num_epochs: ???",
            (
                "17:15: train.num_epochs: classification_tf2: is still to be given (???); write it into the file, "
                "or give train.num_epochs=VALUE"
            ),
        ),
        (
            "num_epochs: 30",
            "num_epochs: 30\n  num_epochs: 31",
            "18:3: train.num_epochs: classification_tf2: is given a second time; the first is on line 17",
        ),
        (
            "num_epochs: 30",
            "num_epochs: 30\n  n_epochs: 31",
            "18:3: train.n_epochs: classification_tf2: set a second time; train.num_epochs on line 17 is the same",
        ),
        (
            "num_epochs: 30",
            "num_epoch: 30",
            "17:3: train.num_epoch: classification_tf2: unknown field; did you mean train.num_epochs?",
        ),
        (
            "num_epochs: 30",
            "num_epochs: many",
            (
                "17:15: train_config.n_epochs: classification_tf2's train.num_epochs: found many, must be a whole "
                "number of 0 or more"
            ),
        ),
        (
            "num_epochs: 30",
            "num_epochs: [3]",
            "17:15: train.num_epochs: classification_tf2: found a list, must be a single value",
        ),
        (
            "optimizer: adam",
            "optimizer: lion",
            "18:29: train.optim_config.optimizer: classification_tf2: found lion, must be one of sgd, adam, rmsprop",
        ),
        (
            "scheduler: soft_anneal",
            "scheduler: poly",
            "20:16: train.lr_config.scheduler: classification_tf2: found poly, must be one of cosine",
        ),
    ],
)
def test_what_is_wrong_is_told_at_its_place_with_the_familys_name(old: str, new: str, expected: str) -> None:
    assert old in TF2
    told = errors(TF2.replace(old, new, 1))
    assert [line for line in told if line.startswith(expected)], told
    assert all("classification_tf2" in line for line in told)


def test_a_missing_field_is_told_by_their_name() -> None:
    text = TF2.replace("  train_dataset_path: /data/birds/train\n", "").replace("${dataset.train_dataset_path}", "x")
    (told,) = errors(text, stage="train")
    assert "train_config.train_dataset_path: classification_tf2's dataset.train_dataset_path: is missing; add" in told


def test_an_open_path_matters_only_to_the_stage_that_reads_it() -> None:
    for stage, is_told in (("train", False), ("evaluate", True)):
        found = read(PYT, stage=stage)
        assert any("???/train/best.pth" in line for line in lines(found, Level.BLOCKER)) == is_told, stage
    closed = read(PYT, "results_dir=/out", stage="evaluate")
    assert not any("???" in line for line in lines(closed, Level.BLOCKER))


def test_overrides_are_in_their_words_or_ours() -> None:
    found = experiment(
        TF2, "train.num_epochs=5", "+train.n_workers=2", "train.lr_config.annealing_points=[0.1,0.9]",
        "dataset.train_dataset_path=/other", "model_config.dropout=0.5", "train.optim_config.beta_1='0.7'",
        "train.lr_config.annealing_points[1]=0.8", "evaluate.checkpoint=null",
    )  # fmt: skip
    assert (found.train_config.n_epochs, found.train_config.n_workers) == (5, 2)
    assert found.train_config.val_dataset_path == "/other/../val"
    assert found.model_config.dropout == 0.5
    assert found.train_config.optimizer.adam.beta_1 == pytest.approx(0.7)
    assert list(found.train_config.lr_config.soft_anneal.annealing_points) == pytest.approx([0.1, 0.8])
    assert not found.eval_config.HasField("model_path")


def test_what_an_override_has_wrong_is_told_of_the_command_line() -> None:
    assert "--set: train.num_epoch: classification_tf2: unknown field; did you mean train.num_epochs?" in errors(
        TF2, "train.num_epoch=5"
    )
    with pytest.raises(SpecError, match=r"--set train.num_epochs: must be field.path=value"):
        read(TF2, "train.num_epochs")


KEYS = ("train.num_epochs", "dataset", "train.lr_config", "model.backbone", "prune.threshold", "x.y[0].z")
VALUES = ("", "null", "???", "${x}", "${train.num_epochs}", "{a: 1}", "[1, [2]]", "-1", "'")


@settings(max_examples=150)
@given(key=st.sampled_from(KEYS), value=st.one_of(st.sampled_from(VALUES), st.text(max_size=12)))
def test_no_override_ends_in_another_error(key: str, value: str) -> None:
    read(TF2, f"{key}={value}", stage="train")
