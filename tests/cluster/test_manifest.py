"""What `make manifest` prints: every object is one that Kubernetes' and Kubeflow's published schemas know."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
GIVEN = {
    "SPEC": "specs/classification_spec.cfg",
    "IMAGE": "registry.example/tao-lite:1",
    "DATA_CLAIM": "pictures",
    "RESULTS_CLAIM": "runs",
    "NODES": "2",
    "GPUS": "8",
}
MODELS = {
    "ConfigMap": "IoK8sApiCoreV1ConfigMap",
    "Service": "IoK8sApiCoreV1Service",
    "Job": "IoK8sApiBatchV1Job",
    "TrainingRuntime": "TrainerV1alpha1TrainingRuntime",
    "TrainJob": "TrainerV1alpha1TrainJob",
}


def made(**values: str) -> "subprocess.CompletedProcess[str]":
    words = [f"{name}={value}" for name, value in {**GIVEN, **values}.items()]
    # Without what a `make` around this one has.
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")}
    command = ["make", "--no-print-directory", "manifest", *words]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def manifest(**values: str) -> dict[str, Any]:
    """Its objects by their kind."""
    printed = made(**values)
    assert printed.returncode == 0, printed.stderr
    return {one["kind"]: one for one in yaml.safe_load_all(printed.stdout)}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("job", ["ConfigMap", "Service", "Job"]), ("trainjob", ["ConfigMap", "TrainingRuntime", "TrainJob"])],
)
def test_every_field_is_one_of_the_published_schema(kind: str, expected: list[str]) -> None:
    schemas = pytest.importorskip("kubeflow_trainer_api.models")
    found = manifest(KIND=kind, ARGS="--set 'train_config.n_epochs=5'")
    assert list(found) == expected
    for name, one in found.items():
        # A field that the schema does not know would be missing.
        assert getattr(schemas, MODELS[name]).from_dict(one).to_dict() == one


def test_both_kinds_have_the_same_pods_that_meet_each_in_its_way() -> None:
    job = manifest()["Job"]["spec"]
    jobs = manifest(KIND="trainjob")["TrainingRuntime"]["spec"]["template"]["spec"]["replicatedJobs"]
    train_job = jobs[0]["template"]["spec"]
    (container,), (other) = (one["template"]["spec"]["containers"] for one in (job, train_job))
    command = "tao-lite train -e /spec/spec.cfg -r results/classification-spec --gpus 8 --nnodes 2 --rdzv_endpoint"
    assert container["command"] == [*command.split(), "classification-spec-0.classification-spec:29400"]
    assert other[0]["command"] == [*command.split(), "$(PET_MASTER_ADDR):$(PET_MASTER_PORT)"]
    assert container["resources"] == {"limits": {"nvidia.com/gpu": 8}}
    del container["command"], other[0]["command"]
    assert train_job["podFailurePolicy"] == job["podFailurePolicy"]
    assert train_job["template"] == job["template"]


def test_the_spec_arrives_as_it_is(tmp_path: Path) -> None:
    text = '# größe ${spec}\n\n  model_config {\n\tarch: "resnet" # a: b\n}\n---\n'
    (tmp_path / "My spec.cfg").write_text(text)
    found = manifest(SPEC=str(tmp_path / "My spec.cfg"))
    assert found["ConfigMap"]["data"] == {"spec.cfg": text}
    assert found["Job"]["metadata"]["name"] == "my-spec"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"IMAGE": ""}, "IMAGE=: names the image that the cluster pulls: make image, docker tag, docker push"),
        ({"DATA_CLAIM": "", "RESULTS_CLAIM": "a/b"}, "DATA_CLAIM=: names the PersistentVolumeClaim that holds"),
        ({"RESULTS_CLAIM": "a/b"}, "RESULTS_CLAIM=a/b: names the PersistentVolumeClaim for results, which all pods"),
        ({"NAME": "Two_Words"}, "NAME=Two_Words: must be 1 to 48 small letters, digits and hyphens, a letter first"),
        ({"NODES": "0"}, "NODES=0: must be how many pods train together"),
        ({"KIND": "pod"}, "KIND=pod: must be job or trainjob"),
        ({"SPEC": "specs/nothing.cfg"}, "SPEC=specs/nothing.cfg: can't be read ("),
    ],
)
def test_what_is_missing_or_wrong_is_named_with_what_to_do(values: dict[str, str], expected: str) -> None:
    refused = made(**values)
    assert refused.returncode == 2
    assert expected in refused.stderr
    assert refused.stdout == ""
