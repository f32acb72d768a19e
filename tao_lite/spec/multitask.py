"""What a spec of several tasks may not be combined with, and what in it has no effect."""

from collections.abc import Iterator

from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec import tasks
from tao_lite.spec.findings import Finding, Level, warning

_PATH = "dataset_config.multitask"


def violations(experiment: pb.Experiment, stage: str) -> Iterator[Finding]:
    """What can't be done with several tasks, each with its field."""
    if not tasks.is_used(experiment):
        return
    if stage == "quantize":
        text = "found MULTITASK, but quantize takes networks of one task only; export makes an ONNX file in FP32"
        yield Finding(Level.ERROR, "dataset_config.format", text)
    for path, remedy in _unfit(experiment):
        yield Finding(
            Level.ERROR, path, f"can't be had with several tasks (dataset_config.format: MULTITASK); {remedy}"
        )
    config = experiment.dataset_config.multitask
    for task, weight in config.task_weights.items():
        if not 0 < weight < float("inf"):
            yield Finding(Level.ERROR, f"{_PATH}.task_weights", f'found {weight:g} for "{task}", must be above 0')
    for field in ("multi_label", "task_weights", "class_weighting"):
        for task in sorted(set(getattr(config, field)) - set(config.tasks)) if config.tasks else ():
            yield Finding(
                Level.ERROR, f"{_PATH}.{field}", f'found "{task}", which is not in {_PATH}.tasks; add it there'
            )


def warnings(experiment: pb.Experiment) -> Iterator[Finding]:
    """Settings that do nothing."""
    config = experiment.dataset_config.multitask
    if not tasks.is_used(experiment):
        if experiment.dataset_config.HasField("multitask"):
            yield warning(_PATH, "has no effect: dataset_config.format is not MULTITASK")
        return
    for task in sorted(set(config.class_weighting) & set(config.multi_label)):
        yield warning(f"{_PATH}.class_weighting", f"has no effect on {task}, which is in multi_label")


def _unfit(experiment: pb.Experiment) -> Iterator[tuple[str, str]]:
    """Path of a field that is set, and what to do about it."""
    train, path = experiment.train_config, "train_config"
    for name in ("mixup_alpha", "cutmix_alpha"):
        if getattr(train, name):
            yield f"{path}.{name}", "set it to 0"
    if train.HasField("distillation"):
        yield f"{path}.distillation", "take the block out"
    if train.class_weights:
        yield f"{path}.class_weights", f"weigh with {_PATH}.class_weighting"
    if train.sampler != pb.Sampler.SHUFFLED:
        yield f"{path}.sampler", f"leave it out; {_PATH}.class_weighting has rare classes count more"
    by_recall = train.checkpoint.best_metric == pb.BestMetric.BALANCED_ACCURACY
    if by_recall and experiment.dataset_config.multitask.multi_label:
        yield f"{path}.checkpoint.best_metric", f"{_PATH}.multi_label has no balanced accuracy; take MACRO_F1"
    if experiment.dataset_config.classmap_path:
        yield "dataset_config.classmap_path", "leave it out; classes are sorted by name"
