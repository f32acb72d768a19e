"""A package for Triton in a real server: what goes over HTTP is answered as by inference."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
import torch

from tao_lite.data.description import Description
from tao_lite.run import Run
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.load import Spec
from tao_lite.stages.export import gate
from tao_lite.stages.export.package import Request, package
from tao_lite.training.trained import Trained
from tests.checkpoints import answering
from tests.stages.export.test_export_package import RESNET, SUFFIXES

pytestmark = pytest.mark.slow

PACKAGES = ("nvidia-pytriton==0.7.0", "tritonclient[http]==2.73.0")
"""The first holds the server with its Python backend, 55 MB; it is no part of Triton's that a user needs."""

ASK = """
import json, sys
import numpy, tritonclient.http
client = tritonclient.http.InferenceServerClient(sys.argv[1])
for path in sys.argv[3:]:
    picture = tritonclient.http.InferInput("picture", [1], "BYTES")
    picture.set_data_from_numpy(numpy.array([open(path, "rb").read()], dtype=numpy.object_))
    answer = client.infer(sys.argv[2], [picture])
    texts = {name: answer.as_numpy(name)[0].decode() for name in ("class", "decoded", "pixels")}
    print(json.dumps({"path": path, **texts, "probabilities": answer.as_numpy("probabilities").tolist()}))
"""

PARSE = """
import sys
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2
for path in sys.argv[1:]:
    print(text_format.Parse(open(path).read(), model_config_pb2.ModelConfig()).backend)
"""


def run_in(environment: Path, *words: object) -> "subprocess.CompletedProcess[str]":
    """What its Python does with these words."""
    command = [str(environment / "bin" / "python"), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the server."""
    folder = tmp_path_factory.mktemp("triton") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    installed = run_in(folder, "-m", "pip", "install", "-q", "--disable-pip-version-check", *PACKAGES)
    if installed.returncode:
        pytest.skip(f"the server can't be installed: {installed.stderr[-200:]}")
    (server,) = folder.glob("lib/python3*/site-packages/pytriton/tritonserver")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    shutil.copy(server / "python_backend_stubs" / version / "triton_python_backend_stub", server / "backends/python")
    return folder


@pytest.fixture
def made(run: Run) -> Path:
    path = answering(run.results, f'{RESNET} input_image_size: "3,64,64"', "torch")
    folder = run.results / "package"
    package(Spec(pb.Experiment(), path), run, path, Request(folder=folder, runtimes=("triton",), verify=0))
    return folder


@pytest.fixture
def url(made: Path, environment: Path, tmp_path: Path) -> Iterator[str]:
    """Of a server with the model that takes pictures; it lacks the backend that the other one needs."""
    (picture,) = (made / "models").glob("*_picture")
    needs = ["--disable-pip-version-check", "-r", made / "requirements.txt", "--target", picture / "1" / "packages"]
    installed = run_in(environment, "-m", "pip", "install", "-q", *needs)
    assert not installed.returncode, installed.stderr
    (server,) = environment.glob("lib/python3*/site-packages/pytriton/tritonserver")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words: list[object] = ["--model-repository", made / "models", "--backend-directory", server / "backends"]
    words += ["--http-address", "127.0.0.1", "--http-port", port, "--allow-grpc=false", "--allow-metrics=false"]
    words += ["--model-control-mode=explicit", f"--load-model={picture.name}"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([str(server / "bin" / "tritonserver"), *map(str, words)], stdout=log, stderr=log)
    try:
        until = time.monotonic() + 120
        while not is_ready(f"http://127.0.0.1:{port}"):
            assert process.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < until, (tmp_path / "log").read_text()
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


def is_ready(url: str) -> bool:
    try:
        with urlopen(f"{url}/v2/health/ready", timeout=5) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except URLError:
        return False


def test_real_pictures_over_http(shared: Path, made: Path, environment: Path, url: str, tmp_path: Path) -> None:
    paths = [path for path in sorted((shared / "data" / "dirty").rglob("*")) if path.suffix.lower() in SUFFIXES]
    paths += sorted((shared / "data" / "folders").rglob("*.jp*g"))[::12]
    network = Trained.of(made.with_name("weights") / "model.pth", torch.device("cpu"))
    want = gate.expected(network, paths)
    assert len(want) > 100
    (name,) = (path.name for path in (made / "models").glob("*_picture"))
    asked = run_in(environment, "-c", ASK, url.removeprefix("http://"), name, *want)
    found = {Path(line["path"]): line for line in map(json.loads, asked.stdout.splitlines())}
    answers = {
        path: gate.Answer(line["decoded"], line["pixels"], line["probabilities"]) for path, line in found.items()
    }
    description = Description.from_text((made / "preprocess.json").read_text(), made)
    assert gate.verify(description, want, answers) < 1e-3


def test_its_client_and_check_ask_the_server(made: Path, url: str, tmp_path: Path) -> None:
    broken, plain = tmp_path / "broken.png", made / "references" / "plain.png"
    broken.write_bytes(b"none")

    def run(*words: object) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-B", *map(str, words)]
        environment = {**os.environ, "TRITON_URL": url}
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)

    checked = run(made / "check.py")
    assert (checked.stdout, checked.returncode) == ("ok\n", 0), checked.stdout
    answered = run(made / "client.py", broken, plain)
    assert answered.stdout.startswith(f"{plain},")
    assert answered.stderr.startswith(f"{broken}: cannot identify image file")


def test_both_configurations_are_triton_s(made: Path, environment: Path) -> None:
    files = sorted((made / "models").glob("*/config.pbtxt"))
    parsed = run_in(environment, "-c", PARSE, *files)
    assert parsed.stdout.split() == ["onnxruntime", "python"], parsed.stderr
