"""The engine, Docker or Podman: found, told apart, and its refusals with what to do. Answers of /info are real ones."""

import json
import os
import shutil
import socket
import socketserver
import subprocess
import sys
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Thread
from typing import Any

import docker.errors
import pytest

from tao_lite.errors import LaunchError
from tao_lite.launcher import container, engine, launch
from tao_lite.launcher.engine import Engine
from tao_lite.launcher.mounts import Mount
from tao_lite.launcher.request import Request
from tests.conftest import ROOT

# Of Debian's Podman 4.3.1, what is read of them.
PODMAN = {
    "ServerVersion": "4.3.1",
    "BuildahVersion": "1.28.2",
    "Rootless": False,
    "Runtimes": {"crun": {}, "kata": {}, "krun": {}, "runc": {}, "runj": {}, "runsc": {}},
    "SecurityOptions": ["name=seccomp,profile=default"],
    "CgroupVersion": "1",
    "DockerRootDir": "/var/lib/containers/storage",
}
DOCKER = {
    "ServerVersion": "20.10.24",
    "Runtimes": {"runc": {}},
    "SecurityOptions": ["name=seccomp,profile=default"],
    "CgroupVersion": "1",
}


def facts(information: Mapping[str, Any], *, has_hook: bool = False, cdi: Path = Path("/no/such")) -> Engine:
    return engine.facts(dict(information), has_hook=has_hook, cdi_folders=[cdi])


@pytest.mark.parametrize(
    "said",
    [
        {**PODMAN, "Rootless": True},  # 4.3.1: here only
        {**PODMAN, "Rootless": True, "SecurityOptions": ["name=rootless"]},  # 4.6
        {**DOCKER, "SecurityOptions": ["name=seccomp,profile=default", "name=rootless", "name=cgroupns"]},
    ],
)
def test_rootless_engine_is_known_wherever_it_says_so(said: dict[str, Any]) -> None:
    """FIELD.md F1."""
    assert facts(said).is_rootless
    assert facts(said).caller == "0:0"
    assert not facts({**PODMAN}).is_rootless
    assert facts({**PODMAN}).caller == f"{os.getuid()}:{os.getgid()}"


def api_error(words: str) -> docker.errors.APIError:
    return docker.errors.APIError("500 Server Error", explanation=words)


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        ("runc: error setting rlimit type 8: operation not permitted: OCI permission denied", "take the ulimits out"),
        ("crun: setrlimit `RLIMIT_MEMLOCK`: Operation not permitted: OCI permission denied", "take the ulimits out"),
        ("statfs /secret/a: permission denied", "may not use a path"),
        ("crun: mount `/a` to `b`: Permission denied: OCI permission denied", "may not use a path"),
        ("crun: write cgroup.procs: Permission denied: OCI permission denied", "the engine refused: crun"),
        ('could not find "catatonit" in one of [/usr/libexec/podman]', "install catatonit"),
        ("x: image not known", "make image"),
    ],
)
def test_refusal_of_an_engine_that_answers_is_not_about_its_socket(words: str, remedy: str) -> None:
    """FIELD.md F2."""
    text = engine.explained(api_error(words), "unix:///run/user/1000/podman/podman.sock")
    assert remedy in text
    assert words in text
    assert "usermod" not in text
    assert "use your own" not in text


def test_socket_of_somebody_else_is_answered_with_ones_own(tmp_path: Path) -> None:
    """FIELD.md F2: joining the group docker opens Docker's socket only."""
    error = PermissionError(13, "Permission denied")
    for address in ("unix:///run/user/4711/podman/podman.sock", f"unix://{tmp_path}/engine.sock"):
        text = engine.explained(error, address)
        assert "systemctl --user start podman.socket" in text
        assert "usermod" not in text
    assert "usermod -aG docker" in engine.explained(error, engine.SOCKET) or Path("/var/run/docker.sock").exists()


def test_groups_are_not_asked_of_a_rootless_engine(tmp_path: Path) -> None:
    """FIELD.md F3: those that are not mapped for it are an error, and the way to keep them is named."""
    request = Request(arguments=["train"], groups=[2_000_000], mounts=[Mount(tmp_path, tmp_path)])
    rootless = facts({**PODMAN, "Rootless": True})
    assert "group_add" not in launch.container_options(request, rootless)
    assert launch.container_options(request, facts(PODMAN))["group_add"] == ["2000000"]
    assert list(launch.cautions(request, rootless)) == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_data_that_a_group_alone_may_read_is_named_where_groups_are_lost(tmp_path: Path) -> None:
    """FIELD.md F3."""
    data = tmp_path / "data"
    data.mkdir(mode=0o750)
    os.chown(data, 54_321, 2_000_000)
    request = Request(arguments=["train"], groups=[2_000_000], mounts=[Mount(data, data)])
    (line,) = launch.cautions(request, facts({**PODMAN, "Rootless": True}))
    assert f"{data} is open to you by a group only" in line
    assert "run.oci.keep_original_groups=1" in line
    assert list(launch.cautions(request, facts(PODMAN))) == []


def test_podman_gives_gpus_from_5_4_where_they_are_described(tmp_path: Path) -> None:
    """FIELD.md F5: NVIDIA's hook means nothing to it."""
    new = {**PODMAN, "ServerVersion": "5.4.2"}
    assert facts(PODMAN, has_hook=True).gpu == ""
    assert "Podman 4.3.1 ignores requests for a GPU, it needs Podman 5.4" in facts(PODMAN).why_no_gpu
    assert facts(new, has_hook=True, cdi=tmp_path).gpu == ""
    assert "nvidia-ctk cdi generate" in facts(new, cdi=tmp_path).why_no_gpu
    (tmp_path / "other.json").write_text('{"kind": "amd.com/gpu"}')
    assert facts(new, cdi=tmp_path).gpu == ""
    (tmp_path / "nvidia.yaml").write_text("cdiVersion: 0.5.0\nkind: nvidia.com/gpu\n")
    assert facts(new, cdi=tmp_path).gpu == "cdi"
    assert facts({**new, "ServerVersion": "5.10.0-rc1"}, cdi=tmp_path).gpu == "cdi"
    assert facts(PODMAN, cdi=tmp_path).gpu == ""
    assert facts(DOCKER, has_hook=True).gpu == "nvidia"


def test_limits_that_an_engine_can_not_keep_are_named() -> None:
    """Podman says MemoryLimit: true there, and a container takes all it wants."""
    request = Request(arguments=["train"], memory="4g")
    (line,) = launch.cautions(request, facts({**PODMAN, "Rootless": True}))
    assert "--memory and --cpus are not in effect" in line
    for said in (PODMAN, {**PODMAN, "Rootless": True, "CgroupVersion": "2"}, DOCKER):
        assert list(launch.cautions(request, facts(said))) == []


def test_engine_is_called_by_its_name() -> None:
    assert str(facts(PODMAN)) == "Podman 4.3.1"
    assert str(facts(DOCKER)) == "Docker 20.10.24"


def test_killed_container_with_a_limit_may_have_outgrown_it() -> None:
    """FIELD.md F8: Podman 4.3.1 says OOMKilled: false of a container that ran out of memory."""
    ended = ended_container({"OOMKilled": False, "StartedAt": "2026-01-01T00:00:00Z"})
    assert "--memory 100m" in container._reason(ended, container.KILLED, was_asked=False, memory="100m")
    assert "--memory" not in container._reason(ended, container.KILLED, was_asked=False, memory=None)


def ended_container(state: dict[str, Any]) -> Any:
    """A container of the SDK, as its engine describes it."""
    from docker.models.containers import Container

    class Ended(Container):  # type: ignore[misc]
        def reload(self) -> None: ...

    return Ended(attrs={"Id": "1", "Name": "/x", "State": {**state, "FinishedAt": state["StartedAt"]}})


@pytest.fixture
def unnamed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An environment in which no engine is named; its folder of sockets."""
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.delenv("DOCKER_CONTEXT", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    return tmp_path / "run"


def test_sockets_of_podman_are_tried_and_named(unnamed: Path) -> None:
    """FIELD.md F10."""
    own = f"unix://{unnamed}/podman/podman.sock"
    assert engine.addresses() == [engine.SOCKET, own, "unix:///run/podman/podman.sock"]
    if any(Path(address.removeprefix("unix://")).exists() for address in engine.addresses()):
        pytest.skip("an engine is here")
    with pytest.raises(LaunchError) as stopped:
        engine.connect()
    for words in ("systemctl --user start podman.socket", own, engine.SOCKET, "unix:///run/podman/podman.sock"):
        assert words in str(stopped.value)


def test_engine_that_is_named_is_the_only_one_tried(unnamed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///elsewhere.sock")
    assert engine.addresses() == ["unix:///elsewhere.sock"]


def test_socket_that_takes_no_answer_is_said_before_one_that_is_not_there(unnamed: Path) -> None:
    """A socket that hangs up is an engine that is there."""
    (unnamed / "podman").mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(unnamed / "podman/podman.sock"))
        with pytest.raises(LaunchError, match="no Docker engine answers"):
            engine.connect()


def ask(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tao_lite.launcher", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def test_scripts_are_told_that_no_engine_answers_by_exit_code_and_one_line(tmp_path: Path) -> None:
    """FIELD.md F10: RUNNER=docker without a docker command ended in 127."""
    nowhere = {"DOCKER_HOST": f"unix://{tmp_path}/none"}
    assert ask("where", "auto", "x", **nowhere).stdout == "local no Docker engine answers\n"
    for question in (("where", "docker", "x"), ("compose",), ("build", "-f", "Dockerfile", "-t", "x", ".")):
        told = ask(*question, **nowhere)
        assert told.returncode == 2
        assert "podman.socket" in told.stderr
        assert "Traceback" not in told.stderr


@pytest.fixture
def podman(tmp_path: Path) -> Iterator[str]:
    """Address of an engine that answers as a rootless Podman 4.3.1 that has every image."""
    address = tmp_path / "podman.sock"
    with socketserver.UnixStreamServer(str(address), Answers) as server:
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"unix://{address}"
        server.shutdown()


class Answers(BaseHTTPRequestHandler):
    """What the API is asked before something is started."""

    def do_GET(self) -> None:
        known = {
            "version": {"ApiVersion": "1.41"},
            "info": {**PODMAN, "Rootless": True},
            "json": {"Id": "1", "Config": {}},
        }
        body = json.dumps(known.get(self.path.rpartition("/")[2], {})).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


def test_compose_runs_as_root_of_a_rootless_engine(podman: str) -> None:
    """FIELD.md F4: who is the caller outside."""
    assert ask("compose", DOCKER_HOST=podman).stdout == f"0:0 {podman}\n"


@pytest.mark.skipif(engine.machine_has_gpu(), reason="Podman 4.3.1 has no use for this machine's GPU")
@pytest.mark.parametrize("shim", ["exit 125", 'echo "podman version 4.3.1"', None], ids=["fails", "podman", "none"])
def test_runner_is_podman_whatever_the_docker_command_is(podman: str, tmp_path: Path, shim: str | None) -> None:
    """FIELD.md F6, F10: `docker info` of the shim knows no ServerVersion, and there may be no such command at all."""
    for name in ("sh", "make", "env", "dirname", "sed", "tr", "cat", "python3"):
        (tmp_path / name).symlink_to(shutil.which(name) or "/no/such")
    if shim:
        (tmp_path / "docker").write_text(f"#!/bin/sh\n{shim}\n")
        (tmp_path / "docker").chmod(0o755)
    environment = {**os.environ, "PATH": str(tmp_path), "DOCKER_HOST": podman, "TAO_LITE_IMAGE": "x", "RUNNER": "auto"}
    chosen = subprocess.run(
        ["containers/run", "--where"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert chosen.stdout == "docker\n", chosen.stderr
    assert (
        ask("where", "auto", "x", DOCKER_HOST=podman).stdout == "docker Podman 4.3.1 answers and the image x is there\n"
    )


def test_image_is_not_built_by_the_docker_command_of_podman(tmp_path: Path) -> None:
    """FIELD.md F6, F10: Podman's shim keeps images elsewhere than the engine whose socket is named."""
    shim = tmp_path / "docker"
    shim.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "podman version 4.3.1" && exit\necho shim >&2\n')
    shim.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "DOCKER_HOST": f"unix://{tmp_path}/none"}
    built = subprocess.run(
        ["containers/image", "-f", "containers/Dockerfile", "-t", "x", "."],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 2
    assert "shim" not in built.stderr
    assert "no Docker engine answers" in built.stderr
