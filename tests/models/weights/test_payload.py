"""What is in a checkpoint: a field that is missing, unknown or of another type is named; an older format opens."""

import copy
import dataclasses
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tao_lite import checkpoint as checkpoints
from tao_lite.checkpoint import Checkpoint
from tao_lite.data import pipeline as pipelines
from tao_lite.errors import CheckpointError
from tao_lite.files import plain
from tao_lite.models.weights import payload
from tao_lite.run import Run
from tao_lite.spec.load import load
from tao_lite.stages.train.train import train
from tests.conftest import ROOT

# Made by commit edf7aaf: a resnet of 10 layers, pruned, and what its training saved after 2 and 3 epochs.
GOLDEN = ROOT / "tests" / "golden" / "checkpoint_1"

NAMED_BY_THE_NETWORK = ("network", "training.network", "training.optimizer.state", "metrics", "reject.tensors")
OPTIONAL = ("reject", "training.network", "training.processes", "training.begun_with", "training.progress.stats.done")
MAY_BE_NONE = ("training.progress.best_train_loss",)
OTHERS = ("text", 1, 2.5, True, None, [None], {"a": None}, torch.zeros(1))


@functools.cache
def whole() -> dict[str, Any]:
    """A payload of this version in which no part is empty."""
    older = checkpoints.load(GOLDEN / "resnet_002.pth")
    train_data, val_data = ({"counts": [2, 1], "hashes": torch.zeros(3, dtype=torch.int64)} for _ in range(2))
    scaler = {"scale": 1.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 9, "_growth_tracker": 0}
    content = {one.name: getattr(older, one.name) for one in dataclasses.fields(Checkpoint)}
    content |= {"class_names": ["blue", "green"]}
    content |= {"preprocess": checkpoints.pipeline(older).to_dict()}
    content["training"] = {
        **older.training,
        "precision": {**older.training["precision"], "scaler": scaler},
        "progress": {
            **older.training["progress"],
            "best_train_loss": 0.5,
            "stats": {**older.training["progress"]["stats"], "done": 8, "correct": 5.5},
        },
        "network": {"a": torch.zeros(1)},
        "processes": 3,
        "begun_with": 2,
        "data": {"train": train_data, "val": val_data},
    }
    content["reject"] = {
        "score": "DISTANCE",
        "temperature": 1.0,
        "threshold": -3.5,
        "promise": "coverage",
        "promised": 0.5,
        "num_images": 4,
        "num_accepted": 2,
        "num_wrong": 1,
        "tensors": {"means": torch.zeros(2, 3), "whitening": torch.zeros(3, 3)},
    }
    return content


def members(content: Any, name: str = "") -> Iterator[tuple[Any, Any, str]]:
    """The places in the payload: the container, the key in it, and the name that messages give to it."""
    if isinstance(content, dict):
        keys = list(content)[:1] if name in NAMED_BY_THE_NETWORK else list(content)
        keys = ["params"] if name.endswith("param_groups[0]") else keys
        for key in keys:
            its_name = f"{name}.{key}" if name else key
            yield content, key, its_name
            yield from members(content[key], its_name)
    elif isinstance(content, list):
        yield content, 0, f"{name}[0]"
        yield from members(content[0], f"{name}[0]")


def problem(content: object) -> str | None:
    return plain.problem(payload.check(payload.VERSION, plain.fields(pipelines.SCHEMA)), content)


def test_a_whole_payload_has_no_problem() -> None:
    assert problem(whole()) is None
    assert len(list(members(whole()))) > 60


def test_each_field_of_another_type_is_named() -> None:
    """FIELD.md B5."""
    content = copy.deepcopy(whole())
    for container, key, name in members(content):
        given = container[key]
        for other in OTHERS:
            is_number = type(given) is float and type(other) is int
            if (type(other) is type(given) and type(given) is not dict) or is_number:
                continue
            if other is None and name in MAY_BE_NONE:
                continue
            if isinstance(given, list) and isinstance(other, list):
                continue
            container[key] = other
            assert (problem(content) or "").startswith(name), (name, other)
        container[key] = given
    assert problem(content) is None


def test_each_missing_field_is_named() -> None:
    """FIELD.md B5. Which tensors there must be is the network's to say."""
    content = copy.deepcopy(whole())
    for container, key, name in members(content):
        is_free = name in OPTIONAL or name.rpartition(".")[0].startswith(NAMED_BY_THE_NETWORK)
        if isinstance(container, dict) and not is_free:
            given = container.pop(key)
            assert problem(content) == f"{name} is missing"
            container[key] = given
    assert problem(content) is None


def test_each_field_more_is_named() -> None:
    """FIELD.md B5."""
    content = copy.deepcopy(whole())
    for container, _, name in members(content):
        within = name.rpartition(".")[0]
        is_free = f"{within}.".startswith(tuple(f"{one}." for one in NAMED_BY_THE_NETWORK)) or name.endswith("params")
        if isinstance(container, dict) and not is_free:
            container["novel"] = 1
            assert problem(content) == f"{within}.novel is not known".removeprefix(".")
            del container["novel"]
    assert problem(content) is None


def test_numbers_out_of_range_are_named() -> None:
    content = whole()
    assert problem({**content, "epoch": -1}) == "epoch is -1, must be at least 0"
    hashes = {"counts": [2, 1], "hashes": torch.zeros(2, dtype=torch.int64)}
    data = {"train": hashes, "val": hashes}
    found = problem({**content, "training": {**content["training"], "data": data}})
    assert found == "training.data.train.hashes is torch.int64 [2], must be torch.int64 [3]"
    for tensors in ({}, {"means": torch.zeros(2, 3)}, {"means": torch.zeros(2, 3), "whitening": torch.zeros(4, 4)}):
        rule = {**content["reject"], "tensors": tensors}
        assert problem({**content, "reject": rule}) == "reject.tensors are not those of DISTANCE"


def sealed(path: Path, content: object) -> Path:
    """The content in a file with a good digest, as another version would write it."""
    torch.save(content, path)
    data = path.read_bytes()[:-2] + (71).to_bytes(2, "little")  # the length of the archive's comment, which follows
    path.write_bytes(data + b"sha256:" + hashlib.sha256(data).hexdigest().encode())
    return path


def test_the_file_and_its_version_are_in_the_message(tmp_path: Path) -> None:
    """FIELD.md B5."""
    now = {"format": "tao_lite checkpoint 3", **whole()}
    assert checkpoints.load(sealed(tmp_path / "a.pth", now)).epoch == 2
    for content, words in (
        ({**now, "epoch": "2"}, "a.pth: is no checkpoint of format 3: epoch is of type str, must be int; use it with"),
        ({**now, "spec": "model_config {"}, "a.pth: is no checkpoint of format 3: spec can't be read"),
        ({**now, "format": "tao_lite checkpoint 4"}, "a.pth: is a checkpoint of format 4, and this tao_lite reads "),
        ({**now, "format": 2}, "a.pth: is not a checkpoint of tao_lite"),
        ([now], "a.pth: is not a checkpoint of tao_lite"),
    ):
        path = sealed(tmp_path / "a.pth", content)
        for read in (checkpoints.load, checkpoints.spec):
            with pytest.raises(CheckpointError) as raised:
                read(path)
            assert words in str(raised.value)


def test_tensors_of_another_network_are_refused() -> None:
    """FIELD.md B5."""
    found = checkpoints.load(GOLDEN / "pruned.pth")
    name = next(name for name in found.network if name.endswith("running_mean"))
    for network in (
        {key: value for key, value in found.network.items() if key != name},
        {**found.network, "novel": torch.zeros(1)},
        {**found.network, name: torch.zeros(1, 2)},
    ):
        with pytest.raises(CheckpointError):
            checkpoints.network(dataclasses.replace(found, network=network))
    for preprocess in ({}, {"mode": "novel", "channels": 3, "mean": None}):
        with pytest.raises(CheckpointError, match="field preprocess can't be used"):
            checkpoints.pipeline(dataclasses.replace(found, preprocess=preprocess))


def test_files_of_older_formats_open(tmp_path: Path) -> None:
    """That of format 2 was made by commit 10ab3e8, by going on from `resnet_002.pth` of format 1."""
    for path in [*GOLDEN.iterdir(), GOLDEN.with_name("checkpoint_2") / "resnet_003.pth"]:
        found = checkpoints.load(path)
        images = torch.zeros(1, 3, 16, 16)
        assert checkpoints.network(found).eval()(images).shape == (1, 2), path
        assert "resnet" in checkpoints.spec(path)


@pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() == "AVX2",
    reason="oneDNN's kernels for AVX2 write beyond a gradient of so few channels (torch 2.15, seen on an EPYC)",
)
def test_a_training_of_format_1_goes_on_as_it_would_have(run: Run, tmp_path: Path) -> None:
    """After 2 of 3 epochs; the third was trained by the commit that wrote the file. Kernels differ between CPUs."""
    rng = np.random.default_rng(0)
    for name, colour in {"blue": (60, 80, 200), "green": (70, 180, 60)}.items():
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(8):
            pixels = np.clip(rng.normal(colour, 60, (16, 16, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / name / f"{number}.png")
    spec = tmp_path / "spec.cfg"
    text = checkpoints.spec(GOLDEN / "resnet_002.pth")
    spec.write_text(text.replace('"data"', f'"{tmp_path / "data"}"').replace("whole/", f"{tmp_path}/"))
    run.weights.mkdir()
    for name in ("pruned.pth", "resnet_002.pth"):
        (run.weights / name).write_bytes((GOLDEN / name).read_bytes())
    assert train(load(spec), run)["epochs"] == 3
    expected = checkpoints.load(GOLDEN / "resnet_003.pth").network
    found = checkpoints.load(run.latest).network
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-5)
