"""What is in a checkpoint's file: the version of the format, and each field with its type."""

from collections.abc import Iterator, Mapping

from torch import Tensor, float32, int64

from tao_lite.files.plain import Check, among, fields, listed, mapped, none_or, of, or_empty

VERSION = 3
"""Of the format. 1 may lack what came later, see `_training`; until 2, `preprocess` was the normalisation's mode."""


def check(version: int, pipeline: Check) -> Check:
    """What has to be in a file of that version of the format, besides its name; `pipeline` is for its preprocessing."""
    numbers = listed(of(float))
    mode = fields({"mode": of(str), "channels": of(int, minimum=1), "mean": none_or(numbers)}, {"std": numbers})
    preprocess = pipeline if version > 2 else mode
    return fields(
        {
            "spec": of(str),
            "class_names": listed(of(str), least=1),
            "preprocess": or_empty(preprocess),
            "network": mapped(str, of(Tensor)),
            "epoch": of(int, minimum=0),
            "batch": of(int, minimum=0),
            "metrics": mapped(str, of(float)),
            "training": or_empty(_training(version)),
        },
        {"reject": or_empty(_reject)},
    )


def _reject(value: object, name: str) -> Iterator[str]:
    """A rule for which answers to accept."""
    count = of(int, minimum=0)
    yield from fields(
        {
            "score": among("PROBABILITY", "ENERGY", "DISTANCE"),
            "temperature": of(float, minimum=1e-6),
            "threshold": of(float),
            "promise": among("max_error", "coverage"),
            "promised": of(float, minimum=0, maximum=1),
            **dict.fromkeys(("num_images", "num_accepted", "num_wrong"), count),
            "tensors": mapped(str, of(Tensor)),
        }
    )(value, name)
    assert isinstance(value, Mapping)
    tensors = value["tensors"]
    shapes = {key: (one.dtype, one.dim()) for key, one in tensors.items()}
    wanted = dict.fromkeys(("means", "whitening") if value["score"] == "DISTANCE" else (), (float32, 2))
    if shapes != wanted or len({one.shape[1] for one in tensors.values()}) > 1:
        yield f"{name}.tensors are not those of {value['score']}"


def _training(version: int) -> Check:
    """What a training goes on from."""
    count, amount = of(int, minimum=0), of(float)
    moments = mapped(int, mapped(str, of(Tensor)))
    groups = listed(fields({"params": listed(of(int))}, is_open=True))
    scaler = dict.fromkeys(("scale", "growth_factor", "backoff_factor"), amount)
    scaler |= dict.fromkeys(("growth_interval", "_growth_tracker"), count)
    stats = dict.fromkeys(("images", "batches"), count)
    stats |= dict.fromkeys(("loss_sum", "correct", "seconds", "wait_seconds"), amount)
    progress = dict.fromkeys(("epoch", "best_epoch", "stale_epochs", "images"), count)
    progress |= dict.fromkeys(("best_accuracy", "best_loss", "reference_accuracy"), amount)
    progress |= dict.fromkeys(("train_seconds", "wait_seconds", "total_seconds"), amount)
    progress |= {"stats": fields(stats, {"done": count})}
    precision = {"scaler": or_empty(fields(scaler)), "overflows": count}
    later = {"underflow": listed(amount, least=2, most=2), "num_measured": count}
    later_progress = {"best_train_loss": none_or(amount), "epoch_train_seconds": listed(amount)}
    return _grown(
        version,
        {
            "optimizer": fields({"state": moments, "param_groups": groups}),
            "precision": _grown(version, precision, later),
            "progress": _grown(version, progress, later_progress, {"best_value": none_or(amount)}),
        },
        {"threads": of(int, minimum=1), "data": fields({"train": _fingerprint, "val": _fingerprint})},
        {
            "network": mapped(str, of(Tensor)),
            "processes": of(int, minimum=1),
            "begun_with": of(int, minimum=1),
            "window": of(int, minimum=0),
        },
    )


def _grown(
    version: int, always: Mapping[str, Check], later: Mapping[str, Check], optional: Mapping[str, Check] | None = None
) -> Check:
    """Fields of which the later ones may be missing in version 1, and the optional ones in each."""
    required = {**always, **later} if version > 1 else always
    return fields(required, {**later, **(optional or {})})


def _fingerprint(value: object, name: str) -> Iterator[str]:
    """Of a data set: int64 hashes of its examples, and how many each class has."""
    yield from fields({"counts": listed(of(int, minimum=0)), "hashes": of(Tensor)})(value, name)
    assert isinstance(value, Mapping)
    hashes, total = value["hashes"], sum(value["counts"])
    if hashes.dtype != int64 or list(hashes.shape) != [total]:
        yield f"{name}.hashes is {hashes.dtype} {list(hashes.shape)}, must be torch.int64 [{total}]"
