"""The commands `tao-lite spec ...`: exit codes, exact output, and what they promise of the files they write."""

import json
import math
import re
import runpy
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from tao_lite import compat, schedule
from tao_lite.cli.spec import _LAYOUTS, _RECIPES, spec_group
from tao_lite.errors import TaoLiteError
from tao_lite.models.architectures import ARCHITECTURES
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec import resolved
from tao_lite.spec.load import examine, load, load_text
from tao_lite.spec.stages import STAGES
from tao_lite.spec.text.syntax import tokens
from tao_lite.spec.upgrade import upgraded
from tao_lite.stages import preflight

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted((ROOT / "specs").glob("*.cfg"))

GOOD = """\
model_config { arch: "resnet" n_layers: 18 use_batch_norm: true input_image_size: "3,64,64" }
train_config {
  train_dataset_path: "data"
  optimizer { sgd { momentum: 0.9 } }
  batch_size_per_gpu: 8
  n_epochs: 4
  preprocess_mode: "torch"
  lr_config { step { learning_rate: 0.1 step_size: 50 gamma: 0.5 } }
}
"""
OLD = """\
# Ours, from 2019
model_config {
  arch: "resnet",   # the name
  n_layers: 18;
    use_imagenet_head: False
  use_batch_norm: true
  input_image_size: "3,64,64"
}

train_config {
  train_dataset_path: "data"
  optimizer: "sgd"  # plain
  batch_size_per_gpu: 8
  n_epochs: 4
  preprocess_mode: "torch"
  lr_config {
    # the schedule
    scheduler: "step"
    learning_rate: 0.1
    step_size: 50
    gamma: 0.5
  }
}
# the end
"""

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in a folder with good.cfg and old.cfg: exit code, standard output, what was said of errors."""
    monkeypatch.chdir(tmp_path)
    Path("good.cfg").write_text(GOOD)
    Path("old.cfg").write_text(OLD)

    def run(*arguments: str) -> tuple[int, str, str]:
        code, said = 0, ""
        try:
            code = spec_group.main(arguments, prog_name="tao-lite spec", standalone_mode=False) or 0
        except click.ClickException as error:
            code, said = 2, error.format_message()
        except TaoLiteError as error:
            code, said = 2, str(error)
        printed = capsys.readouterr()
        return code, printed.out, printed.err + said

    return run


def test_check_says_ok_of_a_good_file_and_counts_the_errors_of_a_bad_one(spec: Run) -> None:
    assert spec("check", "good.cfg") == (0, "good.cfg: ok\n", "")
    Path("bad.cfg").write_text(GOOD.replace("n_epochs: 4", "n_epoch: 4").replace("momentum", "lr: 1 momentum"))
    code, out, _ = spec("check", "good.cfg", "bad.cfg")
    assert code == 2
    assert out.splitlines() == [
        "good.cfg: ok",
        (
            "bad.cfg:4:25  warning  train_config.optimizer.sgd.lr  has no effect: lr_config sets the learning rate, "
            "as in TAO"
        ),
        "bad.cfg:6:3   error    train_config.n_epoch           unknown field; did you mean n_epochs?",
        "bad.cfg: 1 error",
    ]


def test_check_counts_what_would_stop_the_stage_as_an_error(spec: Run) -> None:
    """FIELD.md D2, D3."""
    Path("page.cfg").write_text(GOOD.replace('"data"', '"/path/to/your/data"'))
    code, out, _ = spec("check", "page.cfg")
    assert code == 2
    assert out.splitlines() == [
        (
            "page.cfg:3:23  error  train_config.train_dataset_path  train would stop here: found "
            '"/path/to/your/data", and "path/to" stands in examples for a path of your own; write the path itself'
        ),
        "page.cfg: 1 error",
    ]
    assert spec("check", "page.cfg", "--stage", "inference")[0] == 0


def test_shown_spec_keeps_its_variables_and_dollar_signs(spec: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """FIELD.md A7, C3."""
    monkeypatch.setenv("IMAGES", "/data")
    Path("a.cfg").write_text(GOOD.replace('"data"', '"$IMAGES/a$$b"'))
    shown = spec("show", "a.cfg")[1]
    assert 'train_dataset_path: "$IMAGES/a$$b"' in shown
    Path("shown.cfg").write_text(shown)
    assert spec("diff", "a.cfg", "shown.cfg") == (0, "", "")


def test_check_names_what_was_converted(spec: Run) -> None:
    code, out, _ = spec("check", "old.cfg", "--json")
    kinds = [(one["line"], one["kind"], one["path"]) for one in json.loads(out)]
    assert code == 0
    assert (5, "converted", "model_config.use_imagenet_head") in kinds
    assert (12, "converted", "train_config.optimizer") in kinds
    assert {kind for _, kind, _ in kinds} == {"converted"}


def test_check_as_json_has_a_record_for_each_remark(spec: Run) -> None:
    code, out, _ = spec("check", "good.cfg", "absent.cfg", "--json", "--set", "train_config.n_epochs=0")
    assert code == 2
    first, second = json.loads(out)
    assert first == {
        "file": "good.cfg",
        "line": None,
        "column": None,
        "path": "train_config.n_epochs",
        "kind": "error",
        "text": "found 0, must be >= 1 (--set)",
    }
    assert (second["file"], second["kind"], second["line"]) == ("absent.cfg", "error", None)
    assert second["text"].startswith("no such file")
    assert spec("check", "good.cfg", "--json")[1] == "[]\n"


def test_check_knows_the_table_of_architectures_and_the_schedule(spec: Run) -> None:
    code, out, _ = spec("check", "good.cfg", "--set", "model_config.n_layers=19")
    assert code == 2
    assert "model_config.n_layers  found 19; resnet has one of 10, 18, 34, 50, 101, 152, 200 (--set)" in out
    lost = "train_config.lr_config={ step { learning_rate: 0.1 step_size: 10 gamma: 0.1 } }"
    code, out, _ = spec("check", "good.cfg", "--set", lost)
    assert code == 0
    assert "hardly anything is learnt from there on" in out


def test_check_asks_for_what_the_stage_needs(spec: Run) -> None:
    Path("model.cfg").write_text(GOOD.splitlines()[0] + '\neval_config { eval_dataset_path: "data" }')
    codes = {stage: spec("check", "model.cfg", "--stage", stage)[0] for stage in ("train", "evaluate", "export")}
    assert codes == {"train": 2, "evaluate": 0, "export": 0}


@pytest.mark.parametrize("stage", STAGES)
def test_a_path_that_a_stage_does_not_read_may_be_empty(spec: Run, stage: str) -> None:
    """FIELD.md D4: two of NVIDIA's files for evaluation have an empty train_dataset_path."""
    Path("empty.cfg").write_text(
        GOOD.replace('"data"', '""').replace("n_epochs", "distillation { teacher_path: '' } n_epochs")
        + 'eval_config { eval_dataset_path: "data" }'
    )
    code, out, _ = spec("check", "empty.cfg", "--stage", stage, "--json")
    wrong = [(one["path"], one["text"]) for one in json.loads(out) if one["kind"] == "error"]
    fields = ("train_config.train_dataset_path", "train_config.distillation.teacher_path")
    is_read = stage in ("train", "benchmark", "compress", "cross-validate", "tune")
    assert wrong == ([(field, "found an empty string, must be set") for field in fields] if is_read else [])
    assert code == (2 if is_read else 0)


def test_show_and_diff_take_a_file_with_an_empty_path(spec: Run) -> None:
    """FIELD.md D4: they read no path."""
    Path("empty.cfg").write_text(GOOD.replace('"data"', '""'))
    assert '  train_dataset_path: ""  # line 3' in spec("show", "empty.cfg")[1].splitlines()
    assert spec("diff", "good.cfg", "empty.cfg") == (1, 'train_config.train_dataset_path  "data"  ""\n', "")


def test_check_shows_no_control_character_of_a_file(spec: Run) -> None:
    Path("bad.cfg").write_text(GOOD.replace('"torch"', '"\\033[2Jé"'))
    out = spec("check", "bad.cfg")[1]
    assert "\x1b" not in out
    assert 'found "\\x1b[2Jé"' in out


@pytest.mark.parametrize("command", ["check", "show", "upgrade", "schedule", "init", "docs"])
def test_no_command_imports_torch(command: str) -> None:
    arguments = [command] if command in ("init", "docs") else [command, str(SHIPPED[0])]
    code = (
        "import sys\nfrom tao_lite.cli.spec import spec_group\n"
        f"spec_group.main({arguments}, standalone_mode=False)\n"
        "heavy = {'torch', 'torchvision', 'numpy', 'PIL', 'tensorboard', 'rich', 'yaml'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr


def test_show_gives_every_value_its_origin(spec: Run) -> None:
    code, out, _ = spec("show", "old.cfg", "--set", "train_config.n_epochs=7")
    assert code == 0
    assert out.startswith(
        "# proto-file: proto/classification.proto\n# proto-message: tao_lite.Experiment\n#\n# Resolved from old.cfg\n"
    )
    lines = out.splitlines()
    for expected in (
        "compat: CORRECTED  # default",
        "model_config {  # line 2",
        '  arch: "resnet"  # line 3',
        "  retain_head: false  # line 5, converted",
        "  use_bias: false  # default",
        "  # Not set: freeze_blocks, dropout, batch_norm_config, activation, byom_model,",
        "  optimizer {  # line 12, converted",
        "  n_epochs: 7  # --set",
        "  checkpoint {  # default",
        "    keep_last: 1  # default",
        "dataset_config {  # default",
    ):
        assert expected in lines, expected


def test_show_says_what_tao_exact_changes(spec: Run) -> None:
    Path("exact.cfg").write_text("compat: TAO_EXACT\n" + GOOD.replace("sgd { momentum: 0.9 }", "adam { }"))
    lines = spec("show", "exact.cfg", "--set", "train_config.label_smoothing=0.1")[1].splitlines()
    assert "  label_smoothing: 0  # compat: TAO_EXACT" in lines
    assert "      beta_1: 0  # compat: TAO_EXACT" in lines


def test_the_output_of_show_loads_to_the_same_spec(spec: Run, tmp_path: Path) -> None:
    for path in (*SHIPPED, Path("good.cfg"), Path("old.cfg")):
        code, out, _ = spec("show", str(path))
        assert code == 0
        assert_same_values(load(path).experiment, load_text(out, tmp_path / "shown.cfg").experiment)


def test_show_of_every_real_spec_loads_to_the_same_spec(spec: Run, shared: Path) -> None:
    shown = 0
    for path in real_specs(shared):
        before = examine(path.read_text(), path, stage="export")
        if before.problems:
            continue
        after = examine(spec("show", str(path))[1], path, stage="export")
        assert after.problems == [], path.name
        assert_same_values(before.experiment, after.experiment)
        shown += 1
    assert shown > 35


def test_show_of_a_wrong_spec_tells_its_problems(spec: Run) -> None:
    Path("bad.cfg").write_text(GOOD.replace("n_epochs: 4", "n_epochs: 0"))
    code, out, said = spec("show", "bad.cfg")
    assert (code, out) == (2, "")
    assert said == "bad.cfg:6:13: train_config.n_epochs: found 0, must be >= 1"


UPGRADED = """\
# Ours, from 2019
model_config {
  arch: "resnet"  # the name
  n_layers: 18
  retain_head: False
  use_batch_norm: true
  input_image_size: "3,64,64"
}

train_config {
  train_dataset_path: "data"
  optimizer { sgd { momentum: 0.9 } }  # plain
  batch_size_per_gpu: 8
  n_epochs: 4
  preprocess_mode: "torch"
  lr_config {
    # the schedule
    step {
      learning_rate: 0.1
      step_size: 50
      gamma: 0.5
    }
  }
}
# the end
"""


def test_upgrade_writes_todays_spelling_with_comments_and_order(spec: Run) -> None:
    code, out, said = spec("upgrade", "old.cfg")
    assert code == 0
    assert without_blanks(out) == without_blanks(UPGRADED)
    assert said.splitlines()[0].startswith("old.cfg:5:5: model_config.use_imagenet_head: ")
    Path("new.cfg").write_text(out)
    assert spec("upgrade", "new.cfg") == (0, out, "")
    assert spec("diff", "old.cfg", "new.cfg") == (0, "", "")
    assert spec("check", "new.cfg") == (0, "new.cfg: ok\n", "")


def test_upgrade_writes_new_files_only_unless_it_is_told(spec: Run) -> None:
    new = spec("upgrade", "old.cfg")[1]
    assert spec("upgrade", "old.cfg", "-o", "new.cfg")[:2] == (0, "")
    assert Path("new.cfg").read_text() == new
    for arguments, said in (
        (("-o", "new.cfg"), "new.cfg exists; name a new file"),
        (("-o", "old.cfg"), "old.cfg exists; name a new file"),
        (("-o", "none/new.cfg"), "none is not a folder; make it first"),
        (("-o", "other.cfg", "--in_place"), "give -o or --in_place, not both"),
        (("-o", "other.yaml"), "other.yaml: text format is written; name a file such as other.cfg with -o"),
    ):
        assert spec("upgrade", "good.cfg", *arguments) == (2, "", said)
    assert Path("old.cfg").read_text() == OLD
    assert sorted(path.name for path in Path().iterdir()) == ["good.cfg", "new.cfg", "old.cfg"]


def test_upgrade_in_place_keeps_links_and_modes(spec: Run) -> None:
    Path("link.cfg").symlink_to("old.cfg")
    Path("old.cfg").chmod(0o600)
    new = spec("upgrade", "old.cfg")[1]
    assert spec("upgrade", "link.cfg", "--in_place")[:2] == (0, "")
    assert Path("link.cfg").is_symlink()
    assert Path("old.cfg").read_text() == new
    assert Path("old.cfg").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in Path().iterdir()) == ["good.cfg", "link.cfg", "old.cfg"]


def test_upgrade_shows_the_difference_and_writes_only_where_it_is_told(spec: Run) -> None:
    code, out, _ = spec("upgrade", "old.cfg", "--diff")
    assert code == 0
    assert out.startswith("--- old.cfg\n+++ old.cfg\n@@")
    assert '-  optimizer: "sgd"  # plain\n+  optimizer { sgd { momentum: 0.9 } }  # plain\n' in out
    assert Path("old.cfg").read_text() == OLD
    assert spec("upgrade", "good.cfg", "--diff") == (0, "", "")
    assert spec("upgrade", "old.cfg", "--diff", "--in_place")[1] == out
    assert spec("upgrade", "old.cfg", "--diff") == (0, "", "")


def test_a_spec_of_another_family_is_shown_and_compared_as_ours(spec: Run) -> None:
    Path("a.yaml").write_text("model: {backbone: resnet_34}\ntrain: {num_epochs: 7, n_workers: '2'}\n")
    code, out, said = spec("show", "a.yaml", "train.num_epochs=9", "train_config.n_workers=3")
    assert (code, said) == (0, "")
    for line in (
        "  n_epochs: 9  # --set",
        "  n_workers: 3  # --set",
        "  n_layers: 34  # line 1, converted",
        "  batch_size_per_gpu: 64  # classification_tf2's default",
        "  mixup_alpha: 0  # default",
    ):
        assert line in out.splitlines(), line
    assert spec("upgrade", "a.yaml", "-o", "a.cfg")[0] == 0
    assert spec("diff", "a.yaml", "a.cfg") == (0, "", "")


def test_what_has_no_field_here_is_listed_with_what_happens_instead(spec: Run) -> None:
    Path("a.yaml").write_text(
        "model: {backbone: resnet_34}\nkey: k\ntrain: {qat: true, wandb: {name: a, tags: [b], run_id: c}}\n"
    )
    _, _, said = spec("upgrade", "a.yaml")
    assert said.splitlines() == [
        "a.yaml:1:1: classification_tf2 is the family of this file; tao-lite spec upgrade writes it in our words",
        "a.yaml:2:1: key: classification_tf2: no field here: no file is encrypted",
        "a.yaml:3:9: train.qat: classification_tf2: has no effect: there is no quantization-aware training here",
        "a.yaml:3:48: train.wandb: classification_tf2: run_id: no field here: the numbers are TensorBoard's",
    ]


def test_overrides_need_no_dashes_in_check_either(spec: Run) -> None:
    assert spec("check", "good.cfg", "train_config.n_epochs=0")[1].startswith(
        "good.cfg  error  train_config.n_epochs  "
    )
    code, out, _ = spec("check", "good.cfg", "train_config.n_epochs=3")
    assert (code, out) == (0, "good.cfg: ok\n")


def test_an_argument_that_is_no_override_is_refused(spec: Run) -> None:
    code, _, said = spec("show", "good.cfg", "n_epochs")
    assert (code, said) == (2, "Got unexpected extra argument (n_epochs); overrides are FIELD=VALUE")


def test_upgrade_to_tao_says_what_is_left_out_and_what_tao_computes_otherwise(spec: Run) -> None:
    Path("ours.cfg").write_text(GOOD.replace("n_epochs: 4", "n_epochs: 4 ema_decay: 0.9"))
    code, out, said = spec("upgrade", "ours.cfg", "--to", "tao")
    assert (code, "ema_decay" in out, "n_epochs: 4" in out) == (0, False, True)
    assert "ours.cfg:6:15: train_config.ema_decay: left out: TAO goes without it\n" in said
    otherwise = "ours.cfg: train_config.preprocess_mode: torch divides by 0.229, 0.224, 0.225 under CORRECTED; under"
    assert otherwise in said
    Path("ours.cfg").write_text(f"compat: TAO_EXACT {GOOD}")
    assert otherwise not in spec("upgrade", "ours.cfg", "--to", "tao")[2]


def test_upgrade_makes_text_format_of_other_forms(spec: Run) -> None:
    Path("a.yaml").write_text("model_config: {arch: resnet, use_imagenet_head: true} # ours\n")
    code, out, _ = spec("upgrade", "a.yaml")
    assert (code, out) == (0, 'model_config {\n  arch: "resnet"\n  retain_head: true  # ours\n}\n')
    assert spec("upgrade", "a.yaml", "--in_place")[0] == 2


def test_upgrade_of_what_is_no_spec_tells_the_place(spec: Run) -> None:
    Path("bad.cfg").write_text("model_config {")
    assert spec("upgrade", "bad.cfg") == (
        2,
        "",
        "bad.cfg:1:15: the file ends inside the block opened at line 1; a '}' is missing",
    )


def test_upgrade_keeps_comments_order_and_meaning_of_every_real_spec(shared: Path) -> None:
    for path in real_specs(shared):
        assert_upgrade_is_sound(path.read_text(), path)


MODEL = st.lists(
    st.sampled_from(
        (
            *('arch: "ResNet",', "use_imagenet_head: True", 'n_layers: "18"', "use_batch_norm: yes"),
            *("input_image_size: [3, 64, 64]", "n_layers: 18", "unknown_field: 3"),
            *("freeze_blocks: [0, 1]", "freeze_blocks: 0"),
        )
    ),
    max_size=5,
)
TRAIN = st.lists(
    st.sampled_from(
        (
            *('optimizer: "sgd"', "optimizer { adam { learning_rate: 0.1 } }", "n_epochs: 80.0", "n_epochs: 80"),
            *('preprocess_mode: "Caffe"', 'reg_config { type: "none" scope: "Conv2D, Dense" weight_decay: 0.1 }'),
            'lr_config { scheduler: "soft_anneal" learning_rate: 0.1 soft_start: 0.1 annealing_points: "0.3, 0.6" }',
            'lr_config {\n scheduler: "step"\n learning_rate: 0.1\n step_size: 10\n gamma: 0.1\n }',
            *("learning_rate: 1", "image_mean { key: 'R' value: 1 }", "lr_config { cosine { learning_rate: 0.1 } }"),
        )
    ),
    max_size=5,
)
EVALUATION = st.lists(st.sampled_from(["conf_threshold: 0.5", "top_k: '3'", 'model_path: "None"']), max_size=3)
GAPS = st.lists(st.sampled_from([" # {}\n", "\n# {}\n", "\n\n  # {}\n", "\n", "\n\n", " ", "\t"]), min_size=30)


@st.composite
def old_specs(draw: st.DrawFn) -> str:
    """Old spellings in any order and number, blocks given in parts, with numbered comments between."""
    gaps = iter(draw(GAPS) + [" "] * 200)
    blocks = draw(st.lists(st.sampled_from(["model_config", "train_config", "eval_config"]), min_size=1, max_size=5))
    pieces = []
    for name in blocks:
        pieces += [f"{name} {{", *draw({"model_config": MODEL, "train_config": TRAIN}.get(name, EVALUATION)), "}"]
    text = "".join(next(gaps) + piece for piece in pieces) + next(gaps)
    first, *parts = text.split("{}")
    return first + "".join(f"{number}{part}" for number, part in enumerate(parts))


@pytest.mark.slow
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(text=old_specs())
@example(text=OLD)
@example(text="train_config { n_epochs: 1 }\n# before\ntrain_config { # in\n n_epochs: 1 } # after\n# end")
def test_upgrade_keeps_comments_order_and_meaning(text: str) -> None:
    assert_upgrade_is_sound(text, Path("spec.cfg"))


@pytest.mark.parametrize("layout", _LAYOUTS)
@pytest.mark.parametrize("arch", [*sorted(ARCHITECTURES), "timm/resnet10t", "torchvision/mobilenet_v3_small"])
def test_init_writes_a_spec_that_loads_without_a_warning(spec: Run, layout: str, arch: str) -> None:
    code, out, said = spec("init", "--format", layout, "--arch", arch, "-o", "new.cfg")
    assert (code, out, said) == (0, "", "")
    made = load(Path("new.cfg"), check=preflight.check, running=True)
    assert (made.warnings, made.notes) == ((), ())
    assert made.experiment.dataset_config.HasField("sample") == (layout == "sample")
    assert spec("upgrade", "new.cfg", "--diff") == (0, "", "")


def test_show_says_what_is_from_a_recipe(spec: Run) -> None:
    Path("named.cfg").write_text(GOOD.replace("n_epochs: 4", "n_epochs: 4 recipe: FINE_TUNE"))
    code, out, _ = spec("show", "named.cfg")
    assert code == 0
    assert "  layer_decay: 0.8  # recipe FINE_TUNE\n" in out
    assert "  n_epochs: 4  # line 6\n" in out


def test_init_takes_every_layout_of_the_schema() -> None:
    kinds = pb.DatasetFormat.DESCRIPTOR.enum_types_by_name["Kind"].values_by_name
    assert sorted(_LAYOUTS) == sorted({"sample"} | {kind.lower() for kind in kinds if kind != "AUTO"})


def test_init_takes_every_recipe_of_the_schema_and_writes_its_values(spec: Run) -> None:
    assert ["NONE", *_RECIPES] == list(pb.Recipe.Name.keys())
    code, out, _ = spec("init", "--recipe", "fine_tune", "--set", "train_config.layer_decay=0.2")
    assert code == 0
    assert "layer_decay: 0.2\n" in out
    assert "recipe:" not in out
    made = load_text(out, Path("made.cfg")).experiment
    named = load_text(out.replace("train_config {", "train_config { recipe: FINE_TUNE"), Path("named.cfg")).experiment
    assert [path for path, _, _ in resolved.differences(made, named)] == ["train_config.recipe"]


def test_init_explains_each_field_and_takes_what_is_given(spec: Run) -> None:
    code, out, _ = spec(
        *("init", "--n_layers", "50", "--image_size", "96", "128", "--format", "kitti"),
        *("--set", "train_config.n_epochs=3"),
    )
    assert code == 0
    assert out.startswith("# proto-file: proto/classification.proto\n# proto-message: tao_lite.Experiment\n#\n")
    assert "  # Passes over the training images.\n  n_epochs: 3\n" in out
    assert "  n_layers: 50\n" in out
    assert '  input_image_size: "3,96,128"\n' in out
    lines = out.splitlines()
    for number, line in enumerate(lines):
        if ":" in line and not line.lstrip().startswith("#"):
            assert lines[number - 1].lstrip().startswith("# "), line


def test_init_refuses_what_the_network_does_not_come_in(spec: Run) -> None:
    code, out, said = spec("init", "--n_layers", "19")
    assert (code, out) == (2, "")
    assert said == "--set: model_config.n_layers: found 19; resnet has one of 10, 18, 34, 50, 101, 152, 200"
    assert spec("init", "-o", "good.cfg") == (2, "", "good.cfg exists; name a new file")


def test_diff_compares_what_specs_mean(spec: Run) -> None:
    Path("same.cfg").write_text(
        "train_config { n_epochs: 0x4 checkpoint { }\n"
        '  train_dataset_path: "data" optimizer { sgd { momentum: 9e-1 nesterov: false } } batch_size_per_gpu: 8\n'
        '  preprocess_mode: "torch" lr_config { step { learning_rate: .1 step_size: 50 gamma: 0.5 } }\n}\n'
        'model_config { arch: "resnet" use_batch_norm: true input_image_size: "3,64,64" }\n'
    )
    assert spec("diff", "good.cfg", "same.cfg") == (0, "", "")
    other = GOOD.replace("sgd { momentum: 0.9 }", "adam { }").replace("n_epochs: 4", "n_epochs: 5 early_stopping { }")
    Path("other.cfg").write_text(other)
    code, out, _ = spec("diff", "good.cfg", "other.cfg")
    assert code == 1
    assert [line.split(maxsplit=1) for line in out.splitlines()] == [
        ["train_config.optimizer", "sgd  adam"],
        ["train_config.optimizer.sgd.lr", "0  not set"],
        ["train_config.optimizer.sgd.decay", "0  not set"],
        ["train_config.optimizer.sgd.momentum", "0.9  not set"],
        ["train_config.optimizer.sgd.nesterov", "false  not set"],
        ["train_config.n_epochs", "4  5"],
        ["train_config.optimizer.adam.lr", "not set  0"],
        ["train_config.optimizer.adam.beta_1", "not set  0.9"],
        ["train_config.optimizer.adam.beta_2", "not set  0.999"],
        ["train_config.optimizer.adam.epsilon", "not set  1e-08"],
        ["train_config.optimizer.adam.decay", "not set  0"],
        ["train_config.early_stopping.patience", "not set  10"],
        ["train_config.early_stopping.min_delta", "not set  0"],
    ]
    assert spec("diff", "good.cfg", "absent.cfg")[0] == 2


def test_schedule_shows_the_values_of_the_schedule(spec: Run) -> None:
    for path in (Path("good.cfg"), *SHIPPED):
        code, out, _ = spec("schedule", str(path))
        assert code == 0
        curve, _, *rows = out.splitlines()
        train = load(path).experiment.train_config
        expected = schedule.table(schedule.make_schedule(train.lr_config), train.n_epochs)
        shown = [(int(epoch), float(rate)) for epoch, rate in (row.split() for row in rows)]
        assert [epoch for epoch, _ in shown] == [epoch for epoch, _ in expected]
        assert all(math.isclose(a, b, rel_tol=1e-3) for (_, a), (_, b) in zip(shown, expected, strict=True))
        assert len(curve) == 60


def test_schedule_is_exact_to_the_character(spec: Run) -> None:
    # 0.1 for the first half, then half of it: full bars, then the bar of a half.
    assert spec("schedule", "good.cfg")[1] == (
        f"{'█' * 30}{'▅' * 29}▃\nepochs done  learning rate\n"
        "          0  0.1\n          1  0.1\n          2  0.05\n          3  0.05\n          4  0.025\n"
    )


def test_schedule_draws_the_curve(spec: Run) -> None:
    assert spec("schedule", "good.cfg", "--png", "curve.png")[0] == 0
    with Image.open("curve.png") as picture:
        assert picture.size == (960, 480)
        colours = picture.getcolors(maxcolors=picture.width * picture.height)
    assert colours is not None
    blue = [(count, colour) for count, colour in colours if isinstance(colour, tuple) and colour[2] - colour[0] > 100]
    assert sum(count for count, _ in blue) > 1000


def test_schedule_of_a_spec_without_one_says_what_is_missing(spec: Run) -> None:
    Path("model.cfg").write_text(GOOD.splitlines()[0])
    assert spec("schedule", "model.cfg")[::2] == (
        2,
        "model.cfg: train_config.n_epochs: is missing; the schedule is over the epochs of a run",
    )


def test_docs_explain_a_field_by_its_path_or_name(spec: Run) -> None:
    expected = (
        "train_config.n_epochs: Passes over the training images.\n  type     uint32\n"
        "  rule     required by train; >= 1\n"
    )
    assert spec("docs", "train_config.n_epochs") == (0, expected, "")
    assert spec("docs", "n_epochs") == (0, expected, "")
    assert "  FP16  float16 autocast with loss scaling.\n" in spec("docs", "precision")[1]
    assert "  default  1e-05\n" in spec("docs", "batch_norm_config.epsilon")[1]
    assert "  momentum  float  " in spec("docs", "batch_norm_config")[1]
    assert spec("docs")[1].splitlines()[0].split() == ["eval_config", "EvalConfig", "Evaluation", "and", "inference."]


def test_docs_say_why_a_field_is_not_found(spec: Run) -> None:
    assert spec("docs", "n_epoch") == (2, "", "n_epoch: no such field; did you mean n_epochs?")
    assert spec("docs", "momentum") == (
        2,
        "",
        (
            "momentum: found in model_config.batch_norm_config.momentum, train_config.optimizer.sgd.momentum; name one "
            "of them"
        ),
    )


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_specs_tell_editors_their_schema(path: Path) -> None:
    file, message = path.read_text().splitlines()[:2]
    assert file.startswith("# proto-file: ")
    assert message.startswith("# proto-message: ")
    schema = (ROOT / file.removeprefix("# proto-file: ")).read_text()
    package, _, name = message.removeprefix("# proto-message: ").rpartition(".")
    assert f"\npackage {package};\n" in schema
    assert f"\nmessage {name} {{\n" in schema


def test_the_ten_broken_specs_have_one_problem_each() -> None:
    broken = runpy.run_path(str(ROOT / "proto" / "broken.py"))
    answers = [broken["answer"](broken["GOOD"].replace(old, new)) for _, old, new in broken["MISTAKES"]]
    assert broken["answer"](broken["GOOD"]) == []
    assert [len(answer) for answer in answers] == [1] * 10


def real_specs(shared: Path) -> Sequence[Path]:
    return [path for path in sorted((shared / "specs").iterdir()) if path.suffix in (".cfg", ".txt")]


def without_blanks(text: str) -> list[str]:
    return [line for line in text.splitlines() if line]


def comments(text: str) -> list[str]:
    return sorted(comment for token in tokens(text) for _, comment in token.comments if comment)


def assert_same_values(one: pb.Experiment, other: pb.Experiment) -> None:
    assert resolved.values(compat.effective(one)) == resolved.values(compat.effective(other))


def assert_upgrade_is_sound(text: str, path: Path) -> None:
    """Idempotent, with every comment, and loading to the same spec with the same problems."""
    new, _ = upgraded(text, path)
    assert upgraded(new, path) == (new, [])
    assert comments(new) == comments(text)
    before, after = (examine(one, path, stage="train", check=preflight.check) for one in (text, new))
    assert after.notes == []
    assert after.experiment == before.experiment
    for problems in ("problems", "blockers", "warnings"):
        said = [
            sorted((one.path, re.sub(r"line \d+", "line N", one.text)) for one in getattr(report, problems))
            for report in (before, after)
        ]
        assert said[0] == said[1]


def test_shown_spec_leaves_open_what_depends_on_the_data(spec: Run) -> None:
    """FIELD.md A9: unset, the least height of an object is 16 pixels in KITTI and 0 elsewhere."""
    shown = spec("show", "old.cfg")[1]
    assert "min_height_pixels:" not in shown
    assert "min_height_pixels" in shown
    assert "min_height_pixels: 16" in spec("show", "old.cfg", "--set", "dataset_config.kitti.min_height_pixels=16")[1]
