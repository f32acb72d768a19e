#!/usr/bin/env python3
"""manifest.py OPTION...: prints what Kubernetes needs to train a spec on several nodes, by `make manifest`'s variables.

    KIND  job: an Indexed Job with its Service; trainjob: Kubeflow Trainer's TrainJob with its TrainingRuntime
    SPEC IMAGE DATA_CLAIM RESULTS_CLAIM  must be given; NAME NODES GPUS NAMESPACE DATA_PATH have defaults
    OPTION...  further options of `tao-lite train`

Python's standard library is enough. The templates beside it are YAML with ${name} where a value goes.
"""

import json
import os
import re
import sys
from pathlib import Path
from string import Template
from typing import NoReturn

FOLDER = Path(__file__).resolve().parent
# The port where nodes meet, and the one where a TrainJob has them meet.
ENDPOINTS = {"job": "{name}-0.{name}:29400", "trainjob": "$(PET_MASTER_ADDR):$(PET_MASTER_PORT)"}
# What pods are found by is NAME-INDEX, which may have 63 letters; a TrainJob's is NAME-node-0-INDEX.
LABEL = r"[a-z]([a-z0-9-]{0,46}[a-z0-9])?"

# Variable: its form, its default, and what to do about another.
VARIABLES = {
    "KIND": ("job|trainjob", "job", "must be job or trainjob"),
    "SPEC": (r"(?s).+", "", "names the spec file"),
    "IMAGE": (r"\S+", "", "names the image that the cluster pulls: make image, docker tag, docker push"),
    "DATA_CLAIM": (r"[a-z0-9.-]+", "", "names the PersistentVolumeClaim that holds the data"),
    "RESULTS_CLAIM": (r"[a-z0-9.-]+", "", "names the PersistentVolumeClaim for results, which all pods may write"),
    "NAME": (LABEL, "", "must be 1 to 48 small letters, digits and hyphens, a letter first"),
    "NAMESPACE": (LABEL, "default", "must be a namespace of the cluster"),
    "NODES": (r"[1-9]\d*", "1", "must be how many pods train together"),
    "GPUS": (r"\d+", "1", "must be how many GPUs a pod has, 0 for its CPU"),
    "DATA_PATH": (r"/\S*", "/workspace/data", "must be the path where the spec expects the data's claim"),
}


def main() -> None:
    values = _values()
    spec = Path(values["SPEC"])
    try:
        text = spec.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        _refuse([f"SPEC={spec}: can't be read ({error})"])
    filled = {name.lower(): value for name, value in values.items()}
    # Names of a ConfigMap's entries are plain.
    filled |= {"spec": text, "spec_file": f"spec{spec.suffix}", "command": json.dumps(_command(values, spec))}
    filled["work"] = _part("work", filled)
    parts = (_part(name, filled) for name in ("spec", values["KIND"]))
    sys.stdout.write("---\n".join(parts))


def _values() -> dict[str, str]:
    """The variables, or all that is wrong with them."""
    found = {name: os.environ.get(name) or default for name, (_, default, _) in VARIABLES.items()}
    stem = re.sub("[^a-z0-9]+", "-", Path(found["SPEC"]).stem.lower()).strip("-")
    found["NAME"] = found["NAME"] or stem or "train"
    wrong = [
        f"{name}={found[name]}: {remedy}"
        for name, (form, _, remedy) in VARIABLES.items()
        if not re.fullmatch(form, found[name])
    ]
    if wrong:
        _refuse(wrong)
    return found


def _refuse(lines: list[str]) -> NoReturn:
    sys.stderr.write("\n".join(lines) + "\n")
    sys.exit(2)


def _command(values: dict[str, str], spec: Path) -> list[str]:
    endpoint = ENDPOINTS[values["KIND"]].format(name=values["NAME"])
    what = ["-e", f"/spec/spec{spec.suffix}", "-r", f"results/{values['NAME']}"]
    where = ["--gpus", values["GPUS"], "--nnodes", values["NODES"], "--rdzv_endpoint", endpoint]
    return ["tao-lite", "train", *what, *where, *sys.argv[1:]]


def _part(name: str, values: dict[str, str]) -> str:
    """A template with its values; one that has a line for itself may be several lines, as far to the right."""
    lines = []
    for line in (FOLDER / f"{name}.yaml").read_text(encoding="utf-8").splitlines():
        if alone := re.fullmatch(r"( *)\$\{(\w+)\}", line):
            lines += [f"{alone[1]}{one}" if one else "" for one in values[alone[2]].splitlines()]
        else:
            lines.append(Template(line).substitute(values))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
