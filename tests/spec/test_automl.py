"""specs/automl is what NVIDIA's search library takes: its dialect of JSON schema, a spec of ours, a trial that runs.

The dialect was read in nvidia_tao_automl 7.2.0, which has driven trainings by these files (hyperband, asha). That they
are what the schema gives is checked with the rest of the generated files.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tao_lite.spec import schema
from tao_lite.spec.load import load_text
from tests.conftest import ROOT
from tests.test_pipeline import environment

FOLDER = ROOT / "specs" / "automl"
SCHEMA: dict[str, Any] = json.loads((FOLDER / "schemas" / "train.schema.json").read_text())
RESUME = "resume_training_checkpoint_path"
TYPES: dict[str, Any] = {"integer": int, "number": (int, float), "boolean": bool, "string": str, "array": list}


def leaves(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, one in node["properties"].items():
        whole = f"{path}.{name}" if path else name
        if one["type"] == "object":
            assert one["properties"], whole
            yield from leaves(one, whole)
        else:
            yield whole, one


LEAVES = dict(leaves(SCHEMA))


def test_every_field_but_maps_is_there() -> None:
    def paths(message: Any, path: str = "") -> Iterator[str]:
        for name, field in schema.fields(message).items():
            block = schema.block_type(field)
            if block and not field.is_repeated:
                yield from paths(block, f"{path}{name}.")
            elif not schema.is_map(field):
                yield f"{path}{name}"

    assert set(LEAVES) == {*paths(schema.EXPERIMENT), "results_dir", RESUME}


def test_leaves_are_of_the_dialect() -> None:
    for path, one in LEAVES.items():
        if "default" in one:
            assert isinstance(one["default"], TYPES[one["type"]]), path
            assert one["default"] in one.get("enum", [one["default"]]), path
            if one["type"] in ("integer", "number"):
                assert one.get("minimum", 0) <= one["default"] <= one.get("maximum", float("inf")), path
        if one.get("automl_enabled"):
            assert one["type"] == "boolean" or {"minimum", "maximum"} <= set(one), path


def test_what_is_searched_can_be_put_into_the_first_spec() -> None:
    """Both ends of each range pass the rules, with all the others."""
    searched = {path: one for path, one in LEAVES.items() if one.get("automl_enabled")}
    assert "train_config.lr_config.cosine.learning_rate" in searched
    spec = {name: value for name, value in SCHEMA["default"].items() if name not in ("results_dir", RESUME)}
    for end in ("minimum", "maximum"):
        given = [f"{path}={one.get(end, 'true')}" for path, one in searched.items()]
        found = load_text(json.dumps(spec), Path("trial.json"), overrides=given).experiment
        assert found.train_config.batch_size_per_gpu == searched["train_config.batch_size_per_gpu"][end]


def test_the_skill_names_what_is_there() -> None:
    skill = yaml.safe_load((FOLDER / "references" / "skill_info.yaml").read_text())
    action = skill["actions"]["train"]
    assert (FOLDER / action["execution"]["script"]).is_file()
    assert action["execution"]["args"] == ["{config_path}"]
    assert action["config_format"] == "json"
    assert action["outputs"] == ["results_dir"]
    assert "train" not in SCHEMA["properties"]  # by which it would set intervals of checkpoints that we don't have


@pytest.mark.slow
def test_a_trial_that_is_promoted_goes_on(colours: Path, tmp_path: Path) -> None:
    """As the search runs it: by an own interpreter, the parent's file found by the number of its epochs."""
    spec = json.loads(json.dumps(SCHEMA["default"]))
    spec["model_config"] |= {"input_image_size": "3,32,32", "n_layers": 10}
    spec["train_config"] |= {"train_dataset_path": str(colours), "batch_size_per_gpu": 16}

    def trial(name: str, n_epochs: int, parent: str = "") -> Path:
        results, given = tmp_path / name, tmp_path / name / "job" / "spec.json"
        given.parent.mkdir(parents=True)
        spec["train_config"]["n_epochs"] = n_epochs
        given.write_text(json.dumps({**spec, "results_dir": str(results), RESUME: parent}))
        subprocess.run([sys.executable, FOLDER / "train.py", given], check=True, env=environment(), cwd=ROOT)
        return results

    first = trial("first", 1)
    promoted = trial("promoted", 2, str(first / "model_epoch_001.pth"))
    rows = (promoted / "training.csv").read_text().splitlines()[1:]
    assert [row.partition(",")[0] for row in rows] == ["2"]
    assert (promoted / "model_epoch_002.pth").samefile(promoted / "weights" / "resnet_002.pth")
    last = json.loads((promoted / "status.json").read_text().splitlines()[-2])
    assert 0 <= float(last["kpi"]["validation_accuracy"]) <= 1
