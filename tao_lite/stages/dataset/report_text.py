"""What a report on a data set prints, most important first."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tao_lite.monitor import console
from tao_lite.stages.dataset import stats

MAX_ROWS = 20
"""Of copies, that are shown in each table."""


def show(values: Mapping[str, Any]) -> None:
    """Print the report; its values are those of dataset_report.report."""
    console.table("Examples", *stats.table(values))
    console.line("\n".join(["", *stats.lines(values)]))
    _show_problems(values["problems"])
    for name, leaked in values["leakage"].items():
        console.line(f"{name} shares {leaked['exact']} exact and {leaked['near']} near copies with train")
    for kind, groups in values["duplicates"].items():
        across = [group for group in groups if group["crosses_classes"]]
        _groups(f"{kind.capitalize()} copies in two classes", across)
        _groups(f"{kind.capitalize()} copies", [group for group in groups if not group["crosses_classes"]])
    if values["imbalance"]:
        _show_imbalance(values["imbalance"], values["splits"])
    for text in values["advice"]:
        console.line(f"* {text}")


def _show_problems(problems: Sequence[Mapping[str, str]]) -> None:
    """One row for each kind, with its first place: a folder of misnamed files would hide the rest."""
    kinds: dict[tuple[str, str], list[Mapping[str, str]]] = {}
    for one in problems:
        kinds.setdefault((one["severity"], one["kind"]), []).append(one)
    rows = [(*kind, len(found), found[0]["place"], found[0]["text"]) for kind, found in kinds.items()]
    if rows:
        console.table("Problems", ("", "kind", "number", "first place", "what"), rows)


def _groups(title: str, groups: Sequence[Mapping[str, Any]]) -> None:
    rows = [
        (number, member["split"], member["label"], member["path"], " ".join(map(str, member.get("box", ()))))
        for number, group in enumerate(groups, start=1)
        for member in group["members"]
    ]
    _table(title, ("group", "split", "class", "path", "box"), rows)


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    if rows:
        console.table(title, heads, rows[:MAX_ROWS])
    if len(rows) > MAX_ROWS:
        console.line(f"and {len(rows) - MAX_ROWS} more; --json lists them all")


def _show_imbalance(found: Mapping[str, Any], splits: Mapping[str, Mapping[str, Any]]) -> None:
    counts = splits[found["split"]]["classes"]
    if found["ratio"] == 1:
        console.line(f"All classes of {found['split']} have the same number of examples")
        return
    columns: dict[str, Mapping[str, float]] = dict(found["weights"])
    if found["spec"] and found["spec"]["weights"]:
        columns["spec"] = found["spec"]["weights"]
    rows: Iterable[Sequence[object]] = (
        (name, counts[name], *(column[name] for column in columns.values())) for name in found["weights"]["BALANCED"]
    )
    console.table("Weights of classes", ("class", found["split"], *columns), rows)
    used = found["spec"]
    spec = f"; the spec has class_weighting: {used['class_weighting']}, sampler: {used['sampler']}" if used else ""
    console.line(f"{found['largest']} has {found['ratio']:.3g} times the examples of {found['smallest']}{spec}")
