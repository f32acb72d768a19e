"""What moves: proposed ranges, grids, and what is refused, with its place."""

from pathlib import Path

import pytest

from tao_lite.errors import SpecError
from tao_lite.spec.load import load_text
from tao_lite.stages.tune import space, tuned

SPEC = """
model_config { arch: "resnet" n_layers: 10 use_batch_norm: true input_image_size: "3,32,32" }
train_config {
  train_dataset_path: "."
  optimizer { sgd { momentum: 0.9 } }
  batch_size_per_gpu: 8  # small
  n_epochs: 4
  preprocess_mode: "torch"
  # the rate
  lr_config { cosine { learning_rate: 0.01 soft_start: 0.1 } }
}
"""
RATE = "train_config.lr_config.cosine.learning_rate"


def parameters(text: str) -> tuple[space.Parameter, ...]:
    return space.of(load_text(f"{SPEC}tune_config {{\n{text}\n}}", Path("x.cfg")))


def refusal(text: str) -> str:
    with pytest.raises(SpecError) as caught:
        parameters(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("field", "words"),
    [
        (RATE, "0.002 to 0.1, by factors"),
        ("train_config.batch_size_per_gpu", "one of 16, 32, 64, 128, 256"),
        ("train_config.enable_random_crop", "one of false, true"),
        ("train_config.preprocess_mode", "one of caffe, torch, tf"),
        ("train_config.hflip_probability", "0.05 to 1, by factors"),
        ("train_config.lr_config.cosine.soft_start", "0.01 to 0.55, by factors"),
    ],
)
def test_a_field_by_its_name_alone_gets_values(field: str, words: str) -> None:
    (one,) = parameters(f'parameter {{ field: "{field}" }}')
    assert (one.words, one.is_proposed) == (words, True)


def test_a_grid_has_steps_or_five_values_evenly() -> None:
    rate, dropout, batch = parameters(
        f"""parameter {{ field: "{RATE}" log_range {{ min: 1e-4 max: 1 }} }}
        parameter {{ field: "model_config.dropout" range {{ min: 0 max: 0.5 step: 0.25 }} }}
        parameter {{ field: "train_config.batch_size_per_gpu" range {{ min: 8 max: 10 }} }}"""
    )
    assert rate.grid == pytest.approx((1e-4, 1e-3, 1e-2, 1e-1, 1))
    assert dropout.grid == (0, 0.25, 0.5)
    assert batch.grid == (8, 9, 10)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            'parameter { field: "train_config.mixup_alfa" }',
            "x.cfg:13:1: tune_config.parameter[0]: no such field: train_config.mixup_alfa; did you mean train_config.m",
        ),
        ('parameter { field: "learning_rate" }', "no such field: learning_rate"),
        ('parameter { field: "train_config.n_epochs" }', "can't move: all trials have the same length"),
        ('parameter { field: "prune_config.target_ratio" }', "only fields of model_config and train_config are"),
        ('parameter { field: "train_config.class_weights" }', "can't move: it is no single value"),
        ('parameter { field: "train_config.val_dataset_path" }', "can't move: it is a path"),
        (f'parameter {{ field: "{RATE}" range {{ min: 1 max: 0.1 }} }}', "found min 1 and max 0.1; max must be larger"),
        (f'parameter {{ field: "{RATE}" log_range {{ min: 0 max: 0.1 }} }}', "log_range takes a min above 0"),
        (
            'parameter { field: "train_config.label_smoothing" range { min: 0 max: 2 } }',
            "tune_config.parameter[0]: train_config.label_smoothing: found 2, must be",
        ),
        ('parameter { field: "train_config.batch_size_per_gpu" choice: [8, "many"] }', "must be a whole number"),
        (
            'parameter { field: "train_config.lr_config.step.learning_rate" range { min: 0.1 max: 0.2 } }',
            "cosine is set already; keep one of",
        ),
        ('parameter { field: "train_config.max_grad_norm" }', "nothing says which values it could have"),
        ('automl_algorithm: "llm"', 'found "llm", which asks a language model; set sampler: TPE'),
        ("trials: 3", "tune_config.parameter is missing; name a field that is to move"),
    ],
)
def test_what_can_not_move_is_named_with_its_place(text: str, said: str) -> None:
    assert said in refusal(text)


def test_all_problems_are_told_at_once() -> None:
    said = refusal(
        f"""parameter {{ field: "{RATE}" range {{ min: 1 max: 0.1 }} }}
        parameter {{ field: "{RATE}" }} parameter {{ field: "train_config.random_seed" }}"""
    )
    assert len(said.splitlines()) == 3


def test_words_of_tao_are_taken_and_named(tmp_path: Path) -> None:
    spec = load_text(
        f"""{SPEC}tune_config {{
          automl_algorithm: "bohb" automl_max_recommendations: 7 automl_reduction_factor: 4
          metric: "val_loss" direction: "minimize" automl_delete_intermediate_ckpt: false
          automl_hyperparameters: "['{RATE}', 'model_config.dropout']"
          parameter {{ field: "{RATE}" valid_min: 0.001 valid_max: 0.1 }}
          parameter {{ name: "train_config.batch_size_per_gpu" valid_options: [8, 16] option_weights: [3, 1] }}
        }}""",
        tmp_path / "x.cfg",
    )
    rate, batch, dropout = space.of(spec)
    assert (rate.words, rate.is_proposed) == ("0.001 to 0.1, by factors", False)
    assert (batch.choices, batch.weights) == (("8", "16"), (3, 1))
    assert dropout.is_proposed
    config = spec.experiment.tune_config
    assert (config.trials, config.reduction_factor, config.keep_checkpoints) == (7, 4, True)
    assert (config.sampler, config.pruner, list(config.objective)) == (0, 0, [3])
    assert any('automl_algorithm: "bohb" -> sampler: TPE pruner: HYPERBAND' in note for note in spec.notes)


def test_yaml_names_ranges_by_dotted_fields(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    text = f"""
model_config: {{arch: resnet, n_layers: 10, input_image_size: "3,32,32"}}
train_config:
  train_dataset_path: "."
  optimizer: {{sgd: {{momentum: 0.9}}}}
  batch_size_per_gpu: 8
  n_epochs: 4
  lr_config: {{cosine: {{learning_rate: 0.01}}}}
tune_config:
  algorithm: asha
  custom_param_ranges:
    {RATE}: {{valid_min: 0.001, valid_max: 0.1}}
    model_config.dropout: {{valid_min: 0, valid_max: 0.4}}
"""
    found = space.of(load_text(text, path))
    assert [(one.field, one.words) for one in found] == [
        (RATE, "0.001 to 0.1, by factors"),
        ("model_config.dropout", "0 to 0.4"),
    ]


def test_the_tuned_spec_keeps_order_and_comments(tmp_path: Path) -> None:
    path = tmp_path / "x.cfg"
    path.write_text(SPEC)
    settings = [f"{RATE}=0.0271", "train_config.batch_size_per_gpu=16", "train_config.checkpoint.best_metric=LOSS"]
    expected = SPEC.strip().replace("learning_rate: 0.01", "learning_rate: 0.0271").replace("gpu: 8", "gpu: 16")
    expected = expected.removesuffix("}") + "  checkpoint {\n    best_metric: LOSS\n  }\n}\n"
    assert tuned.text(path, settings) == expected
