"""What a search comes to: the best values as a spec, all trials as tables, and a report."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tao_lite.errors import RunError
from tao_lite.files import writing
from tao_lite.monitor import console
from tao_lite.run import Summary
from tao_lite.spec import classification_pb2 as pb
from tao_lite.stages.report.report import report
from tao_lite.stages.report.subject import Pooled
from tao_lite.stages.tune import charts, objectives, space, trial, tuned
from tao_lite.stages.tune.record import Record
from tao_lite.stages.tune.search import Search

_STATES = ("complete", "stopped", "waiting", "running", "diverged", "failed")


def conclude(search: Search, overrides: Sequence[str]) -> Summary:
    """Write what the trials say; `overrides` are the command line's, which the best spec needs too.

    Raises:
        RunError: no trial came to its end.
    """
    run, records = search.run, search.records()
    best = objectives.front([one for one in records if one.is_complete], search.objectives)
    summary = _summary(search, records, best)
    writing.write(run.tune_file(".csv"), writing.csv_text([_heads(search), *_rows(search, records)]))
    writing.write(run.tune_file(".md"), _markdown(search, records, summary))
    writing.write_json(run.summary("tune"), summary)
    console.table("Trials", _heads(search), [[_shown(cell) for cell in row] for row in _rows(search, records)])
    if not best:
        raise RunError(_nothing(search, records))
    for one, path in zip(best, [run.tuned, *(run.tuned_by(one.number) for one in best[1:])], strict=True):
        settings = [*overrides, *trial.settings(search.spec, one, search.objectives)]
        writing.write(path, tuned.text(search.spec.path, settings))
        console.line(f"{_words(search, one)}: {path}")
    _report(search, records, best[0], summary)
    console.line(f"Wrote {run.tune_file('.md')}, .csv and .json; curves: tensorboard --logdir {run.results}")
    return summary


def _summary(search: Search, records: Sequence[Record], best: Sequence[Record]) -> dict[str, Any]:
    config, baseline = search.spec.experiment.tune_config, next((one for one in records if one.is_baseline), None)
    counts = Counter(one.state for one in records if not one.is_baseline)
    return {
        "objectives": [one.name for one in search.objectives],
        "sampler": pb.TuneSampler.Kind.Name(config.sampler),
        "pruner": pb.TunePruner.Kind.Name(config.pruner),
        "rungs": list(search.rungs),
        "parameters": {one.field: one.words for one in search.parameters},
        "trials": {state: counts[state] for state in _STATES},
        "epochs": sum(one.epochs for one in records if not one.is_baseline),
        "epochs_if_all_were_whole": counts.total() * search.rungs[-1],
        "best": _of_trial(search, best[0]) if best else None,
        "front": [_of_trial(search, one) for one in best],
        "baseline": _of_trial(search, baseline) if baseline else None,
        "every_trial": [_of_trial(search, one) for one in records],
    }


def _of_trial(search: Search, one: Record) -> dict[str, Any]:
    names = [objective.key for objective in search.objectives]
    return {
        "trial": one.number,
        "is_baseline": one.is_baseline,
        "state": one.state,
        "epochs": one.epochs,
        "values": dict(zip(names, one.values.get(one.epochs, ()), strict=False)),
        "parameters": dict(one.parameters),
        "results": str(one.results),
        "failure": one.failure,
    }


def _heads(search: Search) -> list[str]:
    names = [objective.key for objective in search.objectives]
    return ["trial", "state", "epochs", *names, *(parameter.field for parameter in search.parameters)]


def _rows(search: Search, records: Sequence[Record]) -> list[list[object]]:
    """The furthest trials first, and of those the best."""
    order = sorted({one.epochs for one in records if one.values and not one.failure}, reverse=True)
    good = [
        one
        for epoch in order
        for one in objectives.ranked(
            [one for one in records if one.epochs == epoch and not one.failure], epoch, search.objectives
        )
    ]
    numbers = {one.number for one in good}
    return [_row(search, one) for one in (*good, *(one for one in records if one.number not in numbers))]


def _row(search: Search, one: Record) -> list[object]:
    values = [*one.values.get(one.epochs, ())]
    state = "baseline" if one.is_baseline and one.is_complete else one.state
    cells: list[object] = [*values, *[""] * (len(search.objectives) - len(values))]
    moved = [space.as_text(one.parameters[p.field]) if p.field in one.parameters else "" for p in search.parameters]
    return [one.number, state, one.epochs, *cells, *moved]


def _shown(cell: object) -> str:
    return f"{cell:.4f}" if isinstance(cell, float) else str(cell)


def _words(search: Search, one: Record) -> str:
    values = zip(search.objectives, one.values[one.epochs], strict=True)
    which = "The spec as it is" if one.is_baseline else f"Trial {one.number}"
    return f"{which}, {', '.join(f'{objective.key} {value:.4f}' for objective, value in values)}"


def _markdown(search: Search, records: Sequence[Record], summary: Mapping[str, Any]) -> str:
    heads = _heads(search)
    rows = [[_shown(cell) for cell in row] for row in _rows(search, records)]
    counts = ", ".join(f"{count} {state}" for state, count in summary["trials"].items() if count)
    blocks = [
        f"# Search of {search.spec.path.name}",
        f"{_totals(summary)} Trials: {counts or 'none'}.",
        "\n".join(f"| {' | '.join(line)} |" for line in [heads, ["---"] * len(heads), *rows]),
        "Values are those of the best epoch so far; `stopped` trials were not worth their last epochs.",
        "\n".join(f"* Trial {one.number}: {one.failure.splitlines()[0]}" for one in records if one.failure),
    ]
    return "\n\n".join(filter(None, blocks)) + "\n"


def _totals(summary: Mapping[str, Any]) -> str:
    whole = summary["epochs_if_all_were_whole"]
    return f"{summary['epochs']} epochs were trained; all trials to their end would have been {whole}."


def _nothing(search: Search, records: Sequence[Record]) -> str:
    failed = next((one.failure for one in records if one.failure), "")
    if any(not one.is_over for one in records) or not records:
        return f"{search.run.results}: no trial has come to its end yet; the same command goes on there"
    return f"{search.run.results}: no trial came to its end; the first that failed said: {failed}"


def _report(search: Search, records: Sequence[Record], best: Record, summary: Mapping[str, Any]) -> None:
    """The report: all trials together, then the best and the baseline side by side."""
    run = search.run
    shown = [best, *(one for one in records if one.is_baseline and one.is_complete and one.number != best.number)]
    try:
        pooled = Pooled(
            title=f"Search of {search.spec.path.name}",
            heading="All trials",
            words=f"{_words(search, best)}. {_totals(summary).removesuffix('.')}",
            heads=_heads(search),
            rows=_rows(search, records),
            pictures=list(charts.pictures(search, records)),
        )
        alone = replace(run.world, rank=0, world_size=1)
        report([one.results for one in shown], alone, output=run.report, pooled=pooled)
    except (RunError, ImportError) as error:
        console.line(f"The report was left out: {error}")
