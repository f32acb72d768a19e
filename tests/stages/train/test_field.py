"""What went wrong with results folders in the field: nothing is lost there, nothing is silently wrong."""

import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from tao_lite import checkpoint as checkpoints
from tao_lite.data.dataset import DataSet
from tao_lite.data.example import Example
from tao_lite.errors import ReadError, RunError, SpecError
from tao_lite.machine import distributed
from tao_lite.run import Run
from tao_lite.spec.load import Spec, load
from tao_lite.stages.train import restart
from tao_lite.stages.train.fingerprint import Changes, Fingerprint
from tao_lite.stages.train.train import Demands, train
from tao_lite.training.validation import evaluate_network
from tests.stages.train.test_restart import checkpoint

SPEC = """
model_config { arch: "timm/test_resnet" input_image_size: "3,32,32" }
train_config {
  train_dataset_path: "%(data)s"
  optimizer { sgd { momentum: 0.9 } }
  batch_size_per_gpu: %(batch_size)s
  n_epochs: %(n_epochs)s
  preprocess_mode: "torch"
  checkpoint { keep_last: 9 }
  lr_config { cosine { learning_rate: %(learning_rate)s } }
  precision: FP32
}
dataset_config { val_split: 0.3 }
"""


@pytest.fixture
def data(colours: Path, tmp_path: Path) -> Path:
    """10 pictures of each of three colours."""
    root = tmp_path / "data"
    for path in sorted(colours.glob("*/00?.png")):
        (root / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, root / path.parent.name)
    return root


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(results=tmp_path / "results", world=distributed.start("cpu"))


def spec(data: Path, *, n_epochs: int = 2, batch_size: int = 8, learning_rate: float = 0.01) -> Spec:
    path = data.with_name("spec.cfg")
    values = {"n_epochs": n_epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    path.write_text(SPEC % {"data": data, **values})
    return load(path)


def state(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {path.name: (path.read_bytes(), path.lstat().st_mtime_ns) for path in files}


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_checkpoint_that_can_not_be_read_now_is_waited_for_and_never_passed_over(data: Path, run: Run) -> None:
    """FIELD.md A1. Reading the memory of a process at 0 gives EIO."""
    train(spec(data), run)
    newest = run.weights / "timm_test_resnet_002.pth"
    newest.unlink()
    before = state(run.weights)
    newest.symlink_to("/proc/self/mem")
    with pytest.raises(ReadError, match=r"timm_test_resnet_002\.pth: can't be read now \(Input/output error, EIO\)"):
        train(spec(data, n_epochs=3), run)
    newest.unlink()
    assert state(run.weights) == before


def test_nothing_is_trained_over_checkpoints_that_are_all_damaged(
    data: Path, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """FIELD.md A1."""
    train(spec(data), run)
    names = ("timm_test_resnet_001.pth", "timm_test_resnet_002.pth")
    for name in names:
        damage(run.weights / name)
    before = state(run.results)
    with pytest.raises(RunError, match=r"all checkpoints there are damaged \(.*002\.pth, .*001\.pth\).*--fresh"):
        train(spec(data), run)
    assert state(run.results) == before
    for number in (1, 2):
        assert train(spec(data, n_epochs=1), run, Demands(is_fresh=True))["epochs"] == 1
        assert f"the weights of the run before moved to {run.set_aside(number)}" in caplog.text
    assert {path.name for path in run.set_aside(1).iterdir()} == {*names, "best.pth", "latest.pth", "train.json"}
    assert (run.set_aside(1) / names[1]).read_bytes() == before[names[1]][0]


def test_links_follow_the_checkpoints_when_a_finished_run_is_started_again(data: Path, run: Run) -> None:
    """FIELD.md A2."""
    train(spec(data), run)
    whole = {link: link.readlink() for link in (run.latest, run.best)}
    before = state(run.results)
    train(spec(data), run)
    assert state(run.results) == before
    for link in whole:
        link.unlink()
    train(spec(data), run)
    assert {link: link.readlink() for link in whole} == whole
    for link, target in whole.items():
        other = {"timm_test_resnet_001.pth", "timm_test_resnet_002.pth"} - {str(target)}
        link.unlink()
        link.symlink_to(other.pop())
    train(spec(data), run)
    assert {link: link.readlink() for link in whole} == whole
    assert {name: one for name, one in state(run.results).items() if name not in ("latest.pth", "best.pth")} == {
        name: one for name, one in before.items() if name not in ("latest.pth", "best.pth")
    }


def change(data: Path) -> None:
    """One picture goes, two come, one changes its class, one its content."""
    (data / "red" / "000.png").unlink()
    shutil.copy(data / "red" / "001.png", data / "red" / "100.png")
    shutil.copy(data / "red" / "002.png", data / "red" / "101.png")
    (data / "red" / "003.png").rename(data / "red" / "unique.png")
    (data / "blue" / "004.png").write_bytes((data / "blue" / "004.png").read_bytes() + b"\0")


CHANGED = "3 examples were added, 2 removed, 1 moved to another class, 1 changed"


def test_a_changed_data_set_is_counted_on_resume_and_refused_where_that_is_asked(
    data: Path, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """FIELD.md A4. A new name is one picture less and one more."""
    shutil.copy(data / "red" / "005.png", data / "red" / "moves.png")
    train(spec(data, n_epochs=1), run)
    train(spec(data), run, Demands(same_data=True))
    assert "the data set is not" not in caplog.text
    change(data)
    (data / "red" / "moves.png").rename(data / "green" / "moves.png")
    with pytest.raises(RunError, match=f"the data set is not the one of the run before: {CHANGED}; bring it back"):
        train(spec(data, n_epochs=3), run, Demands(same_data=True))
    assert train(spec(data, n_epochs=3), run)["epochs"] == 3
    assert f"the data set is not the one of the run before: {CHANGED}" in caplog.text
    assert "begun anew" not in caplog.text


def test_an_epoch_begun_on_other_images_is_begun_anew(data: Path, run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """FIELD.md A4."""
    train(spec(data, n_epochs=1), run)
    whole = checkpoints.load(run.latest)
    stats = {**whole.training["progress"]["stats"], "batches": 1, "images": 8}
    progress = {**whole.training["progress"], "stats": stats}
    checkpoints.save(run.interrupted, replace(whole, batch=1, training={**whole.training, "progress": progress}))
    change(data)
    train(spec(data), run)
    assert "epoch 2 is begun anew: its first 1 batches were of other training images" in caplog.text
    images = checkpoints.load(run.latest).training["progress"]["images"]
    num_train = sum(checkpoints.load(run.latest).training["data"]["train"]["counts"])
    assert images == whole.training["progress"]["images"] + num_train


def test_another_weight_is_a_change() -> None:
    before = DataSet((Example(Path("/x/a/1.png"), "a", "1"), Example(Path("/x/a/2.png"), "a", "2")), ("a",))
    after = replace(before, examples=(before.examples[0], replace(before.examples[1], weight=2)))
    prints = [Fingerprint.of(data, Path("/x")) for data in (before, after)]
    assert Changes.between(*prints) == Changes(0, 0, 0, 1)


def test_pictures_beside_annotations_have_the_same_names_wherever_the_data_lies(tmp_path: Path) -> None:
    prints = []
    for root in (tmp_path / "a", tmp_path / "b"):
        (root / "annotations").mkdir(parents=True)
        (root / "annotations/x.json").touch()
        data = DataSet((Example(root / "train/1.png", "a", "1"),), ("a",))
        prints.append(Fingerprint.of(data, root / "annotations/x.json"))
    assert not Changes.between(*prints)


def test_changes_of_nothing_are_false() -> None:
    assert not Changes(0, 0, 0, 0)
    assert all(Changes(**{**asdict(Changes(0, 0, 0, 0)), name: 1}) for name in ("added", "removed", "moved", "changed"))


def test_a_folder_that_was_taken_away_is_not_saved_in(run: Run) -> None:
    """FIELD.md A5."""
    with run.hold():
        restart.save(run, "resnet", checkpoint(1), keep_last=1, best_epoch=1)
        run.results.rename(run.results.with_name("moved"))
        with pytest.raises(RunError, match="was removed or moved while this run was at work"):
            restart.save(run, "resnet", checkpoint(2), keep_last=1, best_epoch=2)
        assert not run.results.exists()
        other = replace(run)
        with other.hold():
            restart.save(other, "resnet", checkpoint(1), keep_last=1, best_epoch=1)
            before = state(run.results)
            with pytest.raises(RunError, match="another run may be there now"):
                restart.save(run, "resnet", checkpoint(2), keep_last=1, best_epoch=2)
            assert state(run.results) == before


def test_a_training_ends_when_its_folder_was_taken_away(data: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """FIELD.md A5. The folder goes while the first epoch is validated."""

    def gone(*given: object, **named: object) -> object:
        shutil.rmtree(run.results)
        run.results.mkdir()
        return evaluate_network(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr("tao_lite.stages.train.epochs.evaluate_network", gone)
    with pytest.raises(RunError, match="was removed or moved while this run was at work"):
        train(spec(data), run)
    assert list(run.results.iterdir()) == []


def test_a_network_whose_validation_is_not_finite_is_not_saved(data: Path, run: Run) -> None:
    """FIELD.md A6. One step for the epoch: its loss is that of the weights before it."""
    with pytest.raises(RunError, match=r"the validation loss is (nan|inf) in epoch 1, which was not saved; lower the"):
        train(spec(data, batch_size=64, learning_rate=1e30), run)
    assert not list(run.results.glob("weights/*"))


def test_batch_norm_of_one_value_is_a_mistake_of_the_spec(data: Path, run: Run) -> None:
    """FIELD.md B10. 32 pixels become 1 in this network."""
    with pytest.raises(SpecError, match=r"train_config\.batch_size_per_gpu: a batch of one image leaves batch norm"):
        train(spec(data, batch_size=1), run)


def test_what_killed_writers_left_is_removed_when_the_folder_is_held(run: Run) -> None:
    """FIELD.md B7."""
    run.weights.mkdir(parents=True)
    left = [folder / f".tao_lite-{'0' * 16}.part" for folder in (run.results, run.weights)]
    for path in left:
        path.write_text("half of a checkpoint")
    with run.hold():
        assert [path for path in left if path.exists()] == []


def test_the_run_s_files_are_not_written_through_links(
    data: Path, run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """FIELD.md C4."""
    target = tmp_path / "of_the_user"
    target.write_text("precious")
    run.results.mkdir()
    run.lock.symlink_to(target)
    with pytest.raises(RunError, match=r"\.lock: is a link, and is not written through; remove it"), run.hold():
        pass
    run.lock.unlink()
    for path in (run.status, run.training_csv):
        path.symlink_to(target)
    assert train(spec(data, n_epochs=1), run)["epochs"] == 1
    assert f"{run.status} was given up: {run.status}: is a link" in caplog.text
    assert target.read_text() == "precious"
    assert not run.training_csv.is_symlink()
