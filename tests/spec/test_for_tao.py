"""What is written for TAO is read by its schema and means there what it means here; what is left out is named."""

from pathlib import Path

import pytest
from google.protobuf import text_format

from tao_lite.errors import SpecError
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec import for_tao, schema
from tao_lite.spec.load import as_line, read
from tests.conftest import ROOT
from tests.spec import tao_schema

# All but that of several tasks, which are another of TAO's families.
SHIPPED = sorted(path for path in (ROOT / "specs").glob("*.cfg") if path.name != "multitask_spec.cfg")


def lines(text: str, name: str = "a.cfg") -> list[str]:
    _, found = for_tao.upgraded(text, Path(name))
    return [as_line(Path(name), one) for one in found]


def test_the_fields_below_our_numbers_are_those_of_tao() -> None:
    for name in tao_schema.MESSAGES:
        ours = schema.fields(schema.message(name))
        theirs = tao_schema.fields(name)
        numbers = {field: ours[field].number for field in ours if ours[field].number < for_tao.OURS}
        dropped = {"wandb_config", "clearml_config"}  # of TAO, but not of tao-deploy
        assert {field: number for field, number in numbers.items() if field not in dropped} == {
            field: number for field, (number, _) in theirs.items()
        }


def same_values(text: str) -> bool:
    """Whether both schemas read the same values."""
    ours = text_format.Parse(text, pb.Experiment())
    return text_format.MessageToString(ours) == text_format.MessageToString(
        text_format.Parse(str(tao_schema.read(text)), pb.Experiment())
    )


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_a_shipped_spec_is_read_by_tao_deploy(path: Path) -> None:
    if path.name != "amp_resnet50_cifar10.cfg":
        with pytest.raises(text_format.ParseError):
            tao_schema.read(path.read_text())
    text, _ = for_tao.upgraded(path.read_text(), path)
    assert same_values(text)
    assert for_tao.upgraded(text, path)[0] == text


def test_public_specs_are_read_by_tao_deploy(shared: Path) -> None:
    files = [*(shared / "specs").glob("*.[ct]*"), *(shared / "specs_yaml").glob("*/*.y*ml")]
    assert len(files) > 40
    for path in files:
        text, _ = for_tao.upgraded(read(path), path)
        assert tao_schema.read(text).IsInitialized(), path


def test_what_tao_does_not_know_is_left_out_and_named_with_its_place() -> None:
    text = """# Mine

compat: TAO_EXACT
train_config {
  # rare classes
  class_weighting: BALANCED
  class_weights { key: "a" value: 2 }
  class_weights { key: "b" value: 3 }
  optimizer { adamw { } }
  n_epochs: 3  # few
  visualizer { wandb_config { key: "secret" } }
}
eval_config { model_path: "best.pth" }
"""
    new, _ = for_tao.upgraded(text, Path("a.cfg"))
    assert new == '# Mine\n\ntrain_config {\n  n_epochs: 3  # few\n  preprocess_mode: "caffe"\n}\n'
    assert lines(text)[:6] == [
        "a.cfg:3:1: compat: left out: TAO computes as TAO_EXACT does",
        "a.cfg:6:3: train_config.class_weighting: left out: TAO goes without it",
        "a.cfg:7:3: train_config.class_weights: left out: TAO goes without it",
        "a.cfg:9:15: train_config.optimizer.adamw: left out: TAO has none; name sgd, adam or rmsprop",
        (
            "a.cfg:11:16: train_config.visualizer.wandb_config: left out: tao-deploy refuses it; add it again for "
            "TAO's training"
        ),
        "a.cfg:4:1: train_config.val_dataset_path: TAO's training asks for it; tao-deploy does not",
    ]
    assert "a.cfg:13:15: eval_config.model_path: left out: TAO reads weights from .hdf5 and .tlt only" in lines(text)


def test_what_tao_takes_for_0_is_written_out() -> None:
    text = """train_config { optimizer { adam { beta_1: 0.8 } } reg_config { type: "L2" } }
model_config { batch_norm_config { epsilon: 0.001 } n_layers: 18 activation { activation_type: "relu" } }
"""
    found = tao_schema.read(for_tao.upgraded(text, Path("a.cfg"))[0])
    train, model = found.train_config, found.model_config  # type: ignore[attr-defined]
    assert (train.preprocess_mode, train.reg_config.scope) == ("caffe", "Conv2D,Dense")
    adam = train.optimizer.adam
    assert [adam.beta_1, adam.beta_2, adam.epsilon] == pytest.approx([0.8, 0.999, 1e-8])
    assert model.batch_norm_config.momentum == pytest.approx(0.9)
    exact = tao_schema.read(for_tao.upgraded(f"compat: TAO_EXACT {text}", Path("a.cfg"))[0])
    assert exact.train_config.optimizer.adam.beta_2 == exact.model_config.batch_norm_config.momentum == 0  # type: ignore[attr-defined]


def test_a_network_of_another_library_is_left_out() -> None:
    text = 'model_config { arch: "timm/convnext_tiny" input_image_size: "3,64,64" }'
    assert for_tao.upgraded(text, Path("a.cfg"))[0] == 'model_config { input_image_size: "3,64,64" }\n'
    assert lines(text)[0].startswith("a.cfg:1:16: model_config.arch: left out: TAO has no such network")


def test_what_nobody_knows_is_an_error() -> None:
    with pytest.raises(SpecError, match=r"a\.cfg:1:16: train_config\.epochs: unknown field; did you mean n_epochs"):
        for_tao.upgraded("train_config { epochs: 3 }", Path("a.cfg"))


def test_a_yaml_of_a_newer_task_becomes_text_for_tao() -> None:
    text = "dataset: {train_dataset_path: /d, num_classes: 2}\ntrain: {num_epochs: 3, optim_config: {optimizer: sgd}}\n"
    new, _ = for_tao.upgraded(f"{text}model: {{backbone: resnet_18}}\n", Path("a.yaml"))
    assert tao_schema.read(new).train_config.n_epochs == 3  # type: ignore[attr-defined]
