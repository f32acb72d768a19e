"""compat: the numbers of TAO's code, against Keras's published formulas, and what is said about them."""

import math
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from google.protobuf import text_format
from torch import Tensor, nn

from tao_lite.compat import differences, effective, not_reproduced
from tao_lite.spec import classification_pb2 as pb
from tao_lite.training.optim import make_optimizer, make_penalty, set_learning_rate
from tao_lite.training.sgd import KerasSGD

CPU = torch.device("cpu")


def experiment(text: str) -> pb.Experiment:
    return text_format.Parse(text, pb.Experiment())


# Keras 2.2.4, keras/optimizers.py, written out for one number: weight, gradient, rate, step from 0 -> new weight.
Update = Callable[[float, float, float, int], float]


class Sgd:
    def __init__(self, momentum: float, nesterov: bool) -> None:
        self.momentum, self.nesterov, self.velocity = momentum, nesterov, 0.0

    def __call__(self, weight: float, gradient: float, rate: float, step: int) -> float:
        self.velocity = self.momentum * self.velocity - rate * gradient
        if self.nesterov:
            return weight + self.momentum * self.velocity - rate * gradient
        return weight + self.velocity


class Adam:
    def __init__(self, beta_1: float, beta_2: float, epsilon: float) -> None:
        self.beta_1, self.beta_2, self.epsilon, self.mean, self.square = beta_1, beta_2, epsilon, 0.0, 0.0

    def __call__(self, weight: float, gradient: float, rate: float, step: int) -> float:
        t = step + 1
        at_t = rate * math.sqrt(1 - self.beta_2**t) / (1 - self.beta_1**t)
        self.mean = self.beta_1 * self.mean + (1 - self.beta_1) * gradient
        self.square = self.beta_2 * self.square + (1 - self.beta_2) * gradient**2
        return weight - at_t * self.mean / (math.sqrt(self.square) + self.epsilon)


class RmsProp:
    def __init__(self, rho: float, epsilon: float) -> None:
        self.rho, self.epsilon, self.square = rho, epsilon, 0.0

    def __call__(self, weight: float, gradient: float, rate: float, step: int) -> float:
        self.square = self.rho * self.square + (1 - self.rho) * gradient**2
        return weight - rate * gradient / (math.sqrt(self.square) + self.epsilon)


# Numbers that 32 bits hold exactly, so that the spec's are the formula's.
OPTIMIZERS: dict[str, tuple[str, Callable[[], Update], float]] = {
    "sgd": ("sgd { momentum: 0.75 }", lambda: Sgd(0.75, False), 0),
    "nesterov": ("sgd { momentum: 0.75 nesterov: true }", lambda: Sgd(0.75, True), 0),
    "nesterov without momentum": ("sgd { nesterov: true }", lambda: Sgd(0, True), 0),
    "plain sgd": ("sgd { }", lambda: Sgd(0, False), 0),
    "sgd with decay": ("sgd { momentum: 0.75 decay: 0.125 }", lambda: Sgd(0.75, False), 0.125),
    "adam": ("adam { beta_1: 0.5 beta_2: 0.75 epsilon: 0.125 }", lambda: Adam(0.5, 0.75, 0.125), 0),
    "adam with decay": (
        "adam { beta_1: 0.5 beta_2: 0.75 epsilon: 0.125 decay: 0.125 }",
        lambda: Adam(0.5, 0.75, 0.125),
        0.125,
    ),
    "adam with all unset": ("adam { }", lambda: Adam(0, 0, 0), 0),
    "adam with epsilon alone": ("adam { epsilon: 0.125 }", lambda: Adam(0, 0, 0.125), 0),
    "rmsprop": ("rmsprop { rho: 0.75 epsilon: 0.125 }", lambda: RmsProp(0.75, 0.125), 0),
    "rmsprop with all unset": ("rmsprop { }", lambda: RmsProp(0, 0), 0),
}
NUM_STEPS = 20


def rate_of(step: int) -> float:
    """A rate that moves at every step, as TAO's do: half as large after 5 steps."""
    return float(0.25 * 0.5 ** (step / 5))


def inputs(step: int) -> tuple[float, float]:
    """What the layer sees and what it ought to answer."""
    return math.sin(1 + 2.5 * step), math.cos(3.5 * step)


def by_keras(make: Callable[[], Update], decay: float, slope: Callable[[float], float]) -> list[tuple[float, float]]:
    """Weight and bias after each step of minimising (weight * x + bias - y) ** 2 / 2 and the weight's penalty."""
    weight, bias, move_weight, move_bias = 2.0, -1.0, make(), make()
    history = []
    for step in range(NUM_STEPS):
        x, y = inputs(step)
        error = weight * x + bias - y
        rate = rate_of(step) / (1 + decay * step)
        weight, bias = (
            move_weight(weight, error * x + slope(weight), rate, step),
            move_bias(bias, error, rate, step),
        )
        history.append((weight, bias))
    return history


def by_tao_lite(spec: pb.Experiment) -> list[tuple[float, float]]:
    layer = nn.Linear(1, 1).double()
    nn.init.constant_(layer.weight, 2.0)
    nn.init.constant_(layer.bias, -1.0)
    config = effective(spec).train_config
    optimizer = make_optimizer(config.optimizer, config.reg_config, layer, device=CPU, exact=True)
    history = []
    for step in range(NUM_STEPS):
        x, y = inputs(step)
        set_learning_rate(optimizer, rate_of(step), step)
        optimizer.zero_grad()
        output: Tensor = layer(torch.tensor([[x]], dtype=torch.float64))
        (output - y).square().div(2).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        history.append((layer.weight.item(), layer.bias.item()))
    return history


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize(
    ("penalty", "slope"),
    [
        ("", lambda weight: 0.0),
        ('type: "L2" weight_decay: 0.0625', lambda weight: 2 * 0.0625 * weight),
        ('type: "L1" weight_decay: 0.0625', lambda weight: math.copysign(0.0625, weight)),
    ],
    ids=["no penalty", "L2", "L1"],
)
def test_twenty_steps_under_a_moving_rate_are_those_of_keras(
    name: str, penalty: str, slope: Callable[[float], float]
) -> None:
    text, make, decay = OPTIMIZERS[name]
    spec = experiment(f"compat: TAO_EXACT train_config {{ optimizer {{ {text} }} reg_config {{ {penalty} }} }}")
    for found, expected in zip(by_tao_lite(spec), by_keras(make, decay, slope), strict=True):
        assert found == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_the_corrected_steps_are_other_ones(name: str) -> None:
    config = experiment(f"train_config {{ optimizer {{ {OPTIMIZERS[name][0]} }} }}").train_config
    exact, corrected = nn.Linear(1, 1, bias=False).double(), nn.Linear(1, 1, bias=False).double()
    corrected.load_state_dict(exact.state_dict())
    for layer, choice in ((exact, True), (corrected, False)):
        optimizer = make_optimizer(config.optimizer, config.reg_config, layer, device=CPU, exact=choice)
        for step in range(3):
            set_learning_rate(optimizer, rate_of(step), step)
            layer.weight.grad = torch.ones_like(layer.weight)
            optimizer.step()
    assert not torch.allclose(exact.weight, corrected.weight, rtol=1e-3)


class Blocks(nn.Module):
    """One layer of each kind that a penalty must tell apart."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 3)
        self.depthwise = nn.Conv2d(4, 4, 3, groups=4)
        self.norm = nn.BatchNorm2d(4)
        self.dense = nn.Linear(4, 2)


@pytest.mark.parametrize(
    ("norm", "scope", "value"),
    [
        ("L2", "Conv2D,Dense", lambda conv, dense: conv.square().sum() + dense.square().sum()),
        ("L2", "Conv2D", lambda conv, dense: conv.square().sum()),
        ("l1", "conv2d,dense", lambda conv, dense: conv.abs().sum() + dense.abs().sum()),
    ],
)
def test_the_penalty_is_that_of_all_kernels_in_scope_frozen_or_not(
    norm: str, scope: str, value: Callable[[Tensor, Tensor], Tensor]
) -> None:
    network = Blocks()
    network.conv.requires_grad_(False)
    penalty = make_penalty(pb.RegConfig(type=norm, scope=scope, weight_decay=0.25), network)
    assert penalty is not None
    expected = 0.25 * value(network.conv.weight, network.dense.weight).item()
    assert penalty().item() == pytest.approx(expected, rel=1e-6)
    assert not penalty().requires_grad
    with torch.no_grad():
        network.dense.weight.mul_(2)
        network.conv.weight.mul_(2)
    assert penalty().item() == pytest.approx(expected * (4 if norm == "L2" else 2), rel=1e-6)


@pytest.mark.parametrize(
    "config",
    [
        pb.RegConfig(),
        pb.RegConfig(type="None", weight_decay=0.1),
        pb.RegConfig(type="L2"),
        pb.RegConfig(type="L2", weight_decay=0.1, scope=""),
    ],
)
def test_without_a_penalty_there_is_none(config: pb.RegConfig) -> None:
    assert make_penalty(config, Blocks()) is None


@pytest.mark.parametrize("norm", ["L1", "L2"])
def test_what_the_optimizer_adds_is_the_slope_of_the_reported_penalty(norm: str) -> None:
    network, config = Blocks(), pb.RegConfig(type=norm, weight_decay=0.25)
    kernels = (network.conv.weight, network.dense.weight)
    power = {"L1": 1, "L2": 2}[norm]
    value = sum(0.25 * kernel.abs().pow(power).sum() for kernel in kernels)
    assert isinstance(value, Tensor)
    slopes = torch.autograd.grad(value, kernels)
    before = [kernel.detach().clone() for kernel in kernels]
    sgd = pb.OptimizerConfig(sgd=pb.SgdOptimizerConfig())
    optimizer = make_optimizer(sgd, config, network, device=CPU, exact=True)
    set_learning_rate(optimizer, 1.0, 0)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for kernel, old, slope in zip(kernels, before, slopes, strict=True):
        assert torch.allclose(old - kernel, slope, atol=1e-6)


def test_a_parameter_without_a_gradient_is_left_alone() -> None:
    layer = nn.Linear(2, 2)
    before = layer.weight.detach().clone()
    optimizer = KerasSGD([{"params": list(layer.parameters())}], momentum=0.9, nesterov=False)
    optimizer.step()
    assert torch.equal(layer.weight, before)
    assert len(optimizer.state) == 0


# NVIDIA's tutorial, as to what matters here.
TUTORIAL = """
model_config {
  arch: "resnet" n_layers: 18 use_batch_norm: true all_projections: true freeze_blocks: 0 freeze_blocks: 1
  input_image_size: "3,224,224"
}
train_config {
  pretrained_model_path: "resnet_18.pth"
  optimizer { sgd { lr: 0.01 decay: 0.0 momentum: 0.9 nesterov: False } }
  batch_size_per_gpu: 64 n_epochs: 80
  preprocess_mode: "caffe" enable_random_crop: True enable_center_crop: True label_smoothing: 0.0 mixup_alpha: 0.1
  reg_config { type: "L2" scope: "Conv2D,Dense" weight_decay: 0.00005 }
  lr_config { step { learning_rate: 0.006 step_size: 10 gamma: 0.1 } }
}
"""


TUTORIAL_DIFFERENCES = """
model_config.freeze_blocks: CORRECTED freezes whole blocks; TAO_EXACT only their kernels and biases, and their batch
    normalisation goes on training, with its statistics
train_config.enable_center_crop: CORRECTED cuts the middle out at fractions of a pixel; TAO_EXACT resizes the picture to
    whole pixels, and cuts at whole ones
train_config.reg_config.weight_decay: CORRECTED adds 5e-05 * w to a kernel's gradient; TAO_EXACT 2 * 5e-05 * w, the
    slope of Keras's 5e-05 * w ** 2
train_config.reg_config: the training and validation losses that are reported are cross-entropy under CORRECTED;
    TAO_EXACT adds the penalty to them, 5e-05 * the sum of w ** 2 over all kernels in the scope
train_config.optimizer.sgd.momentum: CORRECTED multiplies the velocity by the present learning rate; TAO_EXACT, as
    Keras, keeps in it the rates of the past, so a new rate is felt late
train_config.lr_config.step: CORRECTED multiplies the rate by 0.1 at once after every 10 % of the run; TAO_EXACT
    little by little, and is lower all the time between
"""


def unwrapped(text: str) -> list[str]:
    """The lines of a text whose continuations are indented."""
    return text.strip().replace("\n    ", " ").splitlines()


def test_the_differences_of_the_tutorial_are_told_in_full() -> None:
    told = unwrapped(TUTORIAL_DIFFERENCES)
    assert differences(experiment(TUTORIAL)) == told
    assert differences(experiment(TUTORIAL + "compat: TAO_EXACT")) == told


def test_what_is_not_reproduced_for_the_tutorial_is_named() -> None:
    fields = [line.partition(":")[0] for line in not_reproduced(experiment(TUTORIAL))]
    assert fields == [
        "model_config.arch",
        "model_config.use_batch_norm",
        *(f"train_config.{name}" for name in ("pretrained_model_path", "enable_random_crop", "precision", "n_epochs")),
        "train_config.random_seed",
        "loss",
        "training.csv",
    ]


def test_a_spec_without_a_quirk_has_no_difference() -> None:
    plain = """
    model_config { arch: "resnet" input_image_size: "3,32,32" use_batch_norm: true batch_norm_config { momentum: 0.9 } }
    train_config {
      optimizer { sgd { } } preprocess_mode: "caffe" lr_config { cosine { learning_rate: 0.1 } }
      reg_config { type: "None" weight_decay: 0.1 }
    }
    """
    assert differences(experiment(plain)) == []
    assert differences(pb.Experiment()) == []
    assert "model_config.batch_norm_config.epsilon: unset, it is 0 in TAO, 1e-05 here" in not_reproduced(
        experiment(plain)
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "model_config { dropout: 0.25 }",
            """model_config.dropout: CORRECTED drops features with probability 0.25; TAO_EXACT none, because only vgg
    with retain_head reads it""",
        ),
        (
            "model_config { batch_norm_config { epsilon: 1e-3 } }",
            """model_config.batch_norm_config.momentum: unset, CORRECTED takes 0.9; TAO_EXACT 0, the statistics of the
    last batch""",
        ),
        (
            'train_config { preprocess_mode: "torch" }',
            """train_config.preprocess_mode: torch divides by 0.229, 0.224, 0.225 under CORRECTED; under TAO_EXACT by
    0.224""",
        ),
        (
            """model_config { input_image_size: "1,32,32" }
            train_config { preprocess_mode: "torch" enable_color_augmentation: true }""",
            "train_config.preprocess_mode: torch divides by 0.226 under CORRECTED; under TAO_EXACT by 0.224",
        ),
        (
            "train_config { enable_color_augmentation: true }",
            """train_config.enable_color_augmentation: CORRECTED turns the hue and multiplies the saturation about the
    axis of greys; TAO_EXACT changes no colours, because enable_random_crop is off""",
        ),
        (
            "train_config { enable_color_augmentation: true enable_random_crop: true }",
            """train_config.enable_color_augmentation: CORRECTED turns the hue and multiplies the saturation about the
    axis of greys; TAO_EXACT adds to the saturation in HSV, which tints greys, and cuts colours to whole numbers""",
        ),
        (
            'model_config { arch: "efficientnet_b0" activation { activation_type: "relu" } }',
            """model_config.activation: CORRECTED takes relu; TAO_EXACT swish, because TAO does not read it for b0""",
        ),
        ('model_config { arch: "efficientnet_b1" activation { activation_type: "relu" } }', ""),
        (
            "train_config { label_smoothing: 0.1 }",
            "train_config.label_smoothing: CORRECTED smooths by 0.1; TAO_EXACT never smooths",
        ),
        (
            'train_config { reg_config { type: "L1" weight_decay: 0.001 scope: "Conv2D, Dense" } }',
            """train_config.reg_config: the training and validation losses that are reported are cross-entropy under
    CORRECTED; TAO_EXACT adds the penalty to them, 0.001 * the sum of |w| over all kernels in the scope
train_config.reg_config.scope: CORRECTED reads all of "Conv2D, Dense"; TAO_EXACT leaves out Dense, for the blank beside
    it""",
        ),
        (
            "train_config { optimizer { adam { beta_1: 0.9 beta_2: 0.999 epsilon: 1e-7 } } }",
            """train_config.optimizer.adam.epsilon: CORRECTED adds it to the root of the second moment without bias;
    TAO_EXACT, as Keras, with bias, where it weighs more in the first steps""",
        ),
        (
            "train_config { optimizer { adam { beta_2: 0.999 epsilon: 0 } } }",
            "train_config.optimizer.adam.beta_1: unset, CORRECTED takes 0.9; TAO_EXACT 0",
        ),
        (
            "train_config { optimizer { rmsprop { rho: 0.9 } } }",
            """train_config.optimizer.rmsprop.epsilon: unset, CORRECTED takes 1e-07; TAO_EXACT 0; a weight whose
    gradient is exactly 0 may become NaN""",
        ),
        (
            "train_config { lr_config { cosine { learning_rate: 0.1 min_lr_ratio: 0.01 soft_start: 0.2 } } }",
            # 0.001 + 0.099 * (1 + cos(0.8 pi)) / 2 = 0.01045
            """train_config.lr_config.cosine: the rate ends at 0.001 under CORRECTED; under TAO_EXACT at 0.0105, because
    the warm-up takes its time from the end of the cosine""",
        ),
    ],
)
def test_each_difference_is_told_where_it_applies(text: str, told: str) -> None:
    assert differences(experiment(text)) == unwrapped(told)


def test_every_point_that_differs_goes_when_the_spec_says_what_tao_does() -> None:
    text = """
    model_config { dropout: 0.1 batch_norm_config { epsilon: 1e-3 } }
    train_config {
      label_smoothing: 0.1 enable_color_augmentation: true optimizer { rmsprop { } }
      reg_config { type: "L1" weight_decay: 0.1 scope: "Conv2D ,dense" }
    }
    """
    spec = experiment(text + "compat: TAO_EXACT")
    before = spec.SerializeToString()
    assert effective(spec) == experiment(
        """
        model_config { batch_norm_config { epsilon: 1e-3 momentum: 0 } }
        train_config {
          optimizer { rmsprop { rho: 0 epsilon: 0 } }
          reg_config { type: "L1" weight_decay: 0.1 scope: "dense" }
        }
        compat: TAO_EXACT
        """
    )
    assert effective(effective(spec)) == effective(spec)
    assert spec.SerializeToString() == before
    corrected = experiment(text)
    assert effective(corrected) is corrected


@pytest.mark.parametrize(
    ("arch", "told"),
    [
        ("vgg", "initial weights and paddings of strided layers are as in torchvision"),
        ("darknet", "initial weights and paddings of strided layers are as in timm"),
        (
            "mobilenet_v1",
            "initial weights and paddings of strided layers are as in timm, and so is ReLU6, where TAO has ReLU",
        ),
        ("timm/vit_tiny_patch16_224", "TAO has no timm/vit_tiny_patch16_224"),
    ],
)
def test_definitions_that_are_not_taos_are_named(arch: str, told: str) -> None:
    spec = experiment(f'model_config {{ arch: "{arch}" }} compat: TAO_EXACT')
    assert not_reproduced(spec)[0] == f"model_config.arch: {told}"


def test_an_activation_that_tao_does_not_read_goes() -> None:
    text = 'model_config {{ arch: "efficientnet_b0" {} }} compat: TAO_EXACT'
    spec = experiment(text.format('activation { activation_type: "relu" }'))
    assert effective(spec) == experiment(text.format(""))


def test_what_tao_applies_stays() -> None:
    spec = experiment("""
    model_config { arch: "vgg" retain_head: true dropout: 0.5 }
    train_config {
      enable_random_crop: true enable_color_augmentation: true
      optimizer { adam { beta_1: 0.5 beta_2: 0.5 epsilon: 0.5 } } reg_config { type: "L2" }
    }
    compat: TAO_EXACT
    """)
    assert effective(spec) == spec
    empty = experiment("compat: TAO_EXACT")
    assert effective(empty) == empty


def test_telling_the_differences_needs_no_torch() -> None:
    code = "import sys, tao_lite.compat; print({'torch', 'numpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
