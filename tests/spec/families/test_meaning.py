"""What fields of each family become: values derived by hand from the family's own meaning."""

import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tao_lite.errors import SpecError
from tao_lite.schedule import make_schedule
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.families import backbones
from tao_lite.spec.families.all import FAMILIES
from tao_lite.spec.families.table import descriptor
from tao_lite.spec.findings import Level
from tao_lite.spec.load import Examined, examine
from tao_lite.spec.upgrade import upgraded
from tests.spec.families.yamls import OPENMMLAB, PYT, TF2, errors, experiment, lines, numbers, read


def test_a_tf2_spec_means_what_it_says_there() -> None:
    found = experiment(TF2)
    model, train = found.model_config, found.train_config
    assert (model.arch, model.n_layers, model.input_image_size) == ("resnet", 34, "3,64,96")
    assert (model.use_batch_norm, model.use_pooling) == (True, True)
    assert (train.batch_size_per_gpu, train.n_epochs, train.random_seed) == (4, 30, 42)
    assert numbers(train.optimizer.adam, "beta_1", "beta_2", "epsilon", "decay") == [0.8, 0.99, 0.0001, 0]
    assert numbers(train.lr_config.soft_anneal, "learning_rate", "soft_start", "annealing_divider") == [0.001, 0.05, 10]
    assert (train.reg_config.type, train.reg_config.scope) == ("None", "Dense")
    assert (train.enable_random_crop, train.enable_center_crop, train.preprocess_mode) == (False, True, "tf")
    assert numbers(train, "mixup_alpha", "label_smoothing") == [0.2, 0.01]
    assert numbers(found.prune_config, "pruning_threshold", "pruning_granularity") == [0.4, 4]
    assert (found.eval_config.top_k, found.eval_config.batch_size) == (3, 64)
    assert found.eval_config.model_path == found.prune_config.model_path == "best.pth"
    assert found.compat == pb.Compat.CORRECTED


@pytest.mark.parametrize(
    ("model", "arch", "n_layers"),
    [
        ("backbone: efficientnet-b0", "efficientnet_b0", 18),
        ("arch: efficientnet_b5", "efficientnet_b5", 18),
        ("backbone: resnet18", "resnet", 18),
        ("arch: resnet\n  n_layers: 50", "resnet", 50),
        ("arch: byom", "byom", 18),
        ("input_image_depth: 8", "resnet", 18),
    ],
)
def test_a_tf2_backbone_is_an_architecture_of_ours(model: str, arch: str, n_layers: int) -> None:
    found = experiment(f"model:\n  {model}\n").model_config
    assert (found.arch, found.n_layers) == (arch, n_layers)


def test_grey_pictures_of_16_bits_are_scaled_with_their_mean() -> None:
    found = read("model: {backbone: resnet_18, input_image_depth: 16}\ndataset: {image_mean: [7834.4968]}")
    assert found.experiment.model_config.input_image_size == "1,224,224"
    # 65535 is white there, 255 here.
    assert found.experiment.train_config.image_mean["l"] == pytest.approx(7834.4968 * 255 / 65535, rel=1e-5)
    assert errors("model: {input_image_depth: 12}") == [
        "1:28: model.input_image_depth: classification_tf2: found 12, must be 8 or 16"
    ]


def test_means_of_three_channels_are_blue_green_red() -> None:
    means = experiment("data: {image_mean: [1, 2, 3], preprocess_mode: caffe}").train_config.image_mean
    assert dict(means) == {"b": 1, "g": 2, "r": 3}


def test_the_first_form_of_tf2_may_say_it_as_we_do() -> None:
    text = "key: k\nmodel_config: {arch: resnet, n_layers: 10}\ntrain_config:\n  n_epochs: 3\n"
    text += (
        "  optimizer: {sgd: {momentum: 0.5}}\n  lr_config: {step: {learning_rate: 0.1, step_size: 20, gamma: 0.5}}\n"
    )
    train = experiment(text).train_config
    assert (train.n_epochs, train.optimizer.sgd.momentum, train.lr_config.step.step_size) == (3, 0.5, 20)


def test_a_pyt_spec_means_what_it_says_there() -> None:
    found = experiment(PYT)
    model, train = found.model_config, found.train_config
    assert (model.arch, model.input_image_size) == ("timm/convnextv2_atto", "3,64,64")
    assert train.train_dataset_path == "/data/leaves/train"
    assert (train.batch_size_per_gpu, train.n_epochs, train.random_seed) == (16, 20, 7)
    assert numbers(train.optimizer.sgd, "momentum") == [0.8]
    assert (train.reg_config.type, *numbers(train.reg_config, "weight_decay")) == ("L2", 0.001)
    assert numbers(train, "max_grad_norm", "label_smoothing", "ema_decay") == [2, 0.1, 0]
    assert train.precision == pb.Precision.FP32
    assert train.preprocess_mode == "torch"
    assert not train.disable_horizontal_flip
    assert not train.enable_random_crop
    assert found.eval_config.top_k == 3


def test_augmentation_of_pyt_is_on_by_default() -> None:
    train = experiment("model: {backbone: {type: resnet_18}}\ntrain: {num_epochs: 2}").train_config
    assert numbers(train, "hflip_probability", "vflip_probability", "random_erasing") == [0.5, 0.5, 0.2]
    assert (train.rand_augment.num_operations, train.rand_augment.magnitude) == (2, 5)
    assert numbers(train.random_rotate, "rotate_probability") == [0.5]
    assert list(train.random_rotate.angle_list) == [90, 180, 270]
    assert numbers(train.random_color, "brightness", "contrast", "saturation", "hue") == [0.3, 0.3, 0.3, 0]
    assert numbers(train.random_blur, "probability", "max_radius") == [1, 1]
    assert train.enable_random_crop
    # A crop of a crop: 0.08 of the area, of which 1 / 1.2 of each side may be left.
    crop = numbers(train.random_crop, "min_area", "max_area", "min_aspect", "max_aspect")
    assert crop == pytest.approx([0.08 / 1.44, 1, 3 / 4, 4 / 3], rel=1e-5)


def test_pyt_counts_batch_norm_over_all_processes_and_does_not_multiply_the_rate_by_them() -> None:
    assert experiment("model: {backbone: {type: resnet_18}}\ntrain: {num_epochs: 2}").train_config.sync_batch_norm
    found = read("model: {backbone: {type: resnet_18}}\ntrain: {num_epochs: 2, num_gpus: 4}")
    assert any("the learning rate is multiplied here: divide it" in line for line in lines(found, Level.NOTE))


def augmented(text: str) -> pb.TrainConfig:
    """What `augmentation` of classification_pyt means, the rest being as PYT has it."""
    return experiment(PYT, *(f"dataset.augmentation.{one}" for one in text.split())).train_config


def test_an_augmentation_of_pyt_keeps_its_strength() -> None:
    train = augmented("random_flip.hflip_probability=0.3 random_flip.vflip_probability=0.1")
    assert numbers(train, "hflip_probability", "vflip_probability") == pytest.approx([0.3, 0.1])
    assert not any(
        train.HasField(name) for name in ("random_rotate", "random_color", "random_blur", "random_crop", "rand_augment")
    )
    train = augmented("random_flip.enable=false random_rotate.enable=true random_rotate.angle_list=[-90]")
    assert train.disable_horizontal_flip
    assert not train.vflip_probability
    assert list(train.random_rotate.angle_list) == [270]
    train = augmented("random_color.enable=true random_color.hue=0.2 random_color.contrast=0")
    assert numbers(train.random_color, "brightness", "contrast", "saturation", "hue") == [0.3, 0, 0.3, 0.2]


def test_enlarging_alone_is_a_crop_of_the_pictures_shape() -> None:
    train = augmented("with_scale_random_crop.enable=true with_scale_random_crop.scale_range=[1.25,2]")
    assert train.enable_random_crop
    crop = numbers(train.random_crop, "min_area", "max_area", "min_aspect", "max_aspect")
    assert crop == [0.25, 0.64, 1, 1]


@pytest.mark.parametrize(
    ("augmentation", "expected"),
    [
        ("random_rotate: {angle_list: [45, 90]}", "only turns of 90, 180 and 270 degrees have an effect"),
        ("mean: [0.1, 0.2, 0.3]", "has no effect: preprocess_mode is torch"),
    ],
)
def test_augmentation_without_a_field_is_a_warning(augmentation: str, expected: str) -> None:
    found = read(f"dataset: {{img_size: 32, augmentation: {{{augmentation}}}}}\n")
    assert any(expected in line for line in lines(found, Level.WARNING))


@pytest.mark.parametrize("scales", ["[0.8, 1.2]", "[1.2, 1]", "[1]"])
def test_enlarging_by_no_range_is_an_error(scales: str) -> None:
    text = f"dataset: {{img_size: 32, augmentation: {{with_scale_random_crop: {{scale_range: {scales}}}}}}}"
    assert any("must be two numbers from 1 on, the smaller one first" in line for line in errors(text))


def rate(policy: str, epochs: int) -> "pb.LRConfig":
    text = f"train: {{num_epochs: {epochs}, optim: {{lr: 0.4, policy: {policy}}}}}"
    return experiment(text).train_config.lr_config


@pytest.mark.parametrize(
    ("policy", "epochs", "expected"),
    [
        # torch's LambdaLR with 1 - epoch / (epochs + 1).
        ("linear", 7, [0.4 * (1 - epoch / 8) for epoch in range(7)]),
        # StepLR and MultiStepLR, asked once an epoch.
        ("step, policy_params: {step_size: 3, gamma: 0.5}", 10, [0.4 * 0.5 ** (epoch // 3) for epoch in range(10)]),
        ("step", 90, [0.4 * 0.1 ** (epoch // 30) for epoch in range(90)]),
        ("multistep", 25, [0.4 * 0.1 ** ((epoch >= 10) + (epoch >= 20)) for epoch in range(25)]),
        ("multistep, policy_params: {milestones: [2, 40]}", 9, [0.4 * 0.1 ** (epoch >= 2) for epoch in range(9)]),
    ],
)
def test_a_policy_in_epochs_has_the_rate_that_torch_gives_from_an_epochs_first_step_to_its_last(
    policy: str, epochs: int, expected: list[float]
) -> None:
    schedule, steps = make_schedule(rate(policy, epochs)), 40
    for step in range(epochs * steps):
        assert schedule(step / (epochs * steps)) == pytest.approx(expected[step // steps], rel=1e-5), step


def test_cosine_warms_up_over_its_epochs() -> None:
    schedule = make_schedule(rate("cosine, warmup_epochs: 5", 20))
    assert [schedule(epoch / 20) for epoch in (0, 1, 5, 12.5, 20)] == pytest.approx([0, 0.08, 0.4, 0.2, 0], abs=1e-6)


def test_the_classes_of_pyt_have_the_order_of_its_file(tmp_path: Path) -> None:
    text = PYT.replace("/data/leaves", str(tmp_path))
    assert not experiment(text).dataset_config.classmap_path
    (tmp_path / "classes.txt").write_text("oak\nelm\nash\n")
    assert experiment(text).dataset_config.classmap_path == f"{tmp_path}/classes.txt"


def test_a_frozen_backbone_is_a_linear_probe_without_augmentation() -> None:
    train = experiment(
        "model: {backbone: {type: resnet_18, freeze_backbone: true}}\ntrain: {num_epochs: 2}"
    ).train_config
    assert train.linear_probe
    assert not train.enable_random_crop
    assert not train.HasField("rand_augment")


def test_an_openmmlab_spec_means_what_it_says_there() -> None:
    found = experiment(OPENMMLAB)
    train = found.train_config
    assert (found.model_config.arch, found.model_config.input_image_size) == ("timm/edgenext_small", "3,96,96")
    assert (train.batch_size_per_gpu, train.n_epochs, train.random_seed) == (12, 8, 11)
    assert found.dataset_config.classmap_path == "/data/shells/classes.txt"
    assert found.eval_config.eval_dataset_path == "/data/shells/test"
    assert (train.enable_random_crop, train.disable_horizontal_flip) == (True, False)
    assert numbers(train, "ema_decay", "max_grad_norm") == [0.99, 1.5]
    assert numbers(train.optimizer.sgd, "momentum") == [0.9]
    schedule = make_schedule(train.lr_config)
    assert [schedule(epoch / 8) for epoch in range(8)] == pytest.approx([0.02] * 4 + [0.01] * 2 + [0.005] * 2, rel=1e-5)


def test_what_openmmlab_does_by_default_and_we_dont_know_is_a_warning() -> None:
    found = read("train: {train_config: {runner: {max_epochs: 3}}}")
    assert any("AdamW with a rate of 0.001 along a cosine is taken" in line for line in lines(found, Level.WARNING))


def piped(*steps: str) -> Examined:
    """What OpenMMLab's steps mean, their size being 96."""
    text = "\n".join(f"        - {{{step}}}" for step in ("type: Resize, size: 96", *steps))
    start = OPENMMLAB.index("        - {type: RandomResizedCrop")
    return read(OPENMMLAB[:start] + text + OPENMMLAB[OPENMMLAB.index("\n    val:") :])


def test_openmmlabs_augmentation_keeps_its_strength() -> None:
    train = piped(
        "type: RandomFlip, prob: 0.25, direction: vertical",
        "type: ColorJitter, brightness: 0.4, contrast: [0.7, 1.1]",
        "type: RandomResizedCrop, size: 96, scale: [0.2, 0.9]",
    ).experiment.train_config
    assert numbers(train, "hflip_probability", "vflip_probability") == [0, 0.25]
    assert numbers(train.random_color, "brightness", "contrast", "saturation", "hue") == [0.4, 0.3, 0, 0]
    crop = numbers(train.random_crop, "min_area", "max_area", "min_aspect", "max_aspect")
    assert crop == pytest.approx([0.2, 0.9, 0.75, 4 / 3], rel=1e-5)


def test_openmmlabs_pictures_are_flipped_where_its_list_says_so() -> None:
    assert numbers(piped().experiment.train_config, "hflip_probability") == [0]
    diagonal = piped("type: RandomFlip, prob: 0.5, direction: diagonal")
    assert any("its direction must be horizontal or vertical" in line for line in lines(diagonal, Level.WARNING))


@pytest.mark.parametrize("text", [TF2, PYT, OPENMMLAB], ids=["tf2", "pyt", "openmmlab"])
def test_upgrading_keeps_meaning_and_comments(text: str) -> None:
    new, _ = upgraded(text, Path("a.yaml"))
    assert upgraded(new, Path("a.cfg")) == (new, [])
    assert examine(new, Path("a.cfg"), stage=None).experiment == experiment(text)
    assert [line for line in text.splitlines() if line.strip().startswith("#") and line.strip() not in new] == []


SPECS = {"tf2": TF2, "pyt": PYT, "openmmlab": OPENMMLAB}
# What may stand in the place of a value.
VALUES = (
    "",
    "null",
    "0",
    "-1",
    "1e-3",
    "0.5",
    "'7'",
    "true",
    "No",
    "[1, 2]",
    "[]",
    "{a: 1}",
    "???",
    "${train}",
    "x # y",
    "0b0",
    "1_0",
)


@settings(max_examples=60)
@given(
    spec=st.sampled_from(sorted(SPECS)),
    line=st.integers(0, 40),
    value=st.one_of(st.sampled_from(VALUES), st.text("abz01.-$\"'{}[]#: ", max_size=9)),
)
def test_whatever_a_value_is_the_file_is_refused_or_upgrading_keeps_its_meaning(
    spec: str, line: int, value: str
) -> None:
    written = SPECS[spec].splitlines()
    number = line % len(written)
    written[number] = re.sub(r": .*", lambda _: f": {value}", written[number])
    text = "\n".join(written)
    try:
        new, _ = upgraded(text, Path("a.yaml"))
    except SpecError:
        return
    assert upgraded(new, Path("a.cfg")) == (new, [])
    old, again = read(text), examine(new, Path("a.cfg"), stage=None)
    assert old.experiment == again.experiment
    assert [one.path for one in old.problems] == [one.path for one in again.problems]


def test_comments_stay_where_they_stood() -> None:
    new, _ = upgraded(TF2, Path("a.yaml"))
    before = {line.split()[0]: above.strip() for above, line in pairwise(new.splitlines())}
    assert before["reg_config"] == "# The penalty."
    assert before["train_config"] == "# What is seen."
    assert '/../val"  # beside it' in new


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_every_row_leads_to_a_field_of_ours(family: object) -> None:
    from tao_lite.spec.families.table import Family

    assert isinstance(family, Family)
    for row in family.rows:
        assert row.ours or row.words, row.theirs
        for path in row.ours.partition(",")[0].split("*")[:1]:
            assert not path or descriptor(path.rstrip(".")), row.ours


def test_every_network_of_the_table_is_in_its_library() -> None:
    timm = pytest.importorskip("timm")
    torchvision = pytest.importorskip("torchvision")
    names = {"timm": set(timm.list_models()), "torchvision": set(torchvision.models.list_models())}
    for name in backbones.same():
        library, _, own = backbones.ours(name).partition("/")
        assert own in names[library], name
        assert not backbones.why_not(name)


def test_a_network_that_is_not_here_is_refused_with_the_reason() -> None:
    from tao_lite.stages import preflight

    found = examine(
        PYT.replace("convnextv2_atto", "faster_vit_1_224"), Path("a.yaml"), stage="train", check=preflight.check
    )
    (problem,) = found.problems
    assert problem.text.startswith(
        "classification_pyt's model.backbone.type: found \"faster_vit_1_224\"; FasterViT is a network of NVIDIA's"
    )


@pytest.mark.parametrize(
    ("monitor", "best", "said"),
    [
        ("val_loss", pb.BestMetric.LOSS, ""),
        ("val_acc_1", pb.BestMetric.TOP1, ""),
        (
            "val_acc_5",
            pb.BestMetric.TOP1,
            "has no effect: the best checkpoint is chosen by top-1",
        ),
    ],
)
def test_what_the_best_checkpoint_of_pyt_is_chosen_by(
    monitor: str, best: "pb.BestMetric.Kind.ValueType", said: str
) -> None:
    text = PYT.replace("train:\n", f"train:\n  checkpointer:\n    enable_topk: true\n    monitor: {monitor}\n", 1)
    assert experiment(text).train_config.checkpoint.best_metric == best
    assert [said for line in lines(read(text), Level.WARNING) if said and said in line] == ([said] if said else [])
