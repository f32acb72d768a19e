"""Pruning by its stage: criteria, targets, rounds, comparison, sensitivity - and what refuses."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tao_lite import checkpoint as checkpoints
from tao_lite.checkpoint import Checkpoint
from tao_lite.cli.main import main
from tao_lite.data.pipeline import Pipeline
from tao_lite.data.preprocess import Preprocess
from tao_lite.errors import CheckpointError, PruneError, RunError, SpecError
from tao_lite.machine import distributed
from tao_lite.models import architectures
from tao_lite.run import Run
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.load import Spec, load
from tao_lite.stages.prune import choice, latency
from tao_lite.stages.prune.compare import compare
from tao_lite.stages.prune.prune import prune
from tao_lite.stages.prune.rounds import rounds
from tao_lite.stages.prune.sensitivity import sensitivity
from tao_lite.stages.train.train import train
from tao_lite.training.clock import Times
from tests.checkpoints import answering

SPEC = """
model_config { arch: "resnet" n_layers: 10 use_batch_norm: true input_image_size: "3,32,32" }
train_config {
  train_dataset_path: "%(data)s"
  optimizer { sgd { momentum: 0.9 } }
  batch_size_per_gpu: 30
  n_epochs: 2
  random_seed: 3
  preprocess_mode: "torch"
  lr_config { cosine { learning_rate: 0.02 } }
  precision: FP32
}
dataset_config { val_split: 0.3 }
"""
Prepared = Callable[..., tuple[Spec, Run]]


@pytest.fixture(scope="module")
def trained(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a network that tells three colours apart, and its spec."""
    folder = tmp_path_factory.mktemp("prune")
    (folder / "spec.cfg").write_text(SPEC % {"data": colours})
    train(load(folder / "spec.cfg"), Run(results=folder, world=distributed.start("cpu")))
    return folder


@pytest.fixture
def prepared(trained: Path, tmp_path: Path) -> Prepared:
    """The spec with overrides of prune_config, and a fresh folder."""

    def prepare(**fields: object) -> tuple[Spec, Run]:
        given = {"model_path": trained / "weights" / "best.pth", **fields}
        overrides = [f"prune_config.{name}={value}" for name, value in given.items()]
        spec = load(trained / "spec.cfg", stage="prune", overrides=overrides)
        return spec, Run(results=tmp_path, world=distributed.start("cpu"))

    return prepare


def written(run: Run, name: str = "prune") -> dict[str, object]:
    content = json.loads(run.summary(name).read_text())
    assert isinstance(content, dict)
    return content


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize("ranking", ["GLOBAL", "PER_LAYER"])
@pytest.mark.parametrize("criterion", ["MIN_WEIGHT", "BN_SCALE", "TAYLOR", "RANDOM"])
def test_every_criterion_reaches_the_target_and_is_the_same_twice(
    prepared: Prepared, criterion: str, ranking: str
) -> None:
    spec, run = prepared(criterion=criterion, ranking=ranking, target_ratio=0.5, criterion_batches=2)
    first, second = (prune(spec, run, measure=False) for _ in range(2))
    assert first == second
    assert 0.4 < float(str(first["pruning_ratio"])) <= 0.5
    assert first == written(run)
    assert (first["criterion"], first["ranking"], first["target"]) == (criterion, ranking, {"target_ratio": 0.5})


def test_a_target_of_macs_is_reached(prepared: Prepared) -> None:
    summary = prune(*prepared(target_macs=0.5), measure=False)
    assert 0.4 < int(str(summary["macs"])) / int(str(summary["macs_before"])) <= 0.5


def test_accuracy_and_latency_are_measured_before_and_after(
    prepared: Prepared, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, run = spec_and_run = prepared(target_ratio=0.5)
    prune(*spec_and_run)
    found = written(run)
    assert found["val_accuracy_before"] == json.loads((trained / "train.json").read_text())["val_accuracy"]
    latency = found["latency"]
    assert isinstance(latency, list)
    assert latency[0]["device"] == "cpu"
    assert latency[0]["threads"] == torch.get_num_threads()
    assert latency[0]["speedups"][0] == 1
    output = capsys.readouterr().out
    assert f"Latency of one image on cpu ({torch.get_num_threads()} threads): " in output
    assert f"Validation top-1 {found['val_accuracy_before']:.4f} -> {found['val_accuracy']:.4f}, before" in output


def test_without_its_images_a_network_is_pruned_all_the_same(
    prepared: Prepared, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, run = prepared(target_ratio=0.5)
    spec.experiment.train_config.train_dataset_path = str(tmp_path / "gone")
    prune(spec, run)
    found = written(run)
    assert run.pruned.is_file()
    assert found["val_accuracy"] is None
    assert "can't be read" in str(found["accuracy_not_measured"])
    assert "Accuracy was not measured: train_config.train_dataset_path: " in capsys.readouterr().out


def test_a_dry_run_writes_nothing(prepared: Prepared) -> None:
    spec, run = prepared(target_ratio=0.5)
    assert 0.4 < float(str(prune(spec, run, dry_run=True)["pruning_ratio"])) <= 0.5
    assert files(run.results) == set()


@pytest.mark.slow
def test_the_allowed_drop_of_accuracy_is_kept(prepared: Prepared) -> None:
    _, run = spec_and_run = prepared(max_accuracy_drop=0.1, pruning_granularity=4, min_num_filters=4)
    prune(*spec_and_run)
    found = written(run)
    before, after = float(str(found["val_accuracy_before"])), float(str(found["val_accuracy"]))
    tried = found["tried"]
    assert isinstance(tried, list)
    assert before - after <= 0.1
    assert float(str(found["pruning_ratio"])) < 1
    assert tried[0] == {"ratio": 1.0, "val_accuracy": before}
    assert len(tried) <= 10
    # What was refused is what costs more.
    assert all(one["ratio"] >= found["pruning_ratio"] or before - one["val_accuracy"] > 0.1 for one in tried)


@pytest.mark.slow
def test_the_allowed_drop_is_of_what_the_best_epoch_is_chosen_by(
    prepared: Prepared, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a loss it is a rise."""
    spec, run = prepared(max_accuracy_drop=0.1, pruning_granularity=4, min_num_filters=4)
    spec.experiment.train_config.checkpoint.best_metric = pb.BestMetric.LOSS
    prune(spec, run)
    found = written(run)
    before, after, tried = float(str(found["val_loss_before"])), float(str(found["val_loss"])), found["tried"]
    assert isinstance(tried, list)
    assert after - before <= 0.1
    assert tried[0] == {"ratio": 1.0, "val_loss": before}
    assert all(one["ratio"] >= found["pruning_ratio"] or one["val_loss"] - before > 0.1 for one in tried)
    assert f"Validation loss {before:.4f} -> {after:.4f}, before retraining" in capsys.readouterr().out
    assert "val_accuracy" in found


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"target_ratio": 0.5, "target_macs": 0.4},
            "prune_config sets target_ratio (0.5) and target_macs (0.4); only one can be met",
        ),
        (
            {"ranking": "PER_LAYER"},
            "prune_config.ranking is PER_LAYER, which cuts the same share of every layer; say how much with target_",
        ),
        (
            {"criterion": "TAYLOR"},
            "prune_config.criterion is TAYLOR, whose scores TAO's thresholds do not fit; say how much to cut with tar",
        ),
        ({"rounds": 2}, "prune_config.rounds needs a size to go to: set target_ratio or target_macs"),
        (
            {"rounds": 2, "max_accuracy_drop": 0.1},
            "prune_config.rounds needs a size to go to: set target_ratio or target_macs",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_named(
    prepared: Prepared, fields: dict[str, object], message: str
) -> None:
    spec, run = prepared(**fields)
    with pytest.raises(SpecError) as caught:
        (rounds if "rounds" in fields else prune)(spec, run)
    assert str(caught.value).startswith(message)
    assert files(run.results) == set()


@pytest.mark.parametrize(("target", "unit"), [("target_ratio", "parameters"), ("target_macs", "MACs")])
def test_a_target_out_of_reach_is_answered_with_the_least(prepared: Prepared, target: str, unit: str) -> None:
    spec, run = prepared(**{target: 0.01}, min_num_filters=32)
    with pytest.raises(
        PruneError, match=rf"^a ratio of 0.01 is out of reach: .* leave at least 0\.\d{{4}} of the {unit}$"
    ):
        prune(spec, run)
    assert files(run.results) == set()


def test_the_checkpoint_that_is_pruned_is_never_written(prepared: Prepared, trained: Path) -> None:
    best = trained / "weights" / "best.pth"
    before = best.read_bytes()
    with pytest.raises(SpecError, match=r"^prune_config.output_path is .*, the checkpoint to prune"):
        prune(*prepared(output_path=best.resolve()))
    prune(*prepared(target_ratio=0.5), measure=False)
    assert best.read_bytes() == before


@pytest.mark.slow
def test_rounds_end_at_the_target_trained_and_are_not_repeated(prepared: Prepared, trained: Path) -> None:
    spec, run = prepared(target_ratio=0.4, rounds=2, retrain_epochs=1)
    first = rounds(spec, run, measure=False)
    steps = first["rounds"]
    assert isinstance(steps, list)
    whole = int(str(first["num_parameters_before"]))
    shares = [one["num_parameters"] / whole for one in steps]
    assert 0.4**0.5 - 0.1 < shares[0] <= 0.4**0.5 + 1e-6
    assert 0.3 < shares[1] <= 0.4 + 1e-6
    assert checkpoints.load(run.pruned).epoch == 1
    stamps = {path: path.stat().st_mtime_ns for path in (run.results / "rounds").rglob("*.pth")}
    shutil.rmtree(run.results / "rounds" / "2")
    again = rounds(spec, run, measure=False)
    assert again == first
    kept = {path: stamp for path, stamp in stamps.items() if "/rounds/1/" in str(path)}
    assert kept
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in kept.items())


@pytest.mark.slow
def test_rounds_to_another_target_want_another_folder(prepared: Prepared) -> None:
    rounds(*prepared(target_ratio=0.5, rounds=1, retrain_epochs=1), measure=False)
    with pytest.raises(RunError, match=r"rounds/1: was begun with another prune_config; choose another folder"):
        rounds(*prepared(target_ratio=0.4, rounds=1, retrain_epochs=1), measure=False)


def test_rounds_need_what_training_needs(prepared: Prepared) -> None:
    spec, run = prepared(target_ratio=0.5, rounds=1)
    spec.experiment.train_config.ClearField("optimizer")
    with pytest.raises(SpecError, match=r"for retraining:.*train_config.optimizer: is missing"):
        rounds(spec, run)
    assert files(run.results) == set()


@pytest.mark.slow
def test_all_criteria_are_compared_at_one_size(prepared: Prepared, capsys: pytest.CaptureFixture[str]) -> None:
    _, run = spec_and_run = prepared(pruning_threshold=0.7, retrain_epochs=1, criterion_batches=2)
    compare(*spec_and_run)
    contenders = written(run, "compare")["contenders"]
    assert isinstance(contenders, list)
    names = [(one["criterion"], one["ranking"]) for one in contenders]
    assert names == [
        *((criterion, "GLOBAL") for criterion in ("MIN_WEIGHT", "BN_SCALE", "TAYLOR", "RANDOM")),
        *((criterion, "PER_LAYER") for criterion in ("MIN_WEIGHT", "BN_SCALE", "TAYLOR")),
    ]
    size = contenders[0]["pruning_ratio"]
    assert all(size - 0.1 < one["pruning_ratio"] <= size + 1e-6 for one in contenders)
    assert [one["val_accuracy_retrained"] is not None for one in contenders] == [True] * 4 + [False] * 3
    retrained = {path.parent.name for path in (run.results / "compare").glob("*/train.json")}
    assert retrained == {"min_weight", "bn_scale", "taylor", "random"}
    assert "times as fast  top-1 pruned  top-1 retrained" in capsys.readouterr().out


@pytest.mark.slow
def test_each_layer_is_pruned_alone(prepared: Prepared, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, run = prepared()
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)  # as where matplotlib is not installed
    sensitivity(spec, run)
    found = written(run, "sensitivity")
    layers = found["layers"]
    assert isinstance(layers, list)
    assert files(run.results) == {"sensitivity.json"}
    by_name = {layer["name"]: layer for layer in layers}
    # ResNet-10 without pooling has a projection in every stage: conv1, one layer and one pair of each stage.
    assert len(layers) == 1 + 4 + 4
    assert by_name["layer1.0.conv2"]["layers"] == ["layer1.0.conv2", "layer1.0.downsample.0"]
    assert by_name["layer2.0.conv1"]["kept"] == [96, 64, 32]
    costs = [sum(layer["top1"]) for layer in layers]
    assert costs == sorted(costs)


@pytest.mark.slow
def test_the_picture_of_the_layers_is_drawn(prepared: Prepared) -> None:
    pytest.importorskip("matplotlib")
    spec, run = prepared(excluded_layers='["conv1", "layer1.0.conv1", "layer2.0.conv1", "layer3.0.conv1"]')
    sensitivity(spec, run)
    assert (run.results / "sensitivity.png").read_bytes().startswith(b"\x89PNG")


def checkpoint_of(arch: str, path: Path) -> Path:
    """A fresh network of that name, saved."""
    model = pb.ModelConfig(arch=arch, use_batch_norm=True, input_image_size="3,224,224")
    network = architectures.build(model, 2)
    experiment = pb.Experiment()
    experiment.model_config.CopyFrom(model)
    preprocess = Pipeline.of(experiment, Preprocess.of_mode("torch", 3), is_cropped=False).to_dict()
    checkpoints.save(
        path,
        Checkpoint(
            spec=str(experiment), class_names=("a", "b"), preprocess=preprocess, network=network.state_dict(), epoch=1
        ),
    )
    return path


def test_the_spec_of_another_network_is_refused(prepared: Prepared) -> None:
    spec, run = prepared(target_ratio=0.5)
    spec.experiment.model_config.n_layers = 18
    with pytest.raises(
        SpecError, match=r"^model_config.n_layers is 18, but the network in .*best.pth has 10; give the"
    ):
        prune(spec, run)


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["torchvision/swin_t", "timm/convnext_atto", "timm/vit_tiny_patch16_224"])
def test_a_network_that_cannot_be_followed_is_refused_by_the_operation(
    arch: str, prepared: Prepared, tmp_path: Path
) -> None:
    path = checkpoint_of(arch, tmp_path / "weights" / "best.pth")
    spec, run = prepared(model_path=path, target_ratio=0.5)
    spec.experiment.ClearField("model_config")
    with pytest.raises(PruneError, match=r"^(permute|transpose|reshape)\w* \(.*channels can't be followed"):
        prune(spec, run)
    assert files(tmp_path) == {"weights/best.pth"}


def test_a_network_whose_every_layer_must_stay_is_refused(prepared: Prepared, tmp_path: Path) -> None:
    path = checkpoint_of("timm/resnetv2_50x1_bit", tmp_path / "weights" / "best.pth")
    spec, run = prepared(model_path=path, target_ratio=0.5)
    spec.experiment.ClearField("model_config")
    with pytest.raises(PruneError, match=r"^ResNetV2: no layer can be cut: stem.conv is a StdConv2d, whose channels"):
        prune(spec, run)


def test_foreign_and_damaged_files_are_refused(prepared: Prepared, trained: Path, tmp_path: Path) -> None:
    foreign, damaged = tmp_path / "foreign.pth", tmp_path / "damaged.pth"
    torch.save({"conv1.weight": torch.zeros(3)}, foreign)
    content = bytearray((trained / "weights" / "best.pth").read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(CheckpointError, match="is not a tao_lite checkpoint"):
        prune(*prepared(model_path=foreign))
    with pytest.raises(CheckpointError, match="is damaged"):
        prune(*prepared(model_path=damaged))
    assert files(tmp_path) == {"foreign.pth", "damaged.pth"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--sensitivity", "--compare"), "Error: --sensitivity and --compare can't be combined"),
        (("--target_ratio", "0.5", "--target_macs", "0.5"), "Error: prune_config sets target_ratio (0.5) and target_m"),
        (("--target_ratio", "1.5"), "prune_config.target_ratio: found 1.5, must be >= 0 and <= 1"),
        (("--criterion", "MAGNITUDE"), "is not one of 'MIN_WEIGHT', 'BN_SCALE', 'TAYLOR', 'RANDOM'"),
        (("--target_ratio", "0.01", "-nf", "64"), "Error: a ratio of 0.01 is out of reach"),
        (("-el", "layer2.0.conv3"), "(did you mean 'layer2.0.conv1'?)"),
        (
            ("--target_ratio", "0.5", "-o", "%(best)s"),
            "weights/best.pth, the checkpoint to prune; give it another name",
        ),
        (("-m", "%(spec)s"), "spec.cfg: is not a tao_lite checkpoint, or its end is cut off"),
    ],
)
def test_the_command_line_refuses_with_exit_2_and_no_traceback(
    arguments: tuple[str, ...], message: str, trained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    names = {"best": trained / "weights" / "best.pth", "spec": trained / "spec.cfg"}
    given = ("prune", "-m", "%(best)s", "-r", str(tmp_path), *arguments)
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*") if path.is_file()}
    with pytest.raises(SystemExit) as stopped:
        main([argument % names for argument in given])
    errors = capfd.readouterr().err
    assert stopped.value.code == 2, errors
    assert message in errors
    assert "Traceback" not in errors
    assert files(tmp_path) == set()
    assert {path: path.stat().st_mtime_ns for path in trained.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_the_command_line_goes_its_rounds(trained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    best, asked = trained / "weights" / "best.pth", ("--rounds", "1", "--retrain_epochs", "1", "--target_macs", "0.5")
    with pytest.raises(SystemExit) as stopped:
        main(["prune", "-m", str(best), "-r", str(tmp_path), *asked, "--no_measure"])
    assert stopped.value.code == 0
    found = json.loads((tmp_path / "prune.json").read_text())
    assert found["target"] == {"target_macs": 0.5}
    assert 0.4 < found["macs"] / found["macs_before"] <= 0.5 + 1e-6
    assert found["is_trained"]
    assert "pruned and trained, ready to use" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "target"),
    [(("-pth", "0.7"), {}), (("--target_macs", "0.6"), {"target_macs": 0.6}), ((), {"target_ratio": 0.5})],
)
def test_a_size_on_the_command_line_replaces_the_one_of_the_spec(
    trained: Path, tmp_path: Path, arguments: tuple[str, ...], target: dict[str, float]
) -> None:
    spec, best = tmp_path / "spec.cfg", trained / "weights" / "best.pth"
    spec.write_text((trained / "spec.cfg").read_text() + "prune_config { target_ratio: 0.5 }")
    with pytest.raises(SystemExit) as stopped:
        main(["prune", "-e", str(spec), "-m", str(best), "-r", str(tmp_path), "--no_measure", *arguments])
    assert stopped.value.code == 0
    assert json.loads((tmp_path / "prune.json").read_text())["target"] == target


def test_weights_are_normalised_and_losses_are_not_unless_the_spec_says_so() -> None:
    taylor = pb.PruneConfig(criterion=pb.PruneCriterion.TAYLOR)
    assert choice.rule(pb.PruneConfig()).normalizer == "max"
    assert choice.rule(taylor).normalizer == "off"
    taylor.normalizer = "L2"
    assert choice.rule(taylor).normalizer == "L2"


@pytest.mark.parametrize(("target", "kind"), [("0.8", "target_latency"), ("500ms", "target_latency_milliseconds")])
def test_a_network_is_pruned_to_a_time(
    prepared: Prepared, capsys: pytest.CaptureFixture[str], target: str, kind: str
) -> None:
    spec, run = prepared(target_latency=target)
    found = prune(spec, run, measure=False)
    assert found["target"] == {kind: float(target.removesuffix("ms"))}
    judged = found["latency_target"]
    assert isinstance(judged, dict)
    assert judged["runtime"] == "TORCH"
    assert 0 < judged["share_low"] <= judged["share"] <= judged["share_high"]
    assert "Time of one image in TORCH: " in capsys.readouterr().out
    # All of it takes less than half a second.
    assert (found["pruning_ratio"] == 1) == (kind == "target_latency_milliseconds")


def test_a_time_that_no_width_reaches_is_answered_with_the_least(prepared: Prepared) -> None:
    with pytest.raises(PruneError, match=r"a time of 1e-06 ms is out of reach: .* leave a network that takes .* ms"):
        prune(*prepared(target_latency="0.000001ms"), measure=False)


@pytest.mark.parametrize(
    ("limit", "low", "high", "is_met", "is_sure"),
    [
        (0.5, 0.48, 0.53, True, True),
        (0.5, 0.48, 0.56, True, False),
        (0.4, 0.48, 0.53, False, True),
        (0.4, 0.43, 0.53, False, False),
    ],
)
def test_a_verdict_within_the_spread_says_so(
    limit: float, low: float, high: float, *, is_met: bool, is_sure: bool
) -> None:
    after = Times(5, 0.5, low, high)
    for wanted in ((latency.SHARE, limit), (latency.MILLISECONDS, 10 * limit)):
        found = latency.verdict(after, wanted)
        assert (found.is_met, found.is_sure) == (is_met, is_sure)
        assert ("lies within the spread" in found.words) == (not is_sure)


def test_channels_come_in_what_the_processor_computes_at_once_unless_the_spec_says_otherwise() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    width = 16 if torch.backends.cpu.get_cpu_capability().startswith("AVX512") else 8
    timed = pb.PruneConfig(target_latency="0.5")
    assert [latency.granularity(one, cpu) for one in (timed, pb.PruneConfig())] == [width, 8]
    assert latency.granularity(pb.PruneConfig(target_latency="0.5", pruning_granularity=4), cpu) == 4
    assert latency.granularity(timed, cuda) == 32
    assert latency.granularity(pb.PruneConfig(target_latency="0.5", runtime=pb.Runtime.ONNXRUNTIME), cuda) == width


@pytest.mark.slow
def test_blocks_go_before_channels_and_the_target_is_of_the_whole(tmp_path: Path) -> None:
    config = 'arch: "resnet" n_layers: 18 use_batch_norm: true input_image_size: "3,32,32"'
    source = answering(tmp_path, config, "torch")

    def pruned(*more: str) -> dict[str, object]:
        with pytest.raises(SystemExit, match="0"):
            main(
                ["prune", "-m", str(source), "-r", str(tmp_path), "--no_measure", "--gpus", "0", "--blocks", "2", *more]
            )
        found = json.loads((tmp_path / "prune.json").read_text())
        assert isinstance(found, dict)
        return found

    alone = pruned()
    names, layers = alone["blocks"], alone["layers"]
    assert isinstance(names, list)
    assert isinstance(layers, list)
    gone = [layer["name"] for layer in layers if layer["channels_after"] < layer["channels_before"]]
    assert {name.rpartition(".")[0] for name in gone} == set(names)
    assert len(names) == 2
    again = pruned("--target_ratio", "0.5")
    assert 0.4 < float(str(again["pruning_ratio"])) <= 0.5
    rebuilt = checkpoints.network(checkpoints.load(tmp_path / "weights" / "pruned.pth"))
    assert all(isinstance(rebuilt.get_submodule(name), torch.nn.Identity) for name in names)
