"""What each layer is worth: validation top-1 with that layer, or group of coupled layers, pruned alone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tao_lite.files import writing
from tao_lite.monitor import console, plots
from tao_lite.pruning import plans, surgery
from tao_lite.pruning.groups import Group
from tao_lite.pruning.plans import Scored
from tao_lite.run import Run, Summary
from tao_lite.spec.load import Spec
from tao_lite.stages.prune import choice
from tao_lite.stages.prune.subject import Subject, load_subject

SHARES = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Layer:
    """A group of coupled layers, and validation top-1 without each of SHARES of its channels."""

    name: str
    layers: tuple[str, ...]
    channels: int
    kept: tuple[int, ...]
    top1: tuple[float, ...]

    @property
    def mean(self) -> float:
        return sum(self.top1) / len(self.top1)


def sensitivity(spec: Spec, run: Run) -> Summary:
    """Prune every group alone, by the criterion of the spec; sensitivity.json, and sensitivity.png with matplotlib.

    Raises:
        TaoLiteError: as `prune`, and for images that can't be read.
    """
    subject = load_subject(spec, run)
    before = subject.top1(subject.network, "Validation before pruning")
    rule = replace(choice.rule(subject.config), ranking="PER_LAYER")
    scored = plans.score(subject.network, subject.shape, rule, choice.judge(subject))
    found = [_measure(subject, scored, group, before) for group, _ in scored.groups]
    found.sort(key=lambda layer: layer.mean)
    summary = {"val_accuracy": before, "shares": SHARES, "layers": [vars(layer) for layer in found]}
    if run.is_main:
        _show(before, found)
        writing.write_json(run.summary("sensitivity"), summary)
        _picture(run.sensitivity_picture, before, found)
    return summary


def _measure(subject: Subject, scored: Scored, group: Group, before: float) -> Layer:
    kept, top1 = list[int](), list[float]()
    for share in SHARES:
        plan = scored.only(group).plan(share)
        positions = plan.outputs[group.name][group.producers[group.name][plan.outputs[group.name]] >= 0]
        kept.append(len(positions))
        is_cut = len(positions) < int((group.producers[group.name] >= 0).sum())
        again = bool(top1) and kept[-1] == kept[-2]
        top1.append(top1[-1] if again else _top1(subject, plan, f"{group.name}, {share:.0%} cut") if is_cut else before)
    return Layer(group.name, tuple(group.producers), group.width, tuple(kept), tuple(top1))


def _top1(subject: Subject, plan: plans.Plan, title: str) -> float:
    return subject.top1(surgery.cut(subject.network, plan), title)


def _show(before: float, found: Sequence[Layer]) -> None:
    columns = ("layers", "channels", *(text for share in SHARES for text in (f"{share:.0%} cut", "top-1")))
    rows = [
        (_names(layer), layer.channels, *(part for pair in zip(layer.kept, layer.top1, strict=True) for part in pair))
        for layer in found
    ]
    console.table(f"Validation top-1 with one layer pruned; unpruned {before:.4f}", columns, rows)


def _names(layer: Layer) -> str:
    more = len(layer.layers) - 1
    return layer.name + (f" and {more} more" if more else "")


def _picture(path: Path, before: float, found: Sequence[Layer]) -> None:
    try:
        _draw(path, before, found)
    except ImportError:
        console.line(f"{path.name} was not drawn: it needs matplotlib, pip install 'tao-lite[report]'")
    else:
        console.line(f"Drew {path}")


def _draw(path: Path, before: float, found: Sequence[Layer]) -> None:
    with plots.figure((9, 1.5 + 0.28 * len(found))) as figure:
        axes = figure.add_subplot()
        places = range(len(found), 0, -1)
        for index, share in reversed(list(enumerate(SHARES))):
            drops = [100 * (before - layer.top1[index]) for layer in found]
            label = f"{share:.0%} of its channels cut"
            axes.barh(places, drops, height=0.25 + 0.2 * index, color=plots.COLOURS[index], label=label)
        axes.set_yticks(list(places), [_names(layer) for layer in found], fontsize=8)
        axes.set_xlabel(f"points of validation top-1 lost, of {100 * before:.1f}")
        axes.axvline(0, color=plots.INK, linewidth=0.8)
        axes.legend(loc="lower right")
        plots.save(figure, path)
