"""What to do about a data set, in sentences, from the values of its report."""

from collections.abc import Iterator, Mapping
from typing import Any

from tao_lite.spec import classification_pb2 as pb
from tao_lite.stages.dataset.pictures import ERROR

MAX_RATIO = 4
"""Of the largest class to the smallest; beyond it balancing is advised."""
MIN_TESTED = 10
"""Examples of a class in validation or test; of fewer, one more mistake moves its recall by over a tenth."""

MAX_NAMED = 8


def advice(values: Mapping[str, Any], experiment: pb.Experiment | None) -> list[str]:
    """The sentences, most important first. `values`: see dataset_report.report."""
    return [
        *_errors(values),
        *_leaks(values),
        *_balance(values),
        *_few(values),
        *(_enlarged(values, experiment.model_config.input_image_size) if experiment else ()),
    ]


def _errors(values: Mapping[str, Any]) -> Iterator[str]:
    if num_errors := sum(problem["severity"] == ERROR for problem in values["problems"]):
        yield f"{num_errors} errors among the problems: training leaves out or refuses what they name; repair it."
    if num_groups := sum(group["crosses_classes"] for groups in values["duplicates"].values() for group in groups):
        yield f"{num_groups} groups of copies have more than one class: correct their labels."


def _leaks(values: Mapping[str, Any]) -> Iterator[str]:
    for name, leaked in values["leakage"].items():
        if number := sum(leaked.values()):
            yield (
                f"{number} of {values['splits'][name]['examples']} examples of {name} are copies of training examples: "
                "its score is too good; take them out of one of the two."
            )


def _balance(values: Mapping[str, Any]) -> Iterator[str]:
    found = values["imbalance"]
    used = (found and found["spec"]) or {"class_weighting": "NONE", "sampler": "SHUFFLED"}
    is_weighted, is_sampled = used["class_weighting"] != "NONE", used["sampler"] == "BALANCED"
    if is_sampled and is_weighted:
        yield "The spec balances classes twice, by sampler and by weights: choose one."
    elif found and found["ratio"] >= MAX_RATIO and not (is_weighted or is_sampled):
        yield (
            f"{found['smallest']} has {found['ratio']:.3g} times fewer {found['split']} examples than "
            f"{found['largest']}: set train_config.sampler: BALANCED or train_config.class_weighting: BALANCED."
        )


def _few(values: Mapping[str, Any]) -> Iterator[str]:
    for name, split in values["splits"].items():
        few = [f"{label} ({count})" for label, count in split["classes"].items() if count < MIN_TESTED]
        if name in ("val", "test") and few:
            more = f" and {len(few) - MAX_NAMED} more classes" if len(few) > MAX_NAMED else ""
            named = ", ".join(few[:MAX_NAMED]) + more
            yield f"{name} has fewer than {MIN_TESTED} examples of {named}: their scores say little."


def _enlarged(values: Mapping[str, Any], input_image_size: str) -> Iterator[str]:
    split = values["splits"].get("train")
    if not input_image_size:
        return
    _, height, width = map(int, input_image_size.split(","))
    if split and split["width"] and split["width"]["median"] < width and split["height"]["median"] < height:
        yield (
            f"The median training example is {split['width']['median']:g} x {split['height']['median']:g} pixels and "
            f"enlarged to {width} x {height}: try a smaller input_image_size, which is faster."
        )
