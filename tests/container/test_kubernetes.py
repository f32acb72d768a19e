"""What `make manifest` prints, carried out with containers in place of pods: names, variables, user and mounts are its.

A pod that is killed is begun anew by the Job; here that is done by the manifest's own rules.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.test_manifest import manifest
from tests.container.test_container import LABEL, docker, pytestmark  # noqa: F401 - the marks are for this file, too
from tests.test_lost_ranks import SPEC
from tests.test_nodes import same_weights

NETWORK = "tao-lite-test-pods"
GROUP = "com.docker.compose.project=tao-lite-test"


class Job:
    """The Job of a manifest, and its pods."""

    def __init__(self, folder: Path, objects: Mapping[str, Any]) -> None:
        self.folder, self.files = folder, objects["ConfigMap"]["data"]
        self.name: str = objects["Job"]["metadata"]["name"]
        self.service: str = objects["Service"]["metadata"]["name"]
        self.spec = objects["Job"]["spec"]
        self.codes: list[int] = []
        for claim in ("pictures", "runs", "spec"):
            (folder / claim).mkdir(exist_ok=True)
            # As fsGroup has it.
            shutil.chown(folder / claim, group=self._pod["securityContext"]["fsGroup"])
            (folder / claim).chmod(0o775)
        for name, text in self.files.items():
            (folder / "spec" / name).write_text(text)

    @property
    def _pod(self) -> Any:
        return self.spec["template"]["spec"]

    def start(self, index: int, *command: str) -> None:
        """Start a pod, with another command if one is given."""
        pod, (container,) = self._pod, self._pod["containers"]
        user, security, name = pod["securityContext"], container["securityContext"], f"{self.name}-{index}"
        assert (pod["shareProcessNamespace"], security["allowPrivilegeEscalation"]) == (True, False)
        docker(
            *("run", "--detach", "--init", "--label", f"{LABEL}=1", "--name", name, "--hostname", name),
            *("--network", NETWORK, "--network-alias", f"{name}.{pod['subdomain']}"),
            *("--env", f"JOB_COMPLETION_INDEX={index}", "--env", "OMP_NUM_THREADS=1"),
            *("--user", f"{user['runAsUser']}:{user['runAsGroup']}", "--group-add", str(user["fsGroup"])),
            *(["--read-only"] if security["readOnlyRootFilesystem"] else []),
            *("--security-opt", "no-new-privileges", "--workdir", container["workingDir"]),
            *(f"--cap-drop={name}" for name in security["capabilities"]["drop"]),
            *(word for mount in container["volumeMounts"] for word in self._mount(mount)),
            *(container["image"], *(command or container["command"])),
        )

    def _mount(self, mount: Mapping[str, Any]) -> list[str]:
        (volume,) = (one for one in self._pod["volumes"] if one["name"] == mount["name"])
        if "emptyDir" in volume:
            return ["--tmpfs", f"{mount['mountPath']}:rw,exec,mode=1777"]
        source = volume.get("persistentVolumeClaim", {}).get("claimName", "spec")
        return ["--volume", f"{self.folder / source}:{mount['mountPath']}{':ro' if mount.get('readOnly') else ''}"]

    def look(self) -> bool:
        """Whether all pods have succeeded; those that failed are begun anew, if the rules let them."""
        states = [self.state(index) for index in range(self.spec["completions"])]
        for index, (is_running, code) in enumerate(states):
            if not is_running and code:
                self.codes.append(code)
                assert self._action(code) != "FailJob", self.log(index)
                assert "Traceback" not in self.log(index)
                self.remove(index)
                self.start(index)
        return states == [(False, 0)] * len(states)

    def _action(self, code: int) -> str:
        rules = self.spec["podFailurePolicy"]["rules"]
        return next((one["action"] for one in rules if code in one.get("onExitCodes", {}).get("values", [])), "Count")

    def state(self, index: int) -> tuple[bool, int]:
        """Whether the pod runs, and its exit code."""
        said = docker("inspect", "--format", "{{.State.Running}} {{.State.ExitCode}}", f"{self.name}-{index}")
        is_running, code = said.split()
        return is_running == "true", int(code)

    def log(self, index: int) -> str:
        command = ["docker", "logs", f"{self.name}-{index}"]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True).stdout

    def remove(self, index: int) -> None:
        docker("rm", "--force", f"{self.name}-{index}")

    def epochs(self) -> int:
        """How many are done."""
        csv = self.folder / "runs" / self.name / "training.csv"
        return len(csv.read_text().splitlines()) - 1 if csv.exists() else 0


@pytest.fixture
def job(colours: Path, tmp_path: Path) -> Iterator[Job]:
    if os.environ.get("ENGINE") == "podman":
        pytest.skip("pods are tried with Docker")
    shutil.copytree(colours, tmp_path / "pictures/colours")
    (tmp_path / "pictures/colours").chmod(0o755)
    spec = tmp_path / "two.cfg"
    spec.write_text(SPEC % {"data": "data/colours"})
    arguments = "--set train_config.n_epochs=10 --set train_config.communication_timeout_seconds=60"
    image = os.environ["TAO_LITE_IMAGE"]
    found = Job(tmp_path, manifest(SPEC=str(spec), IMAGE=image, GPUS="0", ARGS=arguments))
    docker("network", "create", "--label", GROUP, NETWORK)
    yield found
    for index in range(2):
        found.remove(index)
    docker("network", "rm", NETWORK)


@pytest.mark.timeout(1500)
def test_pods_of_which_each_is_killed_once_end_with_the_weights_of_those_that_nobody_killed(
    job: Job, tmp_path: Path
) -> None:
    for index in range(2):
        job.start(index)
    # The second one, then the first, where all meet.
    for index, epochs in ((1, 2), (0, 5)):
        while job.epochs() < epochs:
            assert not job.look(), job.log(0)
            time.sleep(0.1)
        docker("kill", f"{job.name}-{index}")
    while not job.look():
        time.sleep(0.3)
    # The other one says that it lost a pod.
    assert (job.codes.count(137), set(job.codes)) == (2, {75, 137})

    words = job.spec["template"]["spec"]["containers"][0]["command"]
    alone = [*words[: words.index("--nnodes")], *words[words.index("--set") :], "-np", "2", "-r", "results/alone"]
    job.remove(0)
    job.start(0, *alone)
    assert docker("wait", f"{job.name}-0") == "0", job.log(0)
    assert same_weights(tmp_path / "runs" / job.name, tmp_path / "runs/alone")
