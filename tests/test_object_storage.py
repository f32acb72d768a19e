"""Data and results in object storage, against a real S3 server here, behind a slow and failing way to it."""

import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tao_lite import checkpoint as checkpoints
from tao_lite.data.batch import Batch
from tao_lite.data.loader import Loader
from tao_lite.data.remote import limits, shards
from tao_lite.errors import DataError, ReadError, RunError, StoreError, TaoLiteError
from tao_lite.files.places import SHARDS, stand_in
from tao_lite.run import Run
from tao_lite.spec.load import load
from tao_lite.training import preparation
from tests import s3
from tests.data.shards import data_set
from tests.stages.train import team

pytest.importorskip("moto")
pytest.importorskip("s3fs")
pytestmark = pytest.mark.slow

NUM_SHARDS, NUM_IMAGES = 40, 24
SPEC = """
model_config {{ arch: "timm/test_efficientnet_ln" input_image_size: "3,16,16" }}
train_config {{
  train_dataset_path: "{data}" val_dataset_path: "{val}"
  optimizer {{ sgd {{ momentum: 0.9 }} }} batch_size_per_gpu: 8 n_epochs: 2
  preprocess_mode: "torch" lr_config {{ cosine {{ learning_rate: 0.01 }} }} precision: FP32
}}
dataset_config {{ cache: OFF cache_dir: "{cache}" shuffle_shards: 2 store_timeout_seconds: {timeout} {more} }}
"""


@pytest.fixture(scope="module")
def server() -> Iterator[s3.Way]:
    with s3.running() as way:
        yield way


@pytest.fixture
def way(server: s3.Way, monkeypatch: pytest.MonkeyPatch) -> s3.Way:
    """The server, reached without a fault, and with 20 ms of latency."""
    server.latency_seconds, server.is_down = 0.02, False
    server.faults.clear()
    server.requests.clear()
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    limits.store.cache_clear()
    return server


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards without indexes; and a small one to validate."""
    root = tmp_path_factory.mktemp("shards")
    data_set(root / "val", 1, 6)
    return data_set(root / "train", NUM_SHARDS, NUM_IMAGES)


@pytest.fixture(scope="module")
def url(server: s3.Way, local: Path) -> str:
    return server.upload(local, "train")


def tenth(local: Path) -> str:
    """A shard cache of a tenth of the data."""
    return f"shard_cache_gib: {sum(path.stat().st_size for path in local.iterdir()) / 10 / 2**30:.12f}"


def spec(folder: Path, data: str, local: Path, more: str = "", timeout: int = 20) -> Path:
    path = folder / f"spec_{len(list(folder.glob('spec_*')))}.cfg"
    val, cache = local.parent / "val", folder / "cache"
    path.write_text(SPEC.format(data=data, val=val, cache=cache, more=more, timeout=timeout))
    return path


def loader(path: Path, run: Run) -> Loader:
    return preparation.loaders(load(path).experiment, run)[0]


def same(batches: list[Batch], others: list[Batch]) -> bool:
    return len(batches) == len(others) and all(
        torch.equal(one.images, other.images) and torch.equal(one.labels, other.labels) and one.done == other.done
        for one, other in zip(batches, others, strict=True)
    )


def cached(folder: Path) -> list[Path]:
    return sorted((folder / "cache").glob(f"remote/*/{SHARDS}/*"))


def problem(path: Path, run: Run) -> str:
    """What is said where the first epoch can't be read to its end."""
    with pytest.raises(TaoLiteError) as found:
        list(loader(path, run).epoch(0))
    assert isinstance(found.value, DataError | ReadError | RunError)
    return str(found.value)


def test_batches_from_a_url_are_those_of_local_files_in_a_tenth_of_the_room(
    tmp_path: Path, way: s3.Way, local: Path, url: str, run: Run
) -> None:
    """AUTO takes the order of shards, for the cache can't hold all; each is fetched once in an epoch."""
    way.faults += ["503", "cut", "503", "", "cut"]
    remote = loader(spec(tmp_path, url, local, tenth(local)), run)
    here = loader(spec(tmp_path, str(local), local, "shuffle: SHARDS"), run)
    most = sum(path.stat().st_size for path in local.iterdir()) // 10
    for epoch in (0, 1):
        way.requests.clear()
        found = []
        for batch in remote.epoch(epoch):
            found.append(batch)
            with shards.alone(cache := tmp_path / "cache" / "remote"):
                assert limits.used_bytes(cache) <= most
        assert same(found, list(here.epoch(epoch)))
        assert len(way.gets(".tar")) <= NUM_SHARDS + 2
        # Inside the epoch too, as a run goes on that was stopped.
        assert same(found[20:], list(remote.epoch(epoch, found[19].done)))
    assert not list(tmp_path.rglob("*.part"))


def test_a_set_that_the_cache_holds_is_fetched_once_and_shuffled_as_a_whole(
    tmp_path: Path, way: s3.Way, local: Path, url: str, run: Run
) -> None:
    remote = loader(spec(tmp_path, url, local), run)
    here = loader(spec(tmp_path, str(local), local), run)
    for epoch in (0, 1):
        assert same(list(remote.epoch(epoch)), list(here.epoch(epoch)))
    # Once, to make the indexes, of which there are none beside these shards; a second run lists and fetches nothing.
    assert len(way.gets(".tar")) == NUM_SHARDS
    way.requests.clear()
    list(loader(spec(tmp_path, url, local), run).epoch(0))
    assert not way.gets(".tar")
    assert len(way.requests) <= 3


def _read_all(file: Path, found: "multiprocessing.Queue[int]") -> None:
    with shards.opened(file) as shard:
        found.put(len(shard.read()))


def test_processes_fetch_a_shard_once_and_one_that_is_killed_leaves_it_to_the_others(
    tmp_path: Path, way: s3.Way, local: Path, url: str, run: Run
) -> None:
    loader(spec(tmp_path, url, local), run)
    file = stand_in(url, tmp_path / "cache") / SHARDS / "train-000.tar"
    assert shards.drop(file)
    way.requests.clear()
    way.latency_seconds = 2
    context = multiprocessing.get_context("spawn")
    found = context.Queue()
    first, *others = [context.Process(target=_read_all, args=(file, found)) for _ in range(3)]
    first.start()
    until = time.monotonic() + 120
    while not way.gets("000.tar") and time.monotonic() < until:
        time.sleep(0.01)
    assert way.gets("000.tar")
    assert first.pid
    os.kill(first.pid, signal.SIGKILL)
    first.join()
    assert not file.exists()
    assert file.with_name(f"{file.name}.part").exists()
    for one in others:
        one.start()
    assert {found.get(timeout=60) for _ in others} == {(local / file.name).stat().st_size}
    for one in others:
        one.join()
    assert len(way.gets("000.tar")) == 2
    assert file.read_bytes() == (local / file.name).read_bytes()
    assert cached(tmp_path) == sorted(path for path in cached(tmp_path) if path.suffix == ".tar")


def test_a_store_that_is_down_or_refuses_is_named_in_bounded_time(
    tmp_path: Path, way: s3.Way, local: Path, url: str, run: Run
) -> None:
    way.is_down = True
    began = time.monotonic()
    assert f"{url}: the store fails for 1 s" in problem(spec(tmp_path, url, local, timeout=1), run)
    assert time.monotonic() - began < 10
    way.is_down = False
    way.faults += ["403"] * 5
    said = problem(spec(tmp_path, url, local), run)
    assert f"{url}: access was refused" in said
    assert "AWS_ACCESS_KEY_ID" in said
    way.faults.clear()
    said = problem(spec(tmp_path, "s3://no-such-bucket/x", local), run)
    assert "train_config.train_dataset_path: s3://no-such-bucket/x holds no files" in said


def test_a_store_that_goes_down_in_an_epoch_ends_it_and_loses_no_image(
    tmp_path: Path, way: s3.Way, local: Path, url: str, run: Run
) -> None:
    """An image that can't be fetched is not a damaged one, which would be left out."""
    remote = loader(spec(tmp_path, url, local, tenth(local), timeout=5), run)
    batches = remote.epoch(0)
    next(batches)
    way.is_down = True
    with pytest.raises(StoreError, match=r"train-0\d\d.tar: the store fails for 5 s"):
        list(batches)
    way.is_down = False
    assert len(list(remote.epoch(0))) == len(remote)


def test_shards_that_are_not_what_their_index_says_end_the_run(
    tmp_path: Path, way: s3.Way, local: Path, run: Run
) -> None:
    """By size: cut off since it was indexed. By sha256: as large, and other bytes."""
    folder = tmp_path / "copy"
    shutil.copytree(local, folder)
    url = way.upload(folder, "changing")
    remote = loader(spec(tmp_path, url, local, tenth(local)), run)
    victim = local / "train-004.tar"
    content = bytearray(victim.read_bytes())
    content[700] ^= 1
    way.client().put_object(Bucket=s3.BUCKET, Key="changing/train-004.tar", Body=bytes(content))
    with pytest.raises(StoreError, match=r"train-004.tar: its sha256 is not the one in its index"):
        list(remote.epoch(0))
    way.client().put_object(Bucket=s3.BUCKET, Key="changing/train-004.tar", Body=bytes(content[:2000]))
    short = loader(spec(tmp_path, url, local, "shuffle: AUTO"), run)
    assert short.num_examples < NUM_SHARDS * NUM_IMAGES
    assert "cut off" in str(short.report) or short.report.total


def test_a_cache_that_is_too_small_is_said_with_what_to_set(
    tmp_path: Path, way: s3.Way, local: Path, url: str, run: Run
) -> None:
    one = (local / "train-000.tar").stat().st_size / 2**30
    small = f"shard_cache_gib: {one * 1.5:.12f}"
    assert "set dataset_config.shuffle SHARDS, or lower shuffle_shards" in problem(
        spec(tmp_path, url, local, f"{small} shuffle: FULL"), run
    )
    said = problem(spec(tmp_path, url, local, f"shard_cache_gib: {one / 2:.12f}"), run)
    assert "the shard cache has" in said or "raise dataset_config.shard_cache_gib" in said


def words(path: Path, results: str) -> list[str]:
    return ["-e", str(path), "-r", results, "--gpus", "0"]


def weights(results: Path) -> dict[str, torch.Tensor]:
    return dict(checkpoints.load(results / "weights" / "latest.pth").network)


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_machine_killed_and_wiped_goes_on_from_the_url_to_the_weights_of_local_files(
    tmp_path: Path, way: s3.Way, local: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Data and results at URLs, kill -9 in the second epoch, all local files gone; the store fails now and then."""
    monkeypatch.chdir(tmp_path)
    here = spec(tmp_path, str(local), local, "shuffle: SHARDS")
    assert team.train(1, words(here, str(tmp_path / "undisturbed")), tmp_path / "log_local") == [0]
    remote = spec(tmp_path, url, local, tenth(local))
    results = f"s3://{s3.BUCKET}/run"
    folder = tmp_path / "results" / s3.BUCKET / "run"
    way.faults += ["", "503", "", "cut"]
    end = (NUM_SHARDS * NUM_IMAGES // 8 + 30, signal.SIGKILL)
    assert team.train(1, words(remote, results), tmp_path / "log_first", end=end) == [-signal.SIGKILL]
    shutil.rmtree(folder)
    shutil.rmtree(tmp_path / "cache")
    # One that fails before it has saved anything leaves the copy as it is.
    broken = [*words(remote, results), "--set", "train_config.train_dataset_path=/nowhere"]
    assert team.train(1, broken, tmp_path / "log_broken") == [2]
    shutil.rmtree(folder, ignore_errors=True)
    assert team.train(1, words(remote, results), tmp_path / "log_second") == [0]
    assert equal(weights(folder), weights(tmp_path / "undisturbed"))
    said = (tmp_path / "log_second" / "errors_0").read_text()
    assert "Resuming" in said
    assert len((folder / "training.csv").read_text().splitlines()) == 3
    # The first epoch was not trained anew.
    assert set(team.trained_on(tmp_path / "log_second")) == {1}
    for path in [*folder.rglob("*"), *(tmp_path / "cache").rglob("*"), *tmp_path.glob("log*/*")]:
        assert not path.is_file() or s3.SECRET.encode() not in path.read_bytes()


def test_a_dead_store_for_results_stops_nothing_and_is_named(
    tmp_path: Path, way: s3.Way, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is up when the run asks whether there is something to go on from, and down from then on."""
    monkeypatch.chdir(tmp_path)
    way.faults += ["", "", *["503"] * 500]
    path = spec(tmp_path, str(local), local, timeout=5)
    assert team.train(1, words(path, f"s3://{s3.BUCKET}/dead"), tmp_path / "log") == [0]
    said = (tmp_path / "log" / "errors_0").read_text()
    assert f"no copy was made: s3://{s3.BUCKET}/dead" in said
    assert (tmp_path / "results" / s3.BUCKET / "dead" / "train.json").is_file()


def test_a_reader_finds_a_whole_run_whenever_it_looks(tmp_path: Path, way: s3.Way, run: Run) -> None:
    """A writer saves one checkpoint after the other, while a reader brings what the mirror says."""
    from tao_lite.stages.train.mirror import Mirror
    from tao_lite.stages.train.restart import save
    from tests.stages.train.test_restart import checkpoint

    url = f"s3://{s3.BUCKET}/raced"
    way.latency_seconds = 0
    run.weights.mkdir()
    is_over = threading.Event()

    def write() -> None:
        for epoch in range(1, 8):
            with Mirror(run, url, 10) as mirror:
                save(run, "resnet", checkpoint(epoch), keep_last=1, best_epoch=1)
                mirror.follow()
        is_over.set()

    writer = threading.Thread(target=write)
    writer.start()
    epochs = list[int]()
    while not is_over.is_set():
        copy = Run(results=tmp_path / f"copy_{len(epochs)}", world=run.world)
        Mirror(copy, url, 10).fetch()
        epochs.append(checkpoints.load(copy.latest).epoch if copy.latest.exists() else 0)
    writer.join()
    copy = Run(results=tmp_path / "last", world=run.world)
    Mirror(copy, url, 10).fetch()
    assert checkpoints.load(copy.latest).epoch == 7
    assert checkpoints.load(copy.best).epoch == 1
    assert epochs == sorted(epochs)
    assert len(set(epochs)) > 2
    # What is no longer named is gone.
    names = [one["Key"] for one in way.client().list_objects_v2(Bucket=s3.BUCKET, Prefix="raced/")["Contents"]]
    assert len(names) == 3
