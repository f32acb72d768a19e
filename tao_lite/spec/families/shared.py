"""What several families have alike: fields around the experiment, and steps."""

from collections.abc import Iterator, Sequence

from tao_lite.spec.families.source import Source
from tao_lite.spec.families.table import Made, Row, elsewhere, leaf, made_of, moved, said
from tao_lite.spec.findings import Finding, Level
from tao_lite.spec.text.nodes import Leaf, Sequenced

_CHECKPOINTS = ("evaluate.checkpoint", "inference.checkpoint")
_MAX_STAIRS = 1_000
_ENGINE = "no field here: TensorRT builds an engine from the exported ONNX file"

_VISUALIZER = "train_config.visualizer"


def tracked(wandb: str, clearml: str) -> tuple[Row, ...]:
    """The blocks of trackers, by their paths."""
    return (
        moved(f"{wandb}.enable", f"{_VISUALIZER}.wandb_config.enabled"),
        *(
            moved(f"{wandb}.{name}", f"{_VISUALIZER}.wandb_config.{name}")
            for name in ("project", "entity", "name", "tags", "notes")
        ),
        elsewhere(wandb, "no field here: the numbers are TensorBoard's"),
        *(
            moved(f"{clearml}.{name}", f"{_VISUALIZER}.clearml_config.{name}")
            for name in ("project", "task", "tags", "reuse_last_task_id", "continue_last_task", "deferred_init")
        ),
        elsewhere(clearml, "no field here: the numbers are TensorBoard's"),
    )


AROUND: tuple[Row, ...] = (
    elsewhere("results_dir", "no field here: -r FOLDER, and results/NAME of NAME.yaml without it"),
    *(
        elsewhere(f"{stage}.results_dir", "no field here: -r FOLDER")
        for stage in ("train", "evaluate", "inference", "prune", "export", "gen_trt_engine", "distill", "quantize")
    ),
    elsewhere("encryption_key", "no field here: no file is encrypted"),
    *tracked("wandb", "clearml"),
    elsewhere("model_name", "no field here: the file's name is the run's"),
    elsewhere("num_gpus", "no field here: --gpus N", "1"),
    elsewhere("gpu_ids", "no field here: --gpu_index N", "0"),
    *(elsewhere(f"{stage}.num_gpus", "no field here: --gpus N", "1") for stage in ("train", "evaluate", "inference")),
    *(
        elsewhere(f"{stage}.gpu_ids", "no field here: --gpu_index N", "0")
        for stage in ("train", "evaluate", "inference")
    ),
    *(elsewhere(f"{stage}.trt_engine", _ENGINE) for stage in ("evaluate", "inference")),
    elsewhere("gen_trt_engine", _ENGINE),
)
# Where the rate is not multiplied by the number of processes, as it is here.
UNSCALED = elsewhere(
    "train.num_gpus", "no field here: --gpus N, by which the learning rate is multiplied here: divide it", "1"
)


def evaluated(source: Source) -> Iterator[Made | Finding]:
    """The network of evaluate and inference, which is one field here."""
    given = [path for path in _CHECKPOINTS if source.has(path)]
    nodes = [node for path in given if isinstance(node := source.node(path), Leaf) and node.value and node.value.text]
    texts = [node.value.text for node in nodes if node.value]
    if not texts:
        return
    yield Made("eval_config.model_path", nodes[0], given[0])
    if len(set(texts)) > 1:
        text = "-> dropped; evaluate.checkpoint counts for both here; give inference another one with -m"
        yield said(source, Level.WARNING, given[1], text)


def numbers_of(source: Source, theirs: str, ours: str, numbers: Sequence[float]) -> Made:
    """A list of numbers in the place of theirs."""
    place = made_of(source, theirs, ours, "").node.place
    return Made(ours, Sequenced(place, [leaf(f"{number:.7g}", place) for number in numbers]), theirs)


def stairs(
    source: Source, rate: str, theirs: str, epochs: Sequence[float], *, gamma: float, length: float
) -> Iterator[Made]:
    """A rate, in the field `rate`, that is multiplied by gamma from each of these epochs on, in a run of that length.

    `theirs` says the epochs. soft_anneal divides after a point, so that each lies a millionth of the run before its
    epoch's first step.
    """
    if not 0 < gamma <= 1:
        raise source.wrong(theirs, f"found a factor of {gamma:g}, must be above 0 and at most 1")
    if min(epochs, default=1) <= 0:
        raise source.wrong(theirs, f"found {min(epochs):g}, must be above 0")
    block = "train_config.lr_config.soft_anneal"
    yield made_of(source, rate, f"{block}.learning_rate", source.text(rate))
    yield made_of(source, theirs, f"{block}.annealing_divider", f"{1 / gamma:.7g}")
    points = [epoch / length - 1e-6 for epoch in sorted(epochs) if epoch < length]
    if points:
        yield numbers_of(source, theirs, f"{block}.annealing_points", points)


def multiples(source: Source, theirs: str, size: float, length: float) -> Sequence[float]:
    """The ends of all stairs of that size in a run of that length.

    Raises:
        WrongValueError: there are so many that nobody can mean it.
    """
    if length / size > _MAX_STAIRS:
        raise source.wrong(theirs, f"found {size:g}, which makes more than {_MAX_STAIRS:,} stairs of {length:g} epochs")
    return [size * count for count in range(1, int(length / size) + 1)]


def linear(source: Source, rate: str, length: float) -> Iterator[Made]:
    """A rate that falls by the same amount after each epoch; its last is that before 0."""
    block = "train_config.lr_config.linear"
    yield made_of(source, rate, f"{block}.learning_rate", source.text(rate))
    yield made_of(source, rate, f"{block}.stairs", f"{length:g}")


def decay(source: Source, theirs: str, optimizer: str) -> Iterator[Made]:
    """Weight decay: AdamW's own, else a penalty, which is the same for SGD and Adam."""
    text = source.text(theirs)
    if not text:
        return
    if optimizer == "adamw":
        yield made_of(source, theirs, "train_config.optimizer.adamw.weight_decay", text)
    elif source.number(theirs):
        yield made_of(source, theirs, "train_config.reg_config.type", "L2", "string")
        yield made_of(source, theirs, "train_config.reg_config.weight_decay", text)


def frozen(source: Source, path: str) -> Iterator[Made | Finding]:
    """A frozen backbone, of which only the head trains."""
    if source.is_on(path):
        yield made_of(source, path, "train_config.linear_probe", "true")
        words = "-> train_config.linear_probe: the head is trained on features computed once, without augmentation"
        yield said(source, Level.NOTE, path, words)


def top_k(source: Source) -> Iterator[Made]:
    """The largest k; top-1 is always told."""
    path = "model.head.topk"
    yield made_of(source, path, "eval_config.top_k", f"{max(source.numbers(path)):g}")
