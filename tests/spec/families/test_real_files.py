"""Every stored YAML of NVIDIA's: its family, the stages that it is for, and what `spec upgrade` makes of it."""

import itertools
from pathlib import Path

import pytest
from PIL import Image

from tao_lite.models.architectures import input_shape
from tao_lite.spec import resolved
from tao_lite.spec.families.marks import MULTITASK, OPENMMLAB, PYT, TF2
from tao_lite.spec.findings import Finding
from tao_lite.spec.load import Examined, examine, read
from tao_lite.spec.text import forms
from tao_lite.spec.upgrade import upgraded
from tao_lite.stages import preflight
from tests import commands
from tests.conftest import EVERYTHING, ROOT
from tests.test_pipeline import environment

SPECS = ROOT.parent / "shared" / "specs_yaml"
FILES = sorted(path for path in SPECS.rglob("*") if path.is_file() and path.name != "INDEX.md")
YAML = [path for path in FILES if forms.is_other(path)]
FAMILIES = {"tf2": TF2, "tf2_first": TF2, "pyt": PYT, "pyt_openmmlab": OPENMMLAB}
# A block of theirs -> the stage that the file is for.
STAGES = {
    **dict.fromkeys(("train", "train_config"), "train"),
    **dict.fromkeys(("evaluate", "eval", "eval_config"), "evaluate"),
    **{name: name for name in ("prune", "export", "inference")},
}
TRAINING = [
    path for path in YAML if {"train", "train_config"} & {entry.name for entry in forms.named(read(path), path).entries}
]
# Of what a file needs, what only its user can give.
GIVEN = ("train_config.train_dataset_path", "train_config.val_dataset_path", "eval_config.eval_dataset_path")
WEIGHTS = ("train_config.pretrained_model_path", "eval_config.model_path", "prune_config.model_path")
# Networks that can't be built, with the word by which the refusal tells why.
REFUSED = {"byom": "encrypted", "fan_": "FAN", "siglip": "CLIP", "dinov2_swiglu": "DINOv2"}

pytestmark = pytest.mark.skipif(not FILES, reason="needs ../shared, the real spec files beside the project")


def named(path: Path) -> str:
    return f"{path.parent.name}-{path.stem[-40:]}"


def checked(path: Path, stage: str | None, folder: Path) -> Examined:
    """The file as `spec check --stage` sees it, its paths overridden."""
    (folder / "a.pth").touch()
    paths = [*(f"{field}={folder}" for field in GIVEN), *(f"{field}={folder / 'a.pth'}" for field in WEIGHTS)]
    return examine(read(path), path, stage=stage, overrides=paths, check=preflight.check if stage else None)


def is_a_right_refusal(finding: Finding, experiment_arch: str) -> bool:
    """Whether a network is refused that nobody can build here, for its own reason."""
    whys = [why for part, why in REFUSED.items() if part in experiment_arch.lower().replace("-", "_")]
    return finding.path == "model_config.arch" and any(why in finding.text for why in whys)


@pytest.mark.parametrize("path", YAML, ids=named)
def test_its_family_is_told_by_its_keys(path: Path) -> None:
    assert examine(read(path), path, stage=None).family == FAMILIES[path.parent.name]


@pytest.mark.parametrize("path", [path for path in FILES if path not in YAML], ids=named)
def test_a_multitask_spec_can_be_trained_and_upgraded(path: Path, tmp_path: Path) -> None:
    found = examine(read(path), path, stage="train", check=preflight.check)
    assert (found.family, found.problems) == (MULTITASK, [])
    copy = tmp_path / "a.cfg"
    text, _ = upgraded(read(path), path)
    copy.write_text(text)
    assert "# Setting these parameters to true" in text
    assert upgraded(text, copy) == (text, [])
    assert examine(text, copy, stage="train").experiment == found.experiment


@pytest.mark.parametrize("path", YAML, ids=named)
def test_it_passes_for_the_stages_that_it_is_for(path: Path, tmp_path: Path) -> None:
    blocks = {entry.name for entry in forms.named(read(path), path).entries}
    stages = {STAGES[block] for block in blocks & STAGES.keys()} or {"evaluate"}
    for stage in stages:
        found = checked(path, stage, tmp_path)
        arch = found.experiment.model_config.arch
        wrong = [one for one in (*found.problems, *found.blockers) if not is_a_right_refusal(one, arch)]
        assert found.lines(wrong) == (), stage
        assert all(FAMILIES[path.parent.name] in one.text for one in found.findings), stage


@pytest.mark.slow
@pytest.mark.parametrize("path", TRAINING if EVERYTHING else TRAINING[::9], ids=named)
def test_it_trains_for_an_epoch(path: Path, tmp_path: Path) -> None:
    found = checked(path, "train", tmp_path)
    channels, _, _ = input_shape(found.experiment.model_config)
    for split, name in itertools.product(("train", "val"), ("a", "b", "c")):
        (tmp_path / split / name).mkdir(parents=True)
        Image.new("RGB" if channels == 3 else "L", (40, 30), 90).save(tmp_path / split / name / "1.png")
    settings = {
        "train_config.train_dataset_path": tmp_path / "train",
        "train_config.val_dataset_path": tmp_path / "val",
        "train_config.pretrained_model_path": "",
        "train_config.n_epochs": 1,
        "train_config.batch_size_per_gpu": 2,
        "dataset_config.classmap_path": "",
    }
    overrides = [text for name, value in settings.items() for text in ("--set", f"{name}={value}")]
    ran = commands.run(["train", "-e", str(path), "-r", str(tmp_path / "results"), *overrides], environment())
    if any(is_a_right_refusal(one, found.experiment.model_config.arch) for one in found.findings):
        assert ran.returncode == 2
    else:
        assert ran.returncode == 0, ran.stderr
        assert (tmp_path / "results" / "weights" / "best.pth").exists()


@pytest.mark.parametrize("path", YAML, ids=named)
def test_upgrading_keeps_its_meaning_and_changes_nothing_the_second_time(path: Path, tmp_path: Path) -> None:
    text, _ = upgraded(read(path), path)
    copy = tmp_path / "a.cfg"
    copy.write_text(text)
    assert upgraded(text, copy) == (text, [])
    old, new = (examine(read(one), one, stage=None).experiment for one in (path, copy))
    assert old == new
    assert resolved.differences(old, new) == []


@pytest.mark.parametrize("path", YAML, ids=named)
def test_upgrading_keeps_every_comment(path: Path) -> None:
    comments = [line.strip() for line in read(path).splitlines() if line.strip().startswith("#")]
    text, _ = upgraded(read(path), path)
    assert [comment for comment in comments if comment not in text] == []
