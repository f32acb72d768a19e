"""Files that are no specs: a clear answer within 500 MB, without a hang, and never another error than SpecError."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tao_lite.errors import SpecError
from tao_lite.spec.load import MAX_BYTES, load_text
from tao_lite.stages import preflight
from tests.conftest import ROOT

MAX_MEGABYTES = 500

SPECS = [path.read_text() for path in sorted((ROOT / "specs").glob("*.cfg"))]
OLD = """\
model_config { arch: "ResNet", n_layers: "18" use_imagenet_head: True freeze_blocks: "0 1" }
model_config { input_image_size: [3, 64, 80] activation { activation_type: "mish" } byom_model: "a.tltb" }
train_config {
  train_dataset_path: "~/train"; val_dataset_path: "$HOME/val" pretrained_model_path: "TAO_DATA_PATH/a.tlt"
  optimizer: "sgd" learning_rate: 0.1 n_epochs: 80.0 batch_size_per_gpu: 8 label_smoothing: "0.1" mixup_alpha: .2
  reg_config { type: "l2" scope: "Conv2D, Dense" weight_decay: 5e-5 } image_mean { key: 'B' value: 1 }
  lr_config { scheduler: "soft_anneal" annealing_points: "0.3, 0.6" annealing_divider: 10 soft_start: 0.1 gamma: 1 }
}
eval_config { conf_threshold: 0.5 model_path: "{{ model }}.hdf5" eval_dataset_path: "C:\\\\data" }
compat: TAO_EXACT
"""


def filled(piece: str, start: str = "", end: str = "") -> bytes:
    """As many pieces as a spec file may hold."""
    return f"{start}{piece * ((MAX_BYTES - len(start) - len(end)) // len(piece))}{end}".encode()


# Content of a file, or its size where it holds zeros.
FILES: dict[str, bytes | int] = {
    "100 MB of text": b"arch: 1\n" * 12_500_000,
    "100 MB of zeros": 100_000_000,
    "10 GB of zeros": 10_000_000_000,
    "random bytes": random.Random(0).randbytes(MAX_BYTES),
    "a truncated spec": OLD.encode()[:500],
    "deep blocks": filled("a{"),
    "deep lists": filled("["),
    "deep angles": filled("a<"),
    "one word": filled("x"),
    "one number": filled("9", "model_config { n_layers: ", " }"),
    "one string": filled("x", 'model_config { arch: "', '" }'),
    "fields up to the limit": b"model_config { " + b"freeze_blocks: '1' n_layers: 8 " * 2400 + b"}",
    "an open string": filled("x", 'model_config { arch: "'),
    "unknown fields": " ".join(f"a{k}:1" for k in range(20_000)).encode(),
    "the same unknown field": filled("a:1 "),
    "many blocks": filled("model_config { } "),
    "many values": filled("n_layers: 18 ", "model_config { ", "}"),
    "a long list": filled("7,", "model_config { freeze_blocks: [", "] }"),
    "a long list in quotes": filled("7,", 'model_config { freeze_blocks: "', '" }'),
    "points out of range": filled("annealing_points: 5 ", "train_config { lr_config { soft_anneal { ", "} } }"),
    "many schedulers": filled("scheduler: 'step' ", "train_config { lr_config { ", "} }"),
    "many rates": filled("learning_rate: 1 ", "train_config { lr_config { step { learning_rate: 1 } } ", "}"),
    "many dropped fields": filled("conf_threshold: 1 ", "eval_config { ", "}"),
    "many variables": filled("$A1", 'train_config { train_dataset_path: "', '" }'),
    "many placeholders": filled("{{", 'train_config { train_dataset_path: "', '" }'),
    "many lists in quotes": filled('freeze_blocks: "1" ', "model_config { ", "}"),
    "many unset paths": filled('model_path: "none" ', "eval_config { ", "}"),
    "many words in the scope": filled("a,", 'train_config { reg_config { type: "L2" scope: "dense,', '" } }'),
    "many sizes": filled("9 ", 'model_config { input_image_size: "', '" }'),
    "many comments": filled("# a\n"),
}

MEASURE = """
import json, re, resource, sys
from pathlib import Path
from tao_lite.errors import SpecError
from tao_lite.spec.load import load
from tao_lite.stages import preflight
resource.setrlimit(resource.RLIMIT_CPU, (20, 20))  # a hang ends as a failure
try:
    load(Path(sys.argv[1]), check=preflight.check)
    answer = ""
except SpecError as error:
    answer = str(error)
# Not ru_maxrss, which a process has from the one that started it.
kilobytes = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
print(json.dumps([kilobytes / 1000, answer]))
"""


@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
def test_a_bad_file_is_answered_in_little_memory(tmp_path: Path, content: bytes | int) -> None:
    path = tmp_path / "bad.cfg"
    if isinstance(content, int):
        path.touch()
        os.truncate(path, content)
    else:
        path.write_bytes(content)
    # -W error: a leak or a deprecation is a fault too.
    command = [sys.executable, "-W", "error", "-c", MEASURE, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    megabytes, answer = json.loads(done.stdout)
    assert megabytes < MAX_MEGABYTES
    assert answer.startswith(str(path))
    assert len(answer) < 300_000
    assert len(answer.splitlines()) <= 102


def test_no_long_list_of_problems_is_shown_whole() -> None:
    points = "annealing_points: 5 " * 1000
    text = f'model_config {{ arch: "a" }} train_config {{ lr_config {{ soft_anneal {{ {points} }} }} }}'
    with pytest.raises(SpecError) as caught:
        load_text(text, Path("a.cfg"))
    lines = str(caught.value).splitlines()
    assert len(lines) == 101
    assert lines[-1].startswith("... and ")


TOKENS = [
    *("{", "}", "<", ">", "[", "]", ":", ",", ";", "#", '"', "'", "\\", "\n", "\r\n", "\t", " ", "\ufeff", "\0", "é"),
    *("-1", "0", "1e99", "nan", "inf", "-inf", "0x1F", "010", ".5", "5.", "1e-45", "9" * 30, "true", "None", "BICUBIC"),
    *('"none"', '"0.3, 0.6"', '"$X"', '"${X}"', '"~"', '"~nobody/x"', '"a.tlt"', '"a.onnx"', '"{{ x }}"', '"MY_DATA"'),
    *("model_config", "train_config", "eval_config", "training_config", "lr_config", "optimizer", "scheduler", "sgd"),
    *("step", "soft_anneal", "cosine", "annealing_points", "learning_rate", "use_imagenet_head", "retain_head", "key"),
    *(
        "input_image_size",
        "arch",
        "image_mean",
        "value",
        "scope",
        "type",
        "compat",
        "n_layers",
        "freeze_blocks",
        "kitti",
    ),
]


def _cut(text: str, at: int, length: int, _: str) -> str:
    return text[:at] + text[at + length :]


def _repeat(text: str, at: int, length: int, _: str) -> str:
    return text[: at + length] + text[at:]


def _insert(text: str, at: int, _: int, token: str) -> str:
    return f"{text[:at]}{token}{text[at:]}"


def _replace(text: str, at: int, length: int, token: str) -> str:
    return f"{text[:at]}{token}{text[at + length :]}"


MUTATIONS = st.lists(
    st.tuples(
        st.sampled_from([_cut, _repeat, _insert, _replace]),
        st.floats(0, 1),
        st.integers(1, 40),
        st.sampled_from(TOKENS) | st.text(max_size=4),
    ),
    min_size=1,
    max_size=8,
)

Mutation = tuple[Callable[[str, int, int, str], str], float, int, str]


OVERRIDES = ["", "train_config.n_epochs=1", "model_config.arch=a\n", "train_config.optimizer=sgd", "a.b=[1"]


@pytest.mark.filterwarnings("ignore:invalid escape sequence")
@settings(max_examples=400)
@given(
    text=st.sampled_from([*SPECS, OLD]),
    mutations=MUTATIONS,
    stage=st.sampled_from(["train", "evaluate", "prune", "export"]),
    override=st.sampled_from(OVERRIDES),
)
@example(text=OLD, mutations=[], stage="train", override="")
def test_no_mutation_of_a_spec_ends_in_another_error(
    text: str, mutations: list[Mutation], stage: str, override: str
) -> None:
    for mutate, place, length, token in mutations:
        text = mutate(text, int(place * len(text)), length, token)
    answer_or_spec(text, stage, [override] if override else [])


@pytest.mark.filterwarnings("ignore:invalid escape sequence")
@pytest.mark.parametrize("stage", ["train", "evaluate", "prune", "export"])
def test_no_seed_of_the_coverage_guided_run_ends_in_another_error(stage: str) -> None:
    """Each reached lines of the loader in an order that none before did, in 300,000 mutations of the specs above."""
    for text in json.loads((ROOT / "tests" / "golden" / "spec_seeds.json").read_text()):
        answer_or_spec(text, stage, [])


def answer_or_spec(text: str, stage: str, overrides: list[str]) -> None:
    """Load the text; what is accepted can be written and read again, and has nothing more to convert."""
    try:
        spec = load_text(text, Path("a.cfg"), stage=stage, overrides=overrides, check=preflight.check)
    except SpecError as error:
        lines = str(error).splitlines()
    else:
        lines = []
        again = load_text(spec.text(), Path("b.cfg"), stage=stage, check=preflight.check)
        assert again.experiment == spec.experiment
    assert all(line.startswith(("a.cfg:", "--set", "... and ")) for line in lines)
