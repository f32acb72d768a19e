"""What a container sees of the machine: mounts planned from paths, and TAO's mounts file."""

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from tao_lite.errors import LaunchError
from tao_lite.launcher import mounts, mounts_file, needs
from tao_lite.launcher.mounts import Mount
from tao_lite.launcher.mounts_file import MountsFile
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.load import examine


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
    found = mounts_file.read(written(place, content))
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
        ({"Mounts": {}}, "Mounts must be a list of objects, found {}"),
        ({"Mounts": None}, "Mounts must be a list of objects, found null"),
        ({"Mounts": ["/data"]}, r"Mounts\[0\]: must be an object with source, destination, read_only"),
        ({"Mounts": [{"source": 1, "destination": "/x"}]}, r"Mounts\[0\]: source must be a text"),
        ({"Mounts": [{"source": "/\0", "destination": "/x"}]}, r"Mounts\[0\]: source must be a text"),
        ({"Mounts": [{"source": "~nobody_here/x", "destination": "/x"}]}, "of a mount does not exist"),
        ({"Mounts": [{"source": "/", "destination": "/x", "read_only": "no"}]}, "read_only must be true or false"),
        ({"Mounts": [{"source": "/", "destination": "/x", "read-only": True}]}, "'read-only' is not known"),
        ({"Envs": {"A": "1"}}, "Envs must be a list of objects"),
        ({"Envs": [{"variable": "A"}]}, "must be like"),
        ({"Envs": [{"variable": "A=B", "value": "1"}]}, "variable must be a name without =, found"),
        ({"Envs": [{"variable": "", "value": "1"}]}, "variable must be a name without =, found"),
        ({"Envs": [{"variable": ["A"], "value": "1"}]}, "variable must be a name without =, found"),
        ({"Envs": [{"variable": "A", "value": 1}]}, 'value must be a text in quotes, such as "1", found 1'),
        ({"Envs": [{"variable": "A", "value": "\0"}]}, "value must be a text"),
        ('{"Envs": [{"variable": "A", "value": "\\ud800"}]}', "value must be a text"),
        *[
            (
                {"DockerOptions": {"privileged": value}},
                f"privileged must be true or false without quotes, found {shown}",
            )
            for value, shown in (("false", '"false"'), ("true", '"true"'), (1, "1"), (None, "null"), ([], r"\[\]"))
        ],
        ({"DockerOptions": {"tty": "false"}}, "tty must be true or false without quotes"),
        ({"DockerOptions": {"network": True}}, "network must be a name"),
        ({"DockerOptions": {"user": 0}}, 'user must be "UID:GID", found 0'),
        ({"DockerOptions": {"shm_size": "big"}}, "shm_size must be a size"),
        ({"DockerOptions": {"shm_size": True}}, "shm_size must be a size"),
        ({"DockerOptions": {"ulimits": [1]}}, "ulimits must be an object such as"),
        ({"DockerOptions": {"ulimits": {"stack": "1"}}}, "ulimits must be an object such as"),
        ({"DockerOptions": {"ulimits": {"stack": 2**70}}}, "ulimits must be an object such as"),
        ({"DockerOptions": {"ports": {"x": 1}}}, "ports must be an object such as"),
        ({"DockerOptions": {"ports": {"80": 99999}}}, "ports must be an object such as"),
        ({"DockerOptions": None}, "DockerOptions: must be an object with user, ports"),
        ('{"Mounts": ' + "[" * 100_000, "is nested too deeply"),
        (" " * 2_000_000, "has more than 1,000,000 bytes"),
    ],
)
def test_mounts_file_that_is_wrong_is_named_with_what_to_do(tmp_path: Path, content: Any, words: str) -> None:
    """FIELD.md C1 and B6: every value is of its type, or named."""
    with pytest.raises(LaunchError, match=words):
        mounts_file.read(written(tmp_path, content))


def test_mounts_file_that_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    """FIELD.md B3: nobody writes into the pipe."""
    os.mkfifo(tmp_path / "m.json")
    with pytest.raises(LaunchError, match="is a named pipe, not a regular file"):
        mounts_file.read(tmp_path / "m.json")


def test_mounts_file_of_the_home_folder_is_used_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("LAUNCHER_MOUNTS", raising=False)
    assert mounts_file.find(None) == MountsFile()
    path = written(tmp_path, {"Mounts": []})
    assert mounts_file.find(None).path == path
    with pytest.raises(LaunchError, match="no such file"):
        mounts_file.find(tmp_path / "other.json")


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


def test_pictures_of_a_coco_file_are_seen_with_it(place: Path) -> None:
    (place / "data/annotations").mkdir()
    (place / "data/annotations/x.json").touch()
    spec = experiment(
        dataset_config={"coco_image_dir": "../pictures"},
        train_config={"train_dataset_path": str(place / "data/annotations/x.json")},
    )
    assert {place / "data", place / "pictures"} <= needs.of_command("train", {}, spec, place, same).reads


def test_a_table_by_which_images_are_grouped_is_seen(place: Path) -> None:
    options = {"group_by": (f"{place / 'a:b.csv'}:weather", ":camera"), "groups": True}
    assert needs.of_command("evaluate", options, experiment(), place / "results", same).reads == {place / "a:b.csv"}


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


def test_what_lies_beside_an_openvino_ir_is_read_with_it(place: Path) -> None:
    model = {"model": place / "deployed/model.xml"}
    assert place / "deployed" in needs.of_command("inference", model, experiment(), place / "results", same).reads


VARIABLES = {"SETS": "/sets", "DATA_DOWNLOAD_DIR": "/data", "USER": "me", "GITHUB_TOKEN": "x", "ELSEWHERE": "y"}


def named(text: str, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Variables that the container of a spec with this text gets."""
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    return needs.variables(examine(text, Path("a.cfg"), stage="train").replaced)


def test_variables_are_those_that_the_paths_of_a_spec_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """FIELD.md C3: a token that a comment or another field names stays outside."""
    text = """
        # $GITHUB_TOKEN and ${ELSEWHERE}/x, "ELSEWHERE/x"
        train_config {
            train_dataset_path: "$SETS/${USER}/a" val_dataset_path: "DATA_DOWNLOAD_DIR/b"  # $GITHUB_TOKEN
            pretrained_model_path: "$PATH/$UNSET/$$ELSEWHERE"
        }
        kitti_config_of_no_tao { name: "$ELSEWHERE" }
    """
    assert named(text.replace("kitti_config_of_no_tao", "#"), monkeypatch) == {"SETS", "USER", "DATA_DOWNLOAD_DIR"}


@pytest.mark.parametrize(
    "name",
    ["AWS_SECRET_ACCESS_KEY", "key", "HfToken", "MY_SECRET", "DB_PASSWORD", "db_passwd", "GOOGLE_CREDENTIALS_FILE"],
)
def test_variable_with_the_name_of_a_secret_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """FIELD.md C3."""
    monkeypatch.setenv(name, "x")
    with pytest.raises(LaunchError, match=rf"train_dataset_path: \${name} has the name of a secret"):
        named(f'train_config {{ train_dataset_path: "/data/${{{name}}}/a" }}', monkeypatch)


@pytest.mark.parametrize("kind", ["socket", "pipe", "device"])
def test_path_that_is_no_file_and_no_folder_is_not_given_to_a_container(tmp_path: Path, kind: str) -> None:
    """FIELD.md C2: with the engine's socket a container is root."""
    path = tmp_path / "x"
    with socket.socket(socket.AF_UNIX) as engine:
        if kind == "socket":
            engine.bind(str(path))
        elif kind == "pipe":
            os.mkfifo(path)
        else:
            path = Path("/dev/null")
        (tmp_path / "link").symlink_to(path)
        words = f"is a {kind}; a container is given files and folders only"
        for named_path in (path, tmp_path / "link"):
            for reads, writes in (([named_path], []), ([], [named_path])):
                with pytest.raises(LaunchError, match=words):
                    mounts.plan(reads, writes)
        listed = {"Mounts": [{"source": str(tmp_path / "link"), "destination": "/x"}]}
        with pytest.raises(LaunchError, match=words):
            mounts_file.read(written(tmp_path, listed))


@pytest.mark.parametrize(
    ("source", "is_systems"),
    [
        *[
            (path, True)
            for path in ("/", "/etc", "/var/run", "/run", "/proc", "/sys", "/dev", "/root", "/home", "/var")
        ],
        *[
            (path, True)
            for path in ("/etc/ssh", "/run/docker", "/proc/1", "/dev/dri", "/boot/grub", "/usr", "/var/lib")
        ],
        *[(f"/{name}", False) for name in ("data", "home/x", "root/x", "dev/shm/x", "run/media/x/disk", "etcetera")],
    ],
)
def test_folders_of_the_system_are_known(source: str, is_systems: bool) -> None:
    """FIELD.md C1: itself, one around it, one in it."""
    mount = Mount(Path(source), Path("/inside"))
    assert list(mounts.of_system([mount])) == [mount] * is_systems


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
