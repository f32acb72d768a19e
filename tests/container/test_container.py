"""Image, launcher and TensorBoard with a real engine, as a user who is not root. `make test-container` prepares all."""

import contextlib
import json
import os
import pty
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tao_lite.launcher import doctor, engine

ROOT = Path(__file__).resolve().parents[2]
UID = 12345
FOREIGN_GROUP = 2_000_000
SPEC = "specs/classification_spec.cfg"
FEW = ["--set", "dataset_config.sample.num_frames=60"]
# So long that a signal always comes before the end.
MANY_EPOCHS = ["--set", "train_config.n_epochs=400"]
PORT = 16006
# Set by tests/container/run, which removes what has the label.
NAMES = ("TAO_LITE_IMAGE", "COMPOSE_PROJECT_NAME")
LABEL = "tao_lite.test"

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif("TAO_LITE_CONTAINER_TEST" not in os.environ, reason="needs an engine: make test-container"),
]


@dataclass(frozen=True)
class User:
    """Somebody with a clone, who may use the engine and nothing else."""

    home: Path
    project: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    def command(self, arguments: Sequence[str | Path]) -> list[str]:
        """The second group is one that a rootless engine has no id for, as of an LDAP: FIELD.md F3."""
        socket_group = Path(os.environ.get("DOCKER_HOST", engine.SOCKET).removeprefix("unix://")).stat().st_gid
        who = [f"--reuid={UID}", f"--regid={UID}", f"--groups={socket_group},{FOREIGN_GROUP}"]
        kept = (*NAMES, "PATH", "DOCKER_HOST", "PIP_CERT", "PIP_INDEX_URL", "PIP_FIND_LINKS")
        variables = {name: os.environ[name] for name in kept if name in os.environ}
        variables |= {"HOME": str(self.home), "OMP_NUM_THREADS": "1", **self.variables}
        return ["setpriv", *who, "env", "-i", *(f"{k}={v}" for k, v in variables.items()), *map(str, arguments)]

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(arguments), cwd=self.project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def run(self, *arguments: str | Path, code: int = 0) -> str:
        """Output of a command that ends with the code."""
        started = self.start(*arguments)
        output, _ = started.communicate(timeout=300)
        assert started.returncode == code, output
        return output

    def stage(self, name: str, *arguments: str | Path, code: int = 0) -> str:
        return self.run(".venv/bin/tao-lite", name, *arguments, "--docker", code=code)


@pytest.fixture(scope="module")
def user() -> User:
    folder = Path(os.environ["TAO_LITE_CONTAINER_TEST"])
    somebody = User(folder / "home", folder / "project")
    somebody.home.mkdir(exist_ok=True)
    subprocess.run(["chown", "-R", f"{UID}:{UID}", somebody.home, somebody.project], check=True)
    somebody.run("make", "launcher", "PYTHON=/usr/bin/python3")
    return somebody


@pytest.fixture(scope="module")
def running() -> engine.Engine:
    """The engine that is tested."""
    with contextlib.closing(engine.connect()) as client:
        return engine.examine(client)


@pytest.fixture(scope="module")
def trained(user: User) -> Path:
    """Results of the sample spec, trained by make as the README says."""
    output = user.run("make", "train", "RUNNER=docker", f"ARGS={' '.join(FEW)} --set train_config.n_epochs=2")
    assert "Running in a container: RUNNER=docker was asked for" in output
    return user.project / "results/classification_spec"


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout.strip()


def ours(*options: str) -> list[str]:
    return docker("ps", *options, "-q", "--filter", f"label={LABEL}").split()


def wait_for(process: subprocess.Popen[str], words: str) -> str:
    """Output up to the line that holds the words."""
    assert process.stdout
    seen = ""
    for line in process.stdout:
        seen += line
        if words in line:
            return seen
    raise AssertionError(f"{words!r} never came: {seen}")


def artifacts(folder: Path) -> set[str]:
    """Names of all files and links, without what of a name is the time and place of the run."""
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    return {name.partition(".tfevents.")[0] for name in names}


def epochs(results: Path) -> list[int]:
    return [int(line.split(",")[0]) for line in (results / "training.csv").read_text().splitlines()[1:]]


def test_train_evaluate_prune_retrain_leave_what_a_run_without_a_container_leaves(
    user: User, trained: Path, tmp_path: Path
) -> None:
    retrain_spec = "specs/classification_retrain_spec.cfg"
    assert "top-1" in user.run("make", "evaluate", "RUNNER=docker")
    user.run("make", "prune", "RUNNER=docker")
    user.run("make", "retrain", "RUNNER=docker", "ARGS=--set train_config.n_epochs=1")
    (tmp_path / "specs").symlink_to(user.project / "specs")
    for stage, spec, *options in (
        ("train", SPEC, *FEW, "--set", "train_config.n_epochs=2"),
        ("evaluate", SPEC),
        ("prune", SPEC),
        ("train", retrain_spec, "--set", "train_config.n_epochs=1"),
    ):
        command = [str(ROOT / ".venv/bin/tao-lite"), stage, "-e", spec, *options]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    for name in ("results/classification_spec", "results/classification_retrain_spec", "data/sample"):
        assert artifacts(user.project / name) == artifacts(tmp_path / name)


@pytest.mark.short
def test_every_file_is_the_callers(user: User, trained: Path) -> None:
    foreign = [path for path in user.project.rglob("*") if path.lstat().st_uid != UID or path.lstat().st_gid != UID]
    assert foreign == []


def test_runner_auto_takes_the_container_and_says_why(user: User, trained: Path, running: engine.Engine) -> None:
    output = user.run("make", "evaluate")
    assert f"Running in a container: {running} answers and the image" in output
    assert "is there" in output


@pytest.mark.short
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("model_config.n_layers=19", "model_config.n_layers"),
        ("train_config.train_dataset_path=data/nothing", "data/nothing"),
    ],
    ids=["spec", "data"],
)
def test_user_error_is_code_2_and_one_line(user: User, tmp_path: Path, change: str, words: str) -> None:
    output = user.stage("train", "-e", "specs/kitti_objects.cfg", "--set", change, code=2)
    assert words in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGINT, 130, id="Ctrl-C", marks=pytest.mark.short),
        pytest.param(signal.SIGTERM, 143, id="SIGTERM"),
    ],
)
def test_signal_lets_the_training_save_and_the_next_run_goes_on(
    user: User, trained: Path, number: signal.Signals, code: int
) -> None:
    results = f"results/signal_{code}"
    command = [".venv/bin/tao-lite", "train", "-e", SPEC, "-r", results, *MANY_EPOCHS, "--docker"]
    training = user.start(*command)
    seen = wait_for(training, "Epoch 2/400")
    training.send_signal(number)
    rest, _ = training.communicate(timeout=120)
    assert training.returncode == code, seen + rest
    assert (user.project / results / "weights/interrupted.pth").is_file()
    done = epochs(user.project / results)[-1]
    user.stage("train", "-e", SPEC, "-r", results, "--set", f"train_config.n_epochs={done + 1}")
    assert epochs(user.project / results) == list(range(1, done + 2))


def test_killed_container_is_named_and_the_next_run_goes_on(user: User, trained: Path) -> None:
    results = user.project / "results/killed"
    training = user.start(".venv/bin/tao-lite", "train", "-e", SPEC, "-r", results, *MANY_EPOCHS, "--docker")
    wait_for(training, "Epoch 2/400")
    docker("kill", *ours())
    rest, _ = training.communicate(timeout=60)
    assert training.returncode == 137
    assert "The container was killed" in rest
    done = epochs(results)[-1]
    user.stage("train", "-e", SPEC, "-r", results, "--set", f"train_config.n_epochs={done + 1}")
    assert epochs(results) == list(range(1, done + 2))
    assert ours("-a") == []


def test_container_sees_what_it_needs_and_may_do_nothing_else(
    user: User, trained: Path, running: engine.Engine
) -> None:
    """FIELD.md F11: engines say it in words of their own, so what is in effect is read from the process."""
    training = user.start(
        *(".venv/bin/tao-lite", "train", "-e", SPEC, "-r", "results/inspected", *MANY_EPOCHS),
        *("--docker", "--memory", "4g", "--cpus", "1.5", "--shm_size", "64m"),
    )
    wait_for(training, "Epoch 1/400")
    (found,) = json.loads(docker("inspect", *ours()))
    status = Path(f"/proc/{found['State']['Pid']}/status").read_text()
    training.send_signal(signal.SIGTERM)
    training.communicate(timeout=60)
    config = found["HostConfig"]
    in_effect = {line.split(":")[0]: line.split(":")[1].split() for line in status.splitlines()}
    assert in_effect["Uid"] == in_effect["Gid"] == [str(UID)] * 4
    assert {int(in_effect[name][0], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert in_effect["NoNewPrivs"] == ["1"]
    assert config["ReadonlyRootfs"]
    assert config["NetworkMode"] == "none"
    assert config["ShmSize"] == 64 << 20
    if running.has_limits:
        assert (config["Memory"], config["NanoCpus"]) == (4 << 30, 1_500_000_000)
    project = str(user.project)
    assert {mount["Destination"]: mount["RW"] for mount in found["Mounts"]} == {
        f"{project}/{SPEC}": False,
        f"{project}/data/sample": False,
        f"{project}/results/inspected": True,
        f"{user.home}/.cache/tao_lite": True,
    }


def test_launcher_killed_leaves_a_container_that_the_next_one_removes(user: User, trained: Path) -> None:
    command = user.command([".venv/bin/tao-lite", "train", "-e", SPEC, "-r", "results/left", *MANY_EPOCHS, "--docker"])
    training = subprocess.Popen(command, cwd=user.project, stdout=subprocess.PIPE, text=True)
    wait_for(training, "Epoch 1/400")
    training.kill()
    training.communicate()
    (left,) = ours()
    docker("stop", "--time", "60", left)
    assert (user.project / "results/left/weights/interrupted.pth").is_file()
    user.stage("evaluate", "-e", SPEC)
    assert ours("-a") == []


def test_paths_may_have_blanks_and_any_letters(user: User, trained: Path) -> None:
    place = user.home / "größe & ночь 目录"
    user.run("mkdir", "-p", place)
    user.run("cp", "-r", user.project / "data/sample", place / "my data")
    user.run("cp", user.project / SPEC, place / "my spec.cfg")
    data = f"train_config.train_dataset_path={place}/my data"
    user.run(
        *("make", "train", "RUNNER=docker", f"SPEC={place}/my spec.cfg", f"RESULTS={place}/out 1"),
        f"ARGS=--set train_config.n_epochs=1 --set '{data}'",
    )
    assert (place / "out 1/weights/best.pth").is_file()
    # The checkpoint's own spec names the data.
    output = user.stage("evaluate", "-m", place / "out 1/weights/best.pth")
    assert "top-1" in output


def test_variable_and_home_in_a_spec_mean_the_callers(user: User, trained: Path) -> None:
    user.run("cp", "-r", user.project / "data/sample", user.home / "sample")
    somebody = User(user.home, user.project, {"SETS": str(user.home)})
    for path in ("~/sample", "$SETS/sample"):
        few = ["--set", "train_config.n_epochs=1", "--set", f"train_config.train_dataset_path={path}"]
        somebody.stage("train", "-e", SPEC, "-r", f"results/{path[1]}", *few)


def test_container_paths_of_an_old_spec_resolve_through_its_mounts_file(user: User, trained: Path) -> None:
    experiment = user.home / "tao experiments"
    user.run("mkdir", "-p", experiment / "specs")
    user.run("cp", "-r", user.project / "data/sample", experiment / "data")
    inside = "/workspace/tao-experiments"
    text = (user.project / SPEC).read_text().replace("data/sample", f"{inside}/data")
    (experiment / "specs/old.cfg").write_text(text.replace("sample { num_frames: 400 seed: 42 }", ""))
    mounts = {
        "Mounts": [{"source": "~/tao experiments", "destination": inside}],
        "Envs": [{"variable": "NO_COLOR", "value": "1"}],
        "DockerOptions": {"shm_size": "1G", "user": f"{UID}:{UID}", "ulimits": {"stack": 67108864}},
    }
    (user.home / ".tao_mounts.json").write_text(json.dumps(mounts))
    few = ["--set", "train_config.n_epochs=1"]
    try:
        user.stage("train", "-e", f"{inside}/specs/old.cfg", "-r", f"{inside}/results", "-k", "key", *few)
    finally:
        (user.home / ".tao_mounts.json").unlink()
    assert (experiment / "results/weights/best.pth").is_file()
    assert {path.stat().st_uid for path in (experiment / "results").rglob("*")} == {UID}


def test_two_processes_train_together_without_a_network(user: User, trained: Path) -> None:
    few = ["--set", "train_config.n_epochs=1"]
    output = user.stage("train", "-e", SPEC, "-r", "results/two", "-np", "2", "--gpus", "0", *few)
    assert "Epoch 1/1" in output


def test_progress_bar_is_drawn_on_a_terminal(user: User, trained: Path) -> None:
    ours_end, theirs = pty.openpty()
    arguments = [".venv/bin/tao-lite", "evaluate", "-e", SPEC, "--docker"]
    command = user.command(["env", "TERM=xterm", *arguments])
    evaluation = subprocess.Popen(command, cwd=user.project, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    output = b"".join(chunks(ours_end))
    assert evaluation.wait(timeout=60) == 0
    assert b"\x1b[" in output
    assert b"top-1" in output


def chunks(terminal: int) -> Iterator[bytes]:
    with contextlib.suppress(OSError):  # A terminal whose other end is closed is an input/output error.
        while chunk := os.read(terminal, 65536):
            yield chunk


def test_container_that_ran_out_of_memory_says_so(user: User, trained: Path, running: engine.Engine) -> None:
    """FIELD.md F8: Podman 4.3 only says that it was killed."""
    if not running.has_limits:
        pytest.skip(engine.NO_LIMITS)
    output = user.stage("evaluate", "-e", SPEC, "--memory", "100m", code=137)
    assert "ran out of memory: raise --memory" in output or "it took more than --memory 100m" in output
    assert ours("-a") == []


def test_image_that_is_not_there_is_named_with_what_to_do(user: User) -> None:
    output = user.stage("train", "-e", SPEC, "--docker_image", "tao-lite:nowhere", code=2)
    assert "make image" in output
    assert "Traceback" not in output


def test_socket_that_may_not_be_used_is_named_with_what_to_do(user: User, running: engine.Engine) -> None:
    """FIELD.md F2: nobody can join a group to use Podman's."""
    arguments = user.command([".venv/bin/tao-lite", "evaluate", "-e", SPEC, "--docker"])
    stranger = {"--groups": "--clear-groups", "--reuid": f"--reuid={UID + 1}", "--regid": f"--regid={UID + 1}"}
    arguments = [stranger.get(part.partition("=")[0], part) for part in arguments]
    finished = subprocess.run(arguments, cwd=user.project, capture_output=True, text=True, check=False)
    assert finished.returncode == 2
    assert ("use your own" if running.is_podman else "usermod -aG docker") in finished.stderr


@pytest.mark.skipif(engine.machine_has_gpu(), reason="this machine has a GPU")
def test_gpu_that_the_engine_can_not_give_is_named_with_what_to_do(user: User, running: engine.Engine) -> None:
    """FIELD.md F5: Podman would ignore the request."""
    output = user.stage("train", "-e", SPEC, "--gpus", "1", code=2)
    assert running.why_no_gpu in output
    assert ours("-a") == []


@pytest.mark.gpu
def test_gpu_is_used_in_the_container(user: User, trained: Path) -> None:
    if not engine.machine_has_gpu():
        pytest.skip("needs an NVIDIA GPU and an engine with its runtime")
    few = ["--set", "train_config.n_epochs=1"]
    assert "on cuda" in user.stage("train", "-e", SPEC, "-r", "results/gpu", "--gpus", "1", *few)


def test_doctor_finds_nothing_that_stops_containers(user: User) -> None:
    output = user.run(".venv/bin/tao-lite", "doctor", "-e", SPEC)
    problems = [line for line in output.splitlines() if line.startswith(doctor.PROBLEM)]
    assert problems == []


def test_up_trains_and_tensorboard_answers_on_this_machine_only(user: User, trained: Path) -> None:
    results = user.project / "results/composed"
    user.run("make", "up", "PROFILE=cpu", f"PORT={PORT}", "RESULTS=results/composed")
    try:
        assert b"TensorBoard" in page(f"http://127.0.0.1:{PORT}/")
        assert b'"classification_spec/events"' in page(f"http://127.0.0.1:{PORT}/data/runs")
        with pytest.raises(OSError, match=r"refused|timed out"):
            socket.create_connection((address(), PORT), timeout=5)
        wait_until((results / "training.csv").is_file)
    finally:
        user.run("make", "down", f"PORT={PORT}")
    assert (results / "weights/interrupted.pth").is_file() or (results / "weights/best.pth").is_file()
    assert {path.lstat().st_uid for path in results.rglob("*")} == {UID}
    assert ours("-a") == []


def wait_until(is_true: Callable[[], bool]) -> None:
    """Return within a minute."""
    for _ in range(120):
        if is_true():
            return
        time.sleep(0.5)
    raise AssertionError("it never came")


def page(url: str) -> bytes:
    """What the address serves, within half a minute."""
    for _ in range(60):
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            content: bytes = urllib.request.urlopen(url, timeout=5).read()  # noqa: S310 - our own address
            return content
        time.sleep(0.5)
    raise AssertionError(f"{url} does not answer")


def address() -> str:
    """An address of this machine that others can reach; nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])
