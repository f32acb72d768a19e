"""Several tasks as one list of outputs, and the spec fields that say which they are and what they can't have."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tao_lite.errors import SpecError
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec import for_tao, multitask, tasks
from tao_lite.spec.load import examine
from tao_lite.stages import preflight

NAMES = ("color/blue", "color/red", "size/1/2", "size/3", "tags/dot")
SPEC = """\
model_config { arch: "resnet" input_image_size: "3,32,32" }
train_config {
  train_dataset_path: "train.csv" batch_size_per_gpu: 8 n_epochs: 4 preprocess_mode: "torch"
  optimizer { sgd { } }
  lr_config { cosine { learning_rate: 0.1 } }
%s
}
dataset_config { format: MULTITASK %s }
"""


def experiment() -> pb.Experiment:
    config = pb.MultitaskConfig(multi_label=["tags"], task_weights={"size": 0.1})
    return pb.Experiment(dataset_config=pb.DatasetConfig(format=pb.DatasetFormat.MULTITASK, multitask=config))


def findings(training: str = "", dataset: str = "", *, stage: str = "train") -> list[str]:
    found = examine(SPEC % (training, dataset), Path("a.cfg"), stage=stage, check=preflight.check)
    return [line.removeprefix("a.cfg:") for line in found.lines(found.problems)]


def test_tasks_are_runs_of_outputs() -> None:
    color, size, tags = tasks.of(experiment(), NAMES)
    assert (color.name, color.class_names, color.outputs) == ("color", ("blue", "red"), slice(0, 2))
    assert (size.class_names, size.outputs, size.weight) == (("1/2", "3"), slice(2, 4), 0.1)
    assert (tags.first, tags.is_multi_label, color.is_multi_label) == (4, True, False)
    assert tasks.of(pb.Experiment(), NAMES) == ()


def test_classes_are_ordered_by_number_where_all_are_numbers() -> None:
    labels = ["b/10", "b/9", "a-b/x", "a/y", "a/x", "a/"]
    assert tasks.ordered(labels) == ("a/x", "a/y", "a-b/x", "b/9", "b/10")


def test_a_label_that_is_not_known_is_told_from_one_of_no_class() -> None:
    found, index_of = tasks.of(experiment(), NAMES), {name: index for index, name in enumerate(NAMES)}
    rows = np.full((2, 5), -1, np.int8)
    tasks.mark(rows[0], found, ["color/red", "tags/"], index_of)
    tasks.mark(rows[1], found, ["size/3", "tags/dot"], index_of)
    assert rows.tolist() == [[0, 1, -1, -1, 0], [-1, -1, 0, 1, 1]]


def test_a_task_takes_its_part_of_a_batch() -> None:
    color, _, tags = tasks.of(experiment(), NAMES)
    logits, labels = torch.arange(10.0).view(2, 5), torch.tensor([[0, 1, -1, -1, 0], [-1, -1, 0, 1, -1]])
    own, targets, is_known = color.part(logits, labels)
    assert (own.tolist(), targets.tolist(), is_known.tolist()) == ([[0, 1], [5, 6]], [1, 0], [True, False])
    own, targets, is_known = tags.part(logits, labels)
    assert (own.tolist(), targets.tolist(), is_known.tolist()) == ([[4], [9]], [[0], [0]], [True, False])


def test_the_class_map_is_that_of_tao() -> None:
    assert tasks.class_map(tasks.of(experiment(), NAMES[:2])) == {
        "tasks": ["color"],
        "class_mapping": {"color": {"0": "blue", "1": "red"}},
    }


@pytest.mark.parametrize(
    ("training", "dataset", "expected"),
    [
        ("mixup_alpha: 0.2", "", "6:14: train_config.mixup_alpha: can't be had with several tasks"),
        ("cutmix_alpha: 0.2", "", "6:15: train_config.cutmix_alpha: can't be had with several tasks"),
        ('distillation { teacher_path: "a.pth" }', "", "6:1: train_config.distillation: can't be had with several"),
        ('class_weights { key: "a" value: 2 }', "", "6:1: train_config.class_weights: can't be had with several tasks"),
        ("sampler: BALANCED", "", "6:10: train_config.sampler: can't be had with several tasks"),
        ("", 'classmap_path: "a.json"', "8:51: dataset_config.classmap_path: can't be had with several tasks"),
        (
            "",
            'multitask { task_weights { key: "a" value: 0 } }',
            '8:48: dataset_config.multitask.task_weights: found 0 for "a", must be above 0',
        ),
        (
            "",
            'multitask { tasks: "a" multi_label: "b" }',
            '8:72: dataset_config.multitask.multi_label: found "b", which is not in dataset_config.multitask.tasks',
        ),
    ],
)
def test_what_several_tasks_can_not_have_is_refused_by_name(training: str, dataset: str, expected: str) -> None:
    assert findings(training, dataset)[0].startswith(expected)


def test_a_task_of_several_labels_has_no_balanced_accuracy() -> None:
    ours = experiment()
    ours.train_config.checkpoint.best_metric = pb.BestMetric.BALANCED_ACCURACY
    (found,) = multitask.violations(ours, "train")
    assert found.path == "train_config.checkpoint.best_metric"
    assert found.text.endswith("dataset_config.multitask.multi_label has no balanced accuracy; take MACRO_F1")
    ours.dataset_config.multitask.ClearField("multi_label")
    assert not list(multitask.violations(ours, "train"))


def test_quantize_is_refused_before_it_reads_anything() -> None:
    (error,) = findings(stage="quantize")
    assert error.startswith(
        "8:26: dataset_config.format: found MULTITASK, but quantize takes networks of one task only"
    )
    assert findings() == findings(stage="evaluate") == findings(stage="export") == []


def test_there_is_no_spec_of_one_task_for_it_in_tao() -> None:
    with pytest.raises(SpecError, match=r"a\.cfg: dataset_config\.format is MULTITASK, and TAO's classification_tf1"):
        for_tao.upgraded(SPEC % ("", ""), Path("a.cfg"))


def test_settings_without_effect_are_named() -> None:
    def warnings(text: str) -> list[str]:
        found = examine(text, Path("a.cfg"), stage=None)
        return [one.text for one in found.warnings if one.path.startswith("dataset_config")]

    weighted = 'multitask { multi_label: "a" class_weighting { key: "a" value: BALANCED } }'
    assert warnings(SPEC % ("", weighted)) == ["has no effect on a, which is in multi_label"]
    one = warnings("dataset_config { multitask { } }")
    assert one == ["has no effect: dataset_config.format is not MULTITASK"]
