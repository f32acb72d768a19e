"""A recipe says what the spec leaves out, and nothing else."""

from pathlib import Path

import pytest

from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec import for_tao, resolved
from tao_lite.spec.findings import Level
from tao_lite.spec.load import Examined, examine
from tests.spec import tao_schema

NAMES = [name for name in pb.Recipe.Name.keys() if name != "NONE"]  # noqa: SIM118 - not a dict
SPEC = """model_config { arch: "resnet" n_layers: 18 use_batch_norm: true input_image_size: "3,64,64" %s }
train_config { train_dataset_path: "data" pretrained_model_path: "x.pth" preprocess_mode: "torch" %s }
"""


def examined(train: str, model: str = "", *overrides: str) -> Examined:
    found = examine(SPEC % (model, train), Path("a.cfg"), stage="train", overrides=overrides)
    assert not found.problems, found.problems
    return found


@pytest.mark.parametrize("name", NAMES)
def test_it_is_all_that_training_asks_for_and_nothing_of_it_surprises(name: str) -> None:
    found = examined(f"recipe: {name}")
    assert not found.warnings
    assert found.by_recipe <= found.places.keys()
    written = examine(resolved.text(found.experiment, "train", str), Path("b.cfg"), stage="train")
    assert resolved.differences(found.experiment, written.experiment) == []


def test_a_field_of_the_spec_keeps_its_value_and_excludes_what_it_excluded() -> None:
    found = examined(
        "recipe: FINE_TUNE n_epochs: 9 optimizer { adam { } } lr_config { cosine { learning_rate: 0.002 } }"
        " reg_config { weight_decay: 0 }"
    )
    train = found.experiment.train_config
    assert (train.n_epochs, train.unfreeze_at_epoch) == (9, 5)
    assert train.optimizer.WhichOneof("optim") == "adam"
    assert train.reg_config == pb.RegConfig(type="L2", scope="Conv2D,Dense", weight_decay=0)
    assert train.lr_config.cosine.learning_rate == pytest.approx(0.002)
    assert "train_config.n_epochs" not in found.by_recipe
    assert {"train_config.reg_config.type", "train_config.unfreeze_at_epoch"} <= found.by_recipe


def test_what_it_gives_a_network_without_effect_is_not_said_but_that_it_lacks_weights_is() -> None:
    spec = SPEC.replace("use_batch_norm: true", "use_batch_norm: false") % ("", "recipe: FINE_TUNE")
    with_weights = examine(spec, Path("a.cfg"), stage="train")
    assert with_weights.experiment.model_config.freeze_bn
    assert not with_weights.warnings
    without = examine(spec.replace('pretrained_model_path: "x.pth"', ""), Path("a.cfg"), stage="train")
    assert [one.path for one in without.warnings] == ["train_config.recipe"]


@pytest.mark.parametrize("frozen", ["freeze_blocks: 0 freeze_blocks: 1", "trained_blocks: 2"])
def test_blocks_that_the_spec_freezes_stay_as_they_are_without_a_probe(frozen: str) -> None:
    train = examined("recipe: FINE_TUNE", frozen).experiment.train_config
    assert (train.linear_probe, train.unfreeze_at_epoch) == (False, 0)
    assert train.layer_decay == pytest.approx(0.8)


def test_what_the_command_line_says_counts_as_the_spec() -> None:
    found = examined("recipe: TAO", "", "train_config.recipe=FINE_TUNE", "train_config.layer_decay=0.3")
    assert found.experiment.train_config.layer_decay == pytest.approx(0.3)
    assert "train_config.layer_decay" not in found.by_recipe
    assert "train_config.batch_size_per_gpu" in found.by_recipe


def test_a_name_that_is_none_is_refused_with_the_names() -> None:
    found = examine(SPEC % ("", "recipe: FINETUNE"), Path("a.cfg"), stage="train")
    assert any("did you mean FINE_TUNE?" in one.text and one.level == Level.ERROR for one in found.findings)


@pytest.mark.parametrize("number", ["9" * 5000, "{ }", "-1", "0x10"])
def test_epochs_that_are_no_number_are_left_to_the_rules(number: str) -> None:
    found = examine(SPEC % ("", f"recipe: FINE_TUNE n_epochs: {number}"), Path("a.cfg"), stage="train")
    assert found.experiment.train_config.unfreeze_at_epoch == 4
    assert bool(found.problems) == (number != "0x10")


def test_a_value_of_the_recipe_that_the_rules_refuse_is_said_where_its_name_stands() -> None:
    found = examine(SPEC % ("", "recipe: FINE_TUNE n_epochs: 0"), Path("a.cfg"), stage="train")
    assert [(one.path, one.place.line) for one in found.problems] == [("train_config.n_epochs", 2)]


def test_tao_gets_the_values_and_not_the_name() -> None:
    text, _ = for_tao.upgraded(SPEC % ("", "recipe: TAO"), Path("a.cfg"))
    assert tao_schema.read(text).train_config.lr_config.step.step_size == 10  # type: ignore[attr-defined]
    assert "recipe" not in text
