"""The figures of a cross-validation: of each fold, their mean and spread, and of all images together."""

from collections.abc import Mapping, Sequence
from statistics import mean, stdev

from tao_lite.metrics.intervals import wilson
from tao_lite.monitor import console
from tao_lite.stages.cross_validate.predictions import Fold, Found

Figures = Mapping[str, float]


def of_fold(fold: Fold) -> Figures:
    """The figures of a fold's best network on the fold, by name; shares are in [0, 1]."""
    evaluation = fold.evaluation
    return {
        "top1": evaluation.top1,
        "top_k": evaluation.top_k,
        "balanced_accuracy": evaluation.balanced_accuracy,
        "macro_precision": evaluation.macro.precision,
        "macro_f1": evaluation.macro_f1,
        "loss": evaluation.loss,
    }


def over_folds(folds: Sequence[Fold]) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation (of a sample: n - 1) of each figure over the folds."""
    every = [of_fold(fold) for fold in folds]
    columns = {name: [one[name] for one in every] for name in every[0]}
    return {name: (mean(values), stdev(values)) for name, values in columns.items()}


def summary(found: Found) -> dict[str, object]:
    """The content of cross_validate.json, less what was asked for."""
    spread = over_folds(found.folds)
    return {
        "metrics": {name: {"mean": middle, "std": deviation} for name, (middle, deviation) in spread.items()},
        "pooled": {**found.pooled.as_dict(), "top1_interval": list(interval(found))},
        "per_fold": [
            {
                "fold": fold.number,
                "results": str(fold.results),
                "num_images": fold.evaluation.num_images,
                **{name: fold.training[name] for name in ("epochs", "best_epoch")},
                **of_fold(fold),
            }
            for fold in found.folds
        ],
    }


def interval(found: Found) -> tuple[float, float]:
    """Ends of the 95 % interval of the share of all images that are right."""
    return wilson(found.pooled.top1, found.pooled.num_images)


def table(found: Found) -> tuple[list[str], list[list[object]]]:
    """Heads and rows: the folds, their mean and their standard deviation."""
    spread = over_folds(found.folds)
    heads = ["fold", "images", "best epoch", *_heads(found)]
    rows: list[list[object]] = [
        [str(fold.number), fold.evaluation.num_images, fold.training["best_epoch"], *of_fold(fold).values()]
        for fold in found.folds
    ]
    means, deviations = zip(*spread.values(), strict=True)
    return heads, [*rows, ["mean", "", "", *means], ["standard deviation", "", "", *deviations]]


def in_words(found: Found) -> str:
    """What all images say together."""
    low, high = interval(found)
    return (
        f"All {found.pooled.num_images} images, each by the network that was trained without it: top-1 "
        f"{found.pooled.top1:.4f}, 95 % interval {low:.4f} to {high:.4f}"
    )


def show(found: Found) -> None:
    """Print the table, and what all images say together."""
    console.table("Folds, each by the best epoch of the training without it", *table(found))
    console.line(in_words(found))


def _heads(found: Found) -> list[str]:
    names = {"top1": "top-1", "top_k": f"top-{found.pooled.k}", "macro_f1": "macro F1"}
    return [names.get(name, name.replace("_", " ")) for name in of_fold(found.folds[0])]
