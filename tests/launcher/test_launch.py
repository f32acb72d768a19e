"""What a container is made with: pure, no engine is asked."""

import compileall
import logging
import os
import resource
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import click
import docker.errors
import pytest

from tao_lite.cli.docker import GpuChoice, words
from tao_lite.cli.main import cli
from tao_lite.cli.train import train
from tao_lite.errors import LaunchError, RunError
from tao_lite.launcher import engine as engine_client
from tao_lite.launcher import image, launch, request
from tao_lite.launcher.engine import Engine
from tao_lite.launcher.launch import container_options
from tao_lite.launcher.mounts import Mount
from tao_lite.launcher.mounts_file import MountsFile
from tao_lite.launcher.request import Choice, Command, Gpus, Request
from tests.conftest import ROOT

NVIDIA, CDI, NO_GPU = Engine(version="28.2", gpu="nvidia"), Engine(gpu="cdi"), Engine(version="28.2")


def options(engine: Engine = NO_GPU, **fields: Any) -> dict[str, Any]:
    return container_options(Request(arguments=["train"], **fields), engine)


def test_container_runs_as_the_caller_and_may_do_nothing_that_training_does_not_need() -> None:
    made = options(user="1000:1001", groups=[27, 1005])
    assert made["user"] == "1000:1001"
    assert made["group_add"] == ["27", "1005"]
    assert made["read_only"]
    assert made["cap_drop"] == ["ALL"]
    assert made["security_opt"] == ["no-new-privileges"]
    assert made["network_mode"] == "none"
    assert made["init"]
    assert "privileged" not in made
    assert "device_requests" not in made


def test_mounts_are_binds_and_read_only_unless_written_to() -> None:
    made = options(mounts=[Mount(Path("/a b"), Path("/in"), False), Mount(Path("/out"), Path("/out"), True)])
    assert [(one["Source"], one["Target"], one["ReadOnly"], one["Type"]) for one in made["mounts"]] == [
        ("/a b", "/in", True, "bind"),
        ("/out", "/out", False, "bind"),
    ]


def test_limits_are_passed_on_and_memory_can_not_be_swapped_around() -> None:
    made = options(memory="16g", cpus=2.5, shm_size="2g")
    assert (made["mem_limit"], made["memswap_limit"]) == ("16g", "16g")
    assert made["nano_cpus"] == 2_500_000_000
    assert made["shm_size"] == "2g"
    assert options()["shm_size"] == launch.SHM_SIZE


@pytest.mark.parametrize(
    ("gpus", "engine", "driver", "count", "ids"),
    [
        (Gpus(-1), NVIDIA, "", -1, []),
        (Gpus(2), NVIDIA, "", 2, []),
        (Gpus(ids=("0", "3")), NVIDIA, "", 0, ["0", "3"]),
        (Gpus(ids=("GPU-5a",)), NVIDIA, "", 0, ["GPU-5a"]),
        (Gpus(-1), CDI, "cdi", 0, ["nvidia.com/gpu=all"]),
        (Gpus(2), CDI, "cdi", 0, ["nvidia.com/gpu=0", "nvidia.com/gpu=1"]),
        (Gpus(ids=("1",)), CDI, "cdi", 0, ["nvidia.com/gpu=1"]),
    ],
)
def test_gpus_are_asked_for_as_the_engine_takes_it(
    gpus: Gpus, engine: Engine, driver: str, count: int, ids: list[str]
) -> None:
    (asked,) = options(engine, gpus=gpus)["device_requests"]
    assert (asked["Driver"] or "", asked["Count"] or 0, asked["DeviceIDs"] or []) == (driver, count, ids)
    assert driver == "cdi" or asked["Capabilities"] == [["gpu"]]


def test_gpus_inside_are_counted_from_0() -> None:
    assert [gpus.word for gpus in (Gpus(-1), Gpus(3), Gpus(ids=("2", "5")))] == ["all", "3", "2"]


@pytest.mark.parametrize(
    ("asked", "num_processes", "visible", "gpus"),
    [
        (None, None, None, Gpus(1)),
        (None, 4, None, Gpus(4)),
        (None, None, "2,3", Gpus(ids=("2",))),
        (None, None, "", None),
        (Gpus(2), None, "4,5,6", Gpus(ids=("4", "5"))),
        (Gpus(-1), None, "4,5,6", Gpus(ids=("4", "5", "6"))),
        (Gpus(ids=("0",)), None, "4,5", Gpus(ids=("0",))),
        (Gpus(0), None, None, None),
    ],
)
def test_gpus_are_those_that_a_run_without_a_container_takes(
    monkeypatch: pytest.MonkeyPatch, asked: Gpus | None, num_processes: int | None, visible: str | None, gpus: Gpus
) -> None:
    monkeypatch.setattr(engine_client, "machine_has_gpu", lambda: True)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert request.gpus(asked, num_processes, NVIDIA) == gpus


def test_gpu_without_a_runtime_is_an_error_and_never_a_training_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LaunchError, match=r"Docker 28.2 has no NVIDIA runtime; install the NVIDIA Container Toolkit"):
        request.gpus(Gpus(1), None, NO_GPU)
    monkeypatch.setattr(engine_client, "machine_has_gpu", lambda: True)
    with pytest.raises(LaunchError, match="or compute on the CPU with --gpus 0"):
        request.gpus(None, None, NO_GPU)
    assert request.gpus(Gpus(0), None, NO_GPU) is None
    monkeypatch.setattr(engine_client, "machine_has_gpu", lambda: False)
    assert request.gpus(None, None, NO_GPU) is None
    # The toolkit is installed, but there is no GPU.
    assert request.gpus(None, None, NVIDIA) is None


def test_hidden_gpus_that_are_asked_for_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(RunError, match="hides every GPU"):
        request.gpus(Gpus(1), None, NVIDIA)


def test_options_of_a_mounts_file_are_taken_as_taos_launcher_takes_them() -> None:
    tao = {"shm_size": "16G", "ulimits": {"memlock": -1, "stack": 67108864}, "ports": {"8888": 8888}}
    made = options(tao_options={**tao, "network": "host", "privileged": True, "tty": False}, has_terminal=True)
    assert made["shm_size"] == "16G"
    assert [(one["Name"], one["Soft"], one["Hard"]) for one in made["ulimits"]] == [
        ("memlock", -1, -1),
        ("stack", 67108864, 67108864),
    ]
    assert made["ports"] == {"8888": 8888}
    assert made["network_mode"] == "host"
    assert made["privileged"]
    assert not made["tty"]


def test_podman_is_not_left_to_raise_the_limits_that_nobody_named() -> None:
    def limits(**named: int) -> dict[str, int]:
        made = options(engine=Engine(is_podman=True), tao_options={"ulimits": named})["ulimits"]
        assert all(one["Soft"] == one["Hard"] for one in made)
        return {one["Name"]: one["Hard"] for one in made}

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert limits(stack=67108864, nproc=100) == {"stack": 67108864, "nproc": 100, "nofile": hard}
    assert limits(nofile=100)["nproc"] <= int(Path("/proc/sys/kernel/pid_max").read_text())
    assert "ulimits" not in options(engine=Engine(is_podman=True))


def test_user_of_a_mounts_file_never_makes_files_somebody_elses(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert options(user="1000:1000", tao_options={"user": "0:0"})["user"] == "1000:1000"
    assert "user 0:0 is left out" in caplog.text
    # Root may give files away.
    assert options(user="0:0", tao_options={"user": "1000:1000"})["user"] == "1000:1000"


def test_engines_that_translate_users_still_write_files_as_the_caller() -> None:
    assert options(Engine(is_rootless=True), user="1000:1000")["user"] == "0:0"
    assert options(Engine(remaps_users=True), user="1000:1000")["userns_mode"] == "host"
    assert "label=disable" in options(Engine(has_selinux=True))["security_opt"]


def test_terminal_is_only_given_to_who_has_one() -> None:
    assert options(has_terminal=True)["tty"]
    assert not options()["tty"]


@pytest.mark.parametrize(
    ("information", "gpu"),
    [
        ({"Runtimes": {"runc": {}, "nvidia": {}}}, "nvidia"),
        ({"Runtimes": {"runc": {}}, "DiscoveredDevices": [{"Source": "cdi", "ID": "nvidia.com/gpu=0"}]}, "cdi"),
        ({"Runtimes": {"runc": {}}, "DiscoveredDevices": None}, ""),
        ({}, ""),
    ],
)
def test_engine_says_how_it_gives_gpus(information: dict[str, Any], gpu: str) -> None:
    assert engine_client.facts(information, has_hook=False).gpu == gpu
    assert engine_client.facts(information, has_hook=True).gpu == "nvidia"


def test_engine_says_whom_it_takes_users_for() -> None:
    found = engine_client.facts({"SecurityOptions": ["name=seccomp", "name=rootless"]}, has_hook=False)
    assert found.is_rootless
    assert not found.remaps_users
    assert engine_client.facts({"SecurityOptions": ["name=userns", "name=selinux"]}, has_hook=False).remaps_users


@pytest.mark.parametrize(
    ("words_of_docker", "remedy"),
    [
        ("Error while fetching server API version: ('Connection aborted.', FileNotFoundError(2, '...'))", "start it"),
        ("Error while fetching server API version: ('Connection aborted.', PermissionError(13, '...'))", "usermod"),
        ("client version 1.52 is too new. Maximum supported API version is 1.41", "update the older one"),
        ("client version 1.24 is too old. Minimum supported API version is 1.44", "update the older one"),
        ('could not select device driver "" with capabilities: [[gpu]]', "NVIDIA Container Toolkit"),
        ("failed to discover GPU vendor from CDI: no known GPU vendor found", "NVIDIA Container Toolkit"),
        ("No such image: tao-lite:0.1.0", "make image"),
        ("mkdir /var/lib/docker/overlay2/1: no space left on device", "docker system prune"),
        ("error setting rlimit type 8: operation not permitted", "take the ulimits out"),
        ("invalid mount config for type bind: bind source path does not exist: /data", "see this machine's files"),
        ("something new", "the engine refused: something new"),
    ],
)
def test_what_an_engine_says_comes_with_what_to_do(words_of_docker: str, remedy: str) -> None:
    text = engine_client.explained(docker.errors.DockerException(words_of_docker))
    assert remedy in text
    assert words_of_docker in text
    assert "\n" not in text


def test_no_engine_is_the_users_error_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    with pytest.raises(LaunchError, match="no Docker engine answers; start it"):
        engine_client.connect()


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("all", (-1, ())),
        ("0", (0, ())),
        ("2", (2, ())),
        ("0,3", (2, ("0", "3"))),
        ("3,", (1, ("3",))),
        ("GPU-1a,GPU-2b", (2, ("GPU-1a", "GPU-2b"))),
    ],
)
def test_gpus_are_all_or_a_number_or_ids(text: str, meaning: tuple[int, tuple[str, ...]]) -> None:
    assert GpuChoice().convert(text, None, None) == meaning


def test_gpus_that_are_neither_are_refused() -> None:
    with pytest.raises(click.BadParameter, match="neither all, nor a number, nor ids"):
        GpuChoice().convert("-1", None, None)


@pytest.mark.parametrize(
    "arguments",
    [
        [
            "train",
            "-e",
            "a b/größe.cfg",
            "-r",
            "out",
            "--set",
            "train_config.n_epochs=3",
            "--set",
            'compat="x=y"',
            "-v",
        ],
        ["prune", "-m", "x.pth", "-el", "conv 1", "-el", "-odd", "-pth", "0.5", "--dry_run", "--gpus", "2"],
        ["inference", "-m", "x.pth", "-d", "images", "-k", "secret key"],
        ["export", "-e", "x.cfg", "--static_batch_size", "4", "--docker", "--memory", "4g"],
    ],
)
def test_command_line_inside_means_what_it_meant_outside(arguments: list[str]) -> None:
    command = cli.get_command(click.Context(cli), arguments[0])
    assert command
    given = command.make_context("x", arguments[1:]).params
    inside = words(command, given)
    own = ("docker", "docker_image", "mounts", "memory", "cpus", "shm_size", "gpus", "gpu_index")
    again = command.make_context("x", list(inside)).params
    assert {name: value for name, value in again.items() if name not in own} == {
        name: value for name, value in given.items() if name not in own
    }
    assert not any(word.startswith(("--docker", "--memory", "--gpus")) for word in inside)


def test_option_about_a_container_without_one_is_refused() -> None:
    context = train.make_context("train", ["-e", "x.cfg", "--memory", "4g"])
    with pytest.raises(click.UsageError, match="--memory is about a container; add --docker"):
        train.invoke(context)


def test_image_is_named_by_version_and_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TAO_LITE_IMAGE", raising=False)
    assert image.name() == "tao-lite:0.1.0"
    monkeypatch.setenv("TAO_LITE_IMAGE", "registry/of/ours:1")
    assert image.name() == "registry/of/ours:1"


def test_digest_of_the_code_changes_with_content_and_name(tmp_path: Path) -> None:
    def digest(**files: str) -> str:
        folder = tmp_path / str(len(os.listdir(tmp_path)))
        folder.mkdir()
        for name, content in files.items():
            (folder / f"{name}.py").write_text(content)
        (folder / "__pycache__").mkdir()
        (folder / "__pycache__" / "a.pyc").write_text(folder.name)
        (folder / ".a.py.swp").write_text(folder.name)
        return image.source_digest(folder)

    assert digest(a="1", b="2") == digest(a="1", b="2")
    assert len({digest(a="1", b="2"), digest(a="1", c="2"), digest(a="12", b=""), digest(a="1")}) == 4


@pytest.mark.slow
def test_digest_covers_every_file_of_the_wheel_and_is_the_same_where_that_is_installed(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        wheel.extractall(tmp_path)
        installed = [tmp_path / name for name in wheel.namelist() if name.startswith("tao_lite/")]
    package = tmp_path / "tao_lite"
    assert package / "stages" / "report" / "report.html" in installed
    compileall.compile_dir(package, quiet=1, maxlevels=0)
    program = [sys.executable, "-I", "-S", str(package / "launcher" / "image.py")]
    digest = subprocess.run(program, check=True, capture_output=True, text=True).stdout.strip()
    assert digest == image.source_digest()
    for path in installed:
        content = path.read_bytes()
        path.write_bytes(content + b"\n")
        assert image.source_digest(package) != digest, path
        path.write_bytes(content)
    assert image.source_digest(package) == digest


@pytest.mark.parametrize(
    ("options", "network", "is_told"),
    [
        ({}, "none", False),
        ({"visualizer": "visualizer { mlflow_config { } }"}, None, True),
        # Ranks of several machines open connections to each other.
        ({"endpoint": "first:29400"}, "host", False),
    ],
)
def test_a_container_has_the_network_that_its_training_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, str], network: str | None, is_told: bool
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:5000")
    spec = tmp_path / "a.cfg"
    spec.write_text(f"train_config {{ {options.get('visualizer', '')} }}")
    given = {"spec_file": spec, "rdzv_endpoint": options.get("endpoint")}
    made = request.of(
        Command(stage="train", options=given, arguments=[], results=tmp_path / "results", source=spec), MountsFile()
    )
    assert made.network == network
    assert ("MLFLOW_TRACKING_URI" in made.environment) == is_told


def test_privileged_container_has_to_be_allowed_on_the_command_line(tmp_path: Path) -> None:
    """FIELD.md C1."""
    file = tmp_path / "m.json"
    file.write_text('{"DockerOptions": {"privileged": true}}')
    command = Command(stage="train", options={}, arguments=[], results=tmp_path / "results", source=file)
    with pytest.raises(LaunchError, match=f"{file}: DockerOptions: privileged is true.*or add --allow_privileged"):
        launch.launch(command, Choice(mounts=file))
    assert not command.results.exists()


def test_what_a_container_may_do_to_the_machine_is_said() -> None:
    """FIELD.md C1: a line for each."""
    mounts = [Mount(Path("/etc"), Path("/a")), Mount(Path("/"), Path("/b"), True), Mount(Path("/data"), Path("/data"))]
    request = Request(arguments=[], mounts=mounts, tao_options={"network": "host", "privileged": True})
    privileged, network, first, second = launch.cautions(request, NO_GPU)
    assert "is privileged" in privileged
    assert "network host" in network
    assert first == "/etc is a folder of the system, which the container may read as /a"
    assert second == "/ is a folder of the system, which the container may read and change as /b"
    assert list(launch.cautions(Request(arguments=[], tao_options={"privileged": False}), NO_GPU)) == []


def test_only_true_makes_a_container_privileged() -> None:
    """FIELD.md C1: "false" in quotes did."""
    made = options(tao_options={"privileged": "false"})
    assert "privileged" not in made
    assert made["cap_drop"] == ["ALL"]
