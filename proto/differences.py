"""Tables for specs/guides/coming_from_tao.md: settings, and what tao_lite/compat.py says of each."""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tao_lite.spec import classification_pb2 as pb

BEGIN, END = "<!-- written by proto/{}: {} -->", "<!-- end of {} -->"

# Each shows one setting that the two modes of compat read differently.
DIFFERENT = (
    'model_config { arch: "resnet" use_batch_norm: true freeze_blocks: 0 }',
    'model_config { arch: "resnet" dropout: 0.1 }',
    'model_config { arch: "efficientnet_b0" activation { activation_type: "relu" } }',
    "model_config { batch_norm_config { epsilon: 1e-3 } }",
    'train_config { preprocess_mode: "torch" }',
    'model_config { input_image_size: "1,64,64" } train_config { preprocess_mode: "torch" }',
    "train_config { enable_center_crop: true }",
    "train_config { enable_color_augmentation: true }",
    "train_config { enable_color_augmentation: true enable_random_crop: true }",
    "train_config { label_smoothing: 0.1 }",
    'train_config { reg_config { type: "L2" scope: "Conv2D, Dense" weight_decay: 0.0005 } }',
    'train_config { reg_config { type: "L1" weight_decay: 0.0005 } }',
    "train_config { optimizer { sgd { momentum: 0.9 } } }",
    "train_config { optimizer { adam { beta_1: 0.9 beta_2: 0.999 epsilon: 1e-7 } } }",
    "train_config { optimizer { adam { } } }",
    "train_config { optimizer { rmsprop { } } }",
    "train_config { lr_config { step { learning_rate: 0.006 step_size: 10 gamma: 0.1 } } }",
    "train_config { lr_config { cosine { learning_rate: 0.05 soft_start: 0.1 } } }",
)
# With these not even TAO_EXACT is as TAO.
NOT_REPRODUCED = (
    'model_config { arch: "vgg" } train_config { precision: FP32 }',
    "train_config { precision: AUTO }",
    'model_config { arch: "resnet" }',
    'model_config { arch: "alexnet" }',
    'model_config { arch: "googlenet" }',
    'model_config { arch: "mobilenet_v1" }',
    'model_config { arch: "mobilenet_v2" }',
    'model_config { arch: "darknet" }',
    'model_config { arch: "timm/NAME" }',
    "model_config { use_batch_norm: true }",
    "model_config { batch_norm_config { momentum: 0.9 } }",
    'train_config { pretrained_model_path: "weights/pruned.pth" }',
    "train_config { enable_random_crop: true }",
    "dataset_config { format: MULTITASK }",
)


def put(page: str) -> str:
    """The page with both tables between their comments."""
    from tao_lite import compat

    page = between(page, "differences", _table(DIFFERENT, compat.differences))
    return between(page, "what is not reproduced", _table(NOT_REPRODUCED, compat.not_reproduced))


def between(page: str, name: str, lines: Iterable[str], by: str = "differences.py") -> str:
    """The page with the lines between the two comments of that name, which say who writes them."""
    begin, end = BEGIN.format(by, name), END.format(name)
    assert page.count(begin) == page.count(end) == 1, name
    made = "\n".join(("", *lines, ""))
    return re.sub(f"(?<={re.escape(begin)}\n).*?(?={re.escape(end)})", lambda _: f"{made}\n", page, flags=re.DOTALL)


def _table(settings: tuple[str, ...], say: "Callable[[pb.Experiment], list[str]]") -> Iterator[str]:
    """A row for each thing that is said, with the first setting of which it is."""
    from google.protobuf import text_format

    from tao_lite.spec import classification_pb2 as pb

    yield from ("| field | where the spec has | what differs |", "|---|---|---|")
    said = {setting: say(text_format.Parse(setting, pb.Experiment())) for setting in settings}
    of_all = set.intersection(*map(set, said.values()))
    first = {line: setting for setting in reversed(settings) for line in said[setting]}
    for line in dict.fromkeys(line for lines in said.values() for line in lines):
        field, _, words = line.partition(": ")
        where = "anything" if line in of_all else f"`{first[line]}`"
        yield f"| `{field}` | {where} | {words.replace('|', '&#124;')} |"
