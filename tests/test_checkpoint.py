"""Checkpoints: the same network comes back, and nothing else is taken for one."""

import dataclasses
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import torch
from google.protobuf import text_format

from tao_lite import checkpoint as checkpoints
from tao_lite.checkpoint import Checkpoint
from tao_lite.data.pipeline import Pipeline
from tao_lite.data.preprocess import Preprocess
from tao_lite.errors import CheckpointError, RunError
from tao_lite.files import writing
from tao_lite.models import architectures
from tao_lite.spec import classification_pb2 as pb
from tests.checkpoints import training

MODEL = pb.ModelConfig(arch="resnet", n_layers=10, input_image_size="3,32,32", use_batch_norm=True)


@pytest.fixture
def checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    network = architectures.build(MODEL, 2)
    return Checkpoint(
        spec=text_format.MessageToString(pb.Experiment(model_config=MODEL)),
        class_names=("cat", "dog"),
        preprocess=Pipeline.of(
            pb.Experiment(model_config=MODEL), Preprocess.of_mode("torch", 3), is_cropped=False
        ).to_dict(),
        network=network.state_dict(),
        epoch=3,
        metrics={"val_accuracy": 0.5},
        training=training(),
    )


def test_a_checkpoint_comes_back_whole(tmp_path: Path, checkpoint: Checkpoint) -> None:
    path = tmp_path / "weights" / "resnet_003.pth"
    checkpoints.save(path, checkpoint)
    loaded = checkpoints.load(path)
    for field in dataclasses.fields(Checkpoint):
        if field.name not in ("network", "training"):
            assert getattr(loaded, field.name) == getattr(checkpoint, field.name), field.name
    assert repr(loaded.training) == repr(checkpoint.training)
    images = torch.randn(2, 3, 32, 32)
    network, same = (checkpoints.network(one).eval() for one in (checkpoint, loaded))
    assert torch.equal(network(images), same(images))
    assert os.listdir(path.parent) == [path.name]


def test_the_spec_is_parsed_once_and_saved_as_text(tmp_path: Path, checkpoint: Checkpoint) -> None:
    assert checkpoint.experiment is checkpoint.experiment
    checkpoints.save(tmp_path / "a.pth", checkpoint)
    assert checkpoints.load(tmp_path / "a.pth").experiment == checkpoint.experiment


def test_the_spec_is_read_without_the_tensors(tmp_path: Path, checkpoint: Checkpoint) -> None:
    path = tmp_path / "a.pth"
    checkpoints.save(path, checkpoint)
    content, tensor = bytearray(path.read_bytes()), checkpoint.network["layer4.0.conv2.weight"].numpy().tobytes()
    content[content.index(tensor)] ^= 1
    path.write_bytes(content)
    assert checkpoints.spec(path) == checkpoint.spec
    with pytest.raises(CheckpointError, match="is damaged"):
        checkpoints.load(path)


def test_other_programs_can_read_it(tmp_path: Path, checkpoint: Checkpoint) -> None:
    path = tmp_path / "a.pth"
    checkpoints.save(path, checkpoint)
    assert torch.load(path, weights_only=True)["epoch"] == 3
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.comment.startswith(b"sha256:")


def test_any_flipped_bit_is_noticed(tmp_path: Path, checkpoint: Checkpoint) -> None:
    path = tmp_path / "a.pth"
    checkpoints.save(path, checkpoint)
    intact = path.read_bytes()
    choose = random.Random(0)
    for position in [*(choose.randrange(len(intact)) for _ in range(20)), len(intact) - 1, len(intact) - 75]:
        damaged = bytearray(intact)
        damaged[position] ^= 1 << choose.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"^.*a\.pth: (is damaged|is not a tao_lite checkpoint|is no)"):
            checkpoints.load(path)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_cut_off_file_is_noticed(tmp_path: Path, checkpoint: Checkpoint, share: float) -> None:
    path = tmp_path / "a.pth"
    checkpoints.save(path, checkpoint)
    intact = path.read_bytes()
    path.write_bytes(intact[: int(len(intact) * share)])
    with pytest.raises(CheckpointError, match="is not a tao_lite checkpoint, or its end is cut off"):
        checkpoints.load(path)


def test_files_of_others_are_told_apart(tmp_path: Path) -> None:
    foreign, absent = tmp_path / "foreign.pth", tmp_path / "absent.pth"
    torch.save({"conv1.weight": torch.zeros(1)}, foreign)
    assert not checkpoints.is_ours(foreign)
    with pytest.raises(CheckpointError, match=r"foreign\.pth: is not a tao_lite checkpoint"):
        checkpoints.load(foreign)
    with pytest.raises(CheckpointError, match=r"absent\.pth: no such file; give a checkpoint such as"):
        checkpoints.load(absent)


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path: Path, checkpoint: Checkpoint) -> None:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("needs root and mount, to make a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=30m", "none", str(disk)], check=False)
    if mounted.returncode:
        pytest.skip("mount is not allowed here")
    try:
        path = disk / "a.pth"
        checkpoints.save(path, checkpoint)  # about 20 MB; two do not fit
        with pytest.raises(RunError, match=r"a\.pth: could not be written .* bytes are needed, [0-9,]+ are free there"):
            checkpoints.save(path, dataclasses.replace(checkpoint, epoch=4))
        assert checkpoints.load(path).epoch == 3
        assert os.listdir(disk) == ["a.pth"]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


_SAVE_FOREVER = """
import sys, torch
from pathlib import Path
from tao_lite import checkpoint
one = checkpoint.load(Path(sys.argv[1]))
import dataclasses
print("ready", flush=True)
for epoch in range(10**6):
    checkpoint.save(Path(sys.argv[1]), dataclasses.replace(one, epoch=epoch))
"""


@pytest.mark.slow
def test_a_process_killed_while_saving_leaves_a_whole_file(tmp_path: Path, checkpoint: Checkpoint) -> None:
    path = tmp_path / "a.pth"
    checkpoints.save(path, checkpoint)
    choose = random.Random(1)
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", _SAVE_FOREVER, str(path)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(choose.uniform(0.05, 0.4))
            process.send_signal(signal.SIGKILL)
        checkpoints.load(path)


def test_a_link_moves_atomically_to_its_new_target(tmp_path: Path) -> None:
    for name in ("a.pth", "b.pth"):
        (tmp_path / name).write_text(name)
        writing.link(tmp_path / "best.pth", tmp_path / name)
        assert (tmp_path / "best.pth").read_text() == name
    assert sorted(os.listdir(tmp_path)) == ["a.pth", "b.pth", "best.pth"]
