"""Prune in rounds: a part of the way to the target, some epochs of training, the next part."""

from dataclasses import dataclass, replace
from pathlib import Path

from tao_lite import checkpoint as checkpoints
from tao_lite.errors import SpecError
from tao_lite.files import writing
from tao_lite.monitor import console
from tao_lite.pruning import sizes
from tao_lite.pruning.sizes import Comparison
from tao_lite.run import Run, Summary
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.load import Spec
from tao_lite.stages.prune import choice, retrain
from tao_lite.stages.prune.prune import before_and_after, measured, prune
from tao_lite.stages.prune.subject import Subject, load_subject
from tao_lite.stages.train import again


@dataclass(frozen=True)
class Round:
    """One round: its place from 1 on, its folder, and the share of the original that it leaves."""

    number: int
    run: Run
    share: float


def rounds(spec: Spec, run: Run, *, measure: bool = True) -> Summary:
    """Prune and train prune_config.rounds times; the summary is prune.json, the rounds are in the folder rounds.

    The trained network is written where a pruned one would be. What is complete is not repeated.

    Raises:
        TaoLiteError: as `prune` and `train`, for a target that has no way to it, and for a folder of other rounds.
        Interrupted: as `train`; the same command goes on there.
    """
    subject = load_subject(spec, run)
    target, value = _target(subject.config)
    training = retrain.spec_of(spec, subject, subject.config.retrain_epochs)
    source, rows = subject.source, list[dict[str, object]]()
    for number in range(1, subject.config.rounds + 1):
        share = value ** (number / subject.config.rounds)  # each round leaves the same part of what it finds
        one = Round(number, replace(run, results=run.round(number)), share)
        pruned = _prune(spec, subject, source, one)
        accuracy = again.retrain(training, one.run, pruned)["val_accuracy"]
        source = one.run.best
        changes = _changes(subject, source)
        rows.append(
            {"round": number, "num_parameters": changes.parameters_after, "macs": changes.macs_after}
            | {"val_accuracy": accuracy, "model_path": str(source)}
        )
    return _finish(subject, source, {"target": {target: value}, "rounds": rows}, measure=measure)


def _target(config: pb.PruneConfig) -> tuple[str, float]:
    found = choice.target_of(config)
    if found is None or found[0] not in ("target_ratio", "target_macs"):
        raise SpecError("prune_config.rounds needs a size to go to: set target_ratio or target_macs")
    return found


def _prune(spec: Spec, subject: Subject, source: Path, one: Round) -> Path:
    """The round's pruned checkpoint, made unless it is there."""
    experiment, pruned = pb.Experiment(), one.run.pruned
    experiment.CopyFrom(spec.experiment)
    config, name = experiment.prune_config, _target(subject.config)[0]
    changes = _changes(subject, source)
    before, after = (
        (changes.parameters_before, changes.parameters_after)
        if name == "target_ratio"
        else (changes.macs_before, changes.macs_after)
    )
    config.CopyFrom(choice.with_target(config, name, min(one.share * before / after, 1.0)))
    config.rounds = 0
    if one.number > 1:
        config.ClearField("blocks")
    retrain.claim(one.run, config, source)
    if not again.is_there(pruned, one.run):
        config.model_path, config.output_path = str(source), str(pruned)
        if one.run.is_main:
            console.line(f"Round {one.number} of {subject.config.rounds}: to {one.share:.4f} of the original")
        prune(replace(spec, experiment=experiment), one.run, measure=False)
    return pruned


def _changes(subject: Subject, path: Path) -> Comparison:
    return sizes.compare(subject.network, checkpoints.network(checkpoints.load(path)), subject.shape)


def _finish(subject: Subject, source: Path, facts: dict[str, object], *, measure: bool) -> Summary:
    """Write the last round's network, trained, and say what became of it."""
    found, run = checkpoints.load(source), subject.run
    network, target = checkpoints.network(found).eval(), Path(subject.config.output_path or run.pruned)
    summary = facts | before_and_after(sizes.compare(subject.network, network, subject.shape))
    if run.is_main:
        checkpoints.save(target, replace(found, training={}))
        console.table("Rounds", ("round", "parameters", "MACs", "top-1"), _rows(facts["rounds"]))
        console.line(f"Wrote {target}, {target.stat().st_size / 1e6:.1f} MB: pruned and trained, ready to use")
    run.world.barrier()
    summary |= {"model_path": str(target), "bytes": target.stat().st_size, "is_trained": True}
    if measure:
        summary |= measured(subject, network, when="after training")
    if run.is_main:
        writing.write_json(run.summary("prune"), summary)
    return summary


def _rows(rounds: object) -> list[list[object]]:
    assert isinstance(rounds, list)
    return [[row["round"], row["num_parameters"], row["macs"], row["val_accuracy"]] for row in rounds]
