"""What a container sees of the machine: mounts planned from paths, and TAO's mounts file."""

import json
from pathlib import Path
from typing import Any

import pytest

from tao_lite.errors import LaunchError
from tao_lite.launcher import mounts, needs
from tao_lite.launcher.mounts import Mount, MountsFile
from tao_lite.spec import classification_pb2 as pb


def same(path: Path) -> Path:
    return path


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """data/train and results below a folder with a blank and other letters in its name."""
    folder = tmp_path / "größe 1"
    for name in ("data/train", "results/weights"):
        (folder / name).mkdir(parents=True)
    return folder


def test_paths_keep_their_names_and_only_results_are_written(place: Path) -> None:
    data, results = place / "data/train", place / "results"
    assert mounts.plan([data], [results]) == (Mount(data, data, False), Mount(results, results, True))


def test_what_a_mount_covers_is_not_mounted_again(place: Path) -> None:
    (place / "results/weights/best.pth").touch()
    reads = [place / "data", place / "data/train", place / "results/weights/best.pth"]
    planned = mounts.plan(reads, [place / "results"])
    assert [mount.target for mount in planned] == [place / "data", place / "results"]


def test_outer_folders_come_before_inner_ones(place: Path) -> None:
    planned = mounts.plan([place], [place / "results"])
    assert [(mount.target, mount.is_writable) for mount in planned] == [(place, False), (place / "results", True)]


def test_what_is_not_there_is_left_to_the_stage_to_name(place: Path) -> None:
    assert mounts.plan([place / "nothing"], []) == ()


def test_link_is_followed_outside_and_works_inside(place: Path, tmp_path: Path) -> None:
    other = tmp_path / "big disk"
    other.mkdir()
    (place / "data/linked").symlink_to(other)
    # Named itself, it is mounted under its name; below a mount, what it leads to is mounted besides.
    assert mounts.plan([place / "data/linked"], []) == (Mount(other, place / "data/linked", False),)
    planned = mounts.plan([place / "data", place / "data/linked"], [])
    assert {mount.target for mount in planned} == {place / "data", other}


@pytest.mark.parametrize("path", ["/", "/usr", "/tmp", "/proc/self", "/etc"])  # noqa: S108
def test_folder_that_the_container_has_itself_is_refused(path: str) -> None:
    with pytest.raises(LaunchError, match="the container has a folder of its own there"):
        mounts.plan([Path(path)], [])


def test_listed_mount_covers_container_paths_and_is_written_to_only_where_needed(place: Path) -> None:
    inside = Path("/workspace/tao-experiments")
    listed = [Mount(place, inside, None)]
    assert mounts.plan([inside / "data/train"], [], listed) == (Mount(place, inside, False),)
    assert mounts.plan([inside / "data"], [inside / "results"], listed) == (Mount(place, inside, True),)
    assert mounts.host_path(inside / "data/train", listed) == place / "data/train"
    assert mounts.host_path(place / "data", listed) == place / "data"


def test_inner_of_two_listed_mounts_counts(place: Path) -> None:
    listed = [Mount(place, Path("/inside"), None), Mount(place / "results", Path("/inside/out"), None)]
    assert mounts.host_path(Path("/inside/out/weights"), listed) == place / "results/weights"
    planned = mounts.plan([], [Path("/inside/out/weights")], listed)
    assert [(mount.target, mount.is_writable) for mount in planned] == [
        (Path("/inside"), False),
        (Path("/inside/out"), True),
    ]


def test_listed_as_read_only_and_written_to_is_refused(place: Path) -> None:
    listed = [Mount(place, Path("/inside"), False)]
    with pytest.raises(LaunchError, match="/inside is mounted read-only; choose another place"):
        mounts.plan([], [Path("/inside/results")], listed)


def written(folder: Path, content: Any) -> Path:
    path = folder / ".tao_mounts.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_taos_mounts_file_is_taken_unchanged(place: Path) -> None:
    content = {
        "Mounts": [
            {"source": str(place / "data"), "destination": "/workspace/data"},
            {"source": str(place / "results"), "destination": "/workspace/results/", "read_only": True},
        ],
        "Envs": [{"variable": "CUDA_DEVICE_ORDER", "value": "PCI_BUS_ID"}],
        "DockerOptions": {"shm_size": "16G", "ulimits": {"memlock": -1}, "user": "1000:1000"},
    }
    found = mounts.read(written(place, content))
    assert found.mounts == (
        Mount(place / "data", Path("/workspace/data"), None),
        Mount(place / "results", Path("/workspace/results"), False),
    )
    assert found.environment == {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    assert found.options == content["DockerOptions"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is not JSON"),
        ({"Mount": []}, "'Mount' is not known; it may have Mounts, Envs, DockerOptions"),
        ({"Mounts": [], "DockerOptions": {"gpus": 1}}, "'gpus' is not known; it may have user, ports"),
        ({"Mounts": [{"source": "/"}]}, "must be like"),
        ({"Mounts": [{"source": "/no/such", "destination": "/x"}]}, "/no/such of a mount does not exist"),
        ({"Mounts": [{"source": "/var", "destination": "/usr"}]}, "is a folder of the container itself"),
        ([], "must be an object with Mounts"),
    ],
)
def test_mounts_file_that_is_wrong_is_named_with_what_to_do(tmp_path: Path, content: Any, words: str) -> None:
    with pytest.raises(LaunchError, match=words):
        mounts.read(written(tmp_path, content))


def test_mounts_file_of_the_home_folder_is_used_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("LAUNCHER_MOUNTS", raising=False)
    assert mounts.find(None) == MountsFile()
    path = written(tmp_path, {"Mounts": []})
    assert mounts.find(None).path == path
    with pytest.raises(LaunchError, match="can't be read"):
        mounts.find(tmp_path / "other.json")


def experiment(**fields: Any) -> pb.Experiment:
    return pb.Experiment(**fields)


def test_training_reads_data_weights_and_class_map_and_writes_results(place: Path) -> None:
    spec = experiment(
        dataset_config={"classmap_path": "map.json", "cache": "OFF"},
        train_config={
            "train_dataset_path": str(place / "data/train"),
            "pretrained_model_path": str(place / "x.pth"),
            "distillation": {"teacher_path": str(place / "y.pth")},
        },
    )
    options = {"spec_file": place / "a.cfg", "log_file": place / "log.txt", "results_dir": place / "results"}
    needed = needs.of_command("train", options, spec, place / "results", same)
    files = {place / "a.cfg", place / "x.pth", place / "y.pth", Path.cwd() / "map.json"}
    assert needed.reads == {place / "data/train", *files}
    assert needed.writes == {place / "results"}
    assert needed.log == place / "log.txt"
    assert needed.caches == set()
    assert not needed.downloads


def test_sample_data_set_is_drawn_beside_its_place_once(place: Path) -> None:
    root = place / "data/sample"
    spec = experiment(dataset_config={"sample": {"num_frames": 3}}, train_config={"train_dataset_path": str(root)})
    assert place / "data" in needs.of_command("train", {}, spec, place / "results", same).writes
    root.mkdir()
    assert needs.of_command("train", {}, spec, place / "results", same).writes == {place / "results"}


def test_data_in_files_is_seen_with_the_folder_that_holds_them(place: Path) -> None:
    (place / "data/part-00000-of-00002").touch()
    (place / "data/data.yaml").touch()
    for path, folder, root in (
        ("data/part", "data", ""),
        ("data/part-00000-of-00002", "data", ""),
        ("data/data.yaml", ".", ".."),
        ("data/none", "data/none", ""),
    ):
        spec = experiment(dataset_config={"yolo_root": root}, train_config={"train_dataset_path": str(place / path)})
        assert mounts.absolute(place / folder) in needs.of_command("train", {}, spec, place, same).reads


def test_published_weights_need_a_network_and_their_cache(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(place / "torch"))
    spec = experiment(train_config={"pretrained_model_path": "torchvision://IMAGENET1K_V1"})
    needed = needs.of_command("train", {}, spec, place, same)
    assert needed.downloads
    assert place / "torch" in needed.caches
    assert not needs.of_command("prune", {}, spec, place, same).downloads


def test_results_of_prune_and_export_are_written_where_they_are_named(place: Path) -> None:
    spec = experiment(prune_config={"output_path": str(place / "pruned/x.pth")})
    assert place / "pruned" in needs.of_command("prune", {}, spec, place / "results", same).writes
    model = {"model": place / "models/x.pth"}
    assert place / "models" in needs.of_command("export", model, spec, place / "results", same).writes
    named = {**model, "output_file": place / "onnx/x.onnx"}
    writes = needs.of_command("export", named, spec, place / "results", same).writes
    assert writes == {place / "onnx", place / "results"}


def test_variables_are_those_that_a_spec_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_DOWNLOAD_DIR", "/data")
    monkeypatch.setenv("SETS", "/sets")
    monkeypatch.setenv("SECRET", "x")
    text = 'a: "$SETS/a" b: "${SETS}/b" c: "DATA_DOWNLOAD_DIR/c" d: "$PATH/$UNSET/d" # SECRET'
    assert needs.variables(text) == {"SETS", "DATA_DOWNLOAD_DIR"}


def test_spec_inside_a_checkpoint_is_found_without_loading_it(tmp_path: Path) -> None:
    import torch

    text = "# From größe.cfg\n" + "train_config { n_epochs: 3 }\n" * 300
    torch.save({"format": "x", "spec": text, "network": {"a": torch.zeros(3)}, "epoch": 1}, tmp_path / "a.pth")
    assert needs.spec_inside(tmp_path / "a.pth") == text
    torch.save({"format": "x"}, tmp_path / "b.pth")
    assert needs.spec_inside(tmp_path / "b.pth") == ""
    (tmp_path / "c.pth").write_bytes(b"no archive")
    assert needs.spec_inside(tmp_path / "c.pth") == ""
    assert needs.spec_inside(tmp_path / "none.pth") == ""
