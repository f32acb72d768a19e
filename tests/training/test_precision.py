"""Precision: what AUTO takes, how the loss scale moves, that overflowing steps leave no trace."""

import io
import logging
import math
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from tao_lite.spec import classification_pb2 as pb
from tao_lite.training.arithmetic import Hardware, choose, set_tf32
from tao_lite.training.optim import make_optimizer, set_learning_rate
from tao_lite.training.precision import Precision

CPU = torch.device("cpu")
SGD = pb.OptimizerConfig(sgd=pb.SgdOptimizerConfig(momentum=0.5))
ADAM = pb.OptimizerConfig(adam=pb.AdamOptimizerConfig())
ADAMW = pb.OptimizerConfig(adamw=pb.AdamWOptimizerConfig())
RMSPROP = pb.OptimizerConfig(rmsprop=pb.RmspropOptimizerConfig())
NAMES = ["sgd", "adam", "adamw", "rmsprop"]

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def cuda(major: int) -> Hardware:
    return Hardware("a GPU", "cuda", major=major)


def cpu(*features: str) -> Hardware:
    return Hardware("a CPU", "cpu", features=frozenset(features))


@pytest.mark.parametrize(
    ("asked", "hardware", "mode", "why"),
    [
        ("AUTO", cuda(12), "BF16", "AUTO takes the fastest that a GPU has"),
        ("AUTO", cuda(9), "BF16", "AUTO takes the fastest that a GPU has"),
        ("AUTO", cuda(8), "BF16", "AUTO takes the fastest that a GPU has"),
        ("AUTO", cuda(7), "FP16", "AUTO takes the fastest that a GPU has"),
        ("AUTO", cuda(6), "FP32", "AUTO takes the fastest that a GPU has"),
        ("AUTO", cpu("avx2", "avx512_bf16"), "BF16", "AUTO takes the fastest that a CPU has"),
        ("AUTO", cpu("amx_bf16"), "BF16", "AUTO takes the fastest that a CPU has"),
        ("AUTO", cpu("avx2", "avx512_f"), "FP32", "AUTO takes the fastest that a CPU has"),
        ("AUTO", Hardware("device mps", "mps"), "FP32", "AUTO takes the fastest that device mps has"),
        ("FP32", cuda(9), "FP32", "asked for, and a GPU has it"),
        ("FP16", cuda(9), "FP16", "asked for, and a GPU has it"),
        ("TF32", cuda(8), "TF32", "asked for, and a GPU has it"),
        ("TF32", cuda(7), "FP32", "TF32 was asked for, but a GPU has none"),
        ("TF32", cpu("avx512_bf16"), "FP32", "TF32 was asked for, but a CPU has none"),
        ("BF16", cuda(7), "BF16", "asked for, but a GPU only emulates it, which is slow"),
        ("FP16", cpu("avx512_bf16"), "FP16", "asked for, but a CPU only emulates it, which is slow"),
        ("O0", cpu(), "FP32", "asked for as O0, and a CPU has it"),
        ("O1", cuda(7), "FP16", "asked for as O1, and a GPU has it"),
        ("O2", cuda(9), "O2", "asked for, and a GPU has it"),
        ("O3", cpu("avx512_bf16"), "O3", "asked for, but a CPU only emulates it, which is slow"),
    ],
)
def test_the_mode_follows_from_wish_and_hardware(asked: str, hardware: Hardware, mode: str, why: str) -> None:
    assert choose(asked, hardware) == (mode, why)


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        (pb.Precision.FP32, "FP32"),
        (pb.Precision.BF16, "BF16"),
        (pb.Precision.O0, "FP32"),
        (pb.Precision.O1, "FP16"),
        (pb.Precision.AUTO, choose("AUTO", Hardware.of(CPU))[0]),
    ],
)
def test_the_precision_is_what_the_spec_asks_for(asked: pb.Precision.Mode.ValueType, name: str) -> None:
    assert Precision.of(pb.TrainConfig(precision=asked), CPU).name == name


def test_the_choice_is_logged_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        Precision.of(pb.TrainConfig(precision=pb.Precision.FP32), CPU)
        Precision.of(pb.TrainConfig(precision=pb.Precision.TF32), CPU)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "chose FP32: asked for, and this CPU has it"),
        ("WARNING", "chose FP32: TF32 was asked for, but this CPU has none"),
    ]


def tf32_switches() -> tuple[str, str, bool, str]:
    convolution: str = torch.backends.cudnn.conv.fp32_precision  # type: ignore[attr-defined]
    # Inductor reads the older two; both raise where they contradict the newer ones.
    return (
        convolution,
        torch.backends.cuda.matmul.fp32_precision,
        torch.backends.cudnn.allow_tf32,
        torch.get_float32_matmul_precision(),
    )


def test_fp32_means_ieee_also_after_tf32() -> None:
    set_tf32(allowed=True)
    assert tf32_switches() == ("tf32", "tf32", True, "high")
    Precision.of(pb.TrainConfig(precision=pb.Precision.FP32), CPU)
    assert tf32_switches() == ("ieee", "ieee", False, "highest")


@pytest.mark.parametrize(
    ("mode", "dtype"),
    [(pb.Precision.FP32, torch.float32), (pb.Precision.FP16, torch.float16), (pb.Precision.BF16, torch.bfloat16)],
)
def test_autocast_computes_in_the_dtype_of_the_mode(mode: pb.Precision.Mode.ValueType, dtype: torch.dtype) -> None:
    layer = nn.Linear(2, 2)
    with Precision.of(pb.TrainConfig(precision=mode), CPU).autocast():
        assert layer(torch.ones(1, 2)).dtype == dtype
    assert layer.weight.dtype == torch.float32


class Experiment:
    """Three weights of 1 with optimizer and precision; step(g) makes one step whose gradient is g."""

    def __init__(
        self,
        loss_scale: pb.LossScaleConfig,
        mode: pb.Precision.Mode.ValueType = pb.Precision.FP16,
        optimizer: pb.OptimizerConfig = SGD,
        reg_config: pb.RegConfig | None = None,
    ) -> None:
        self.network = nn.Linear(3, 1, bias=False)
        nn.init.ones_(self.network.weight)
        self.optimizer = make_optimizer(optimizer, reg_config or pb.RegConfig(), self.network, device=CPU)
        set_learning_rate(self.optimizer, 0.1, 0)
        self.precision = Precision.of(pb.TrainConfig(precision=mode, loss_scale=loss_scale), CPU)
        self.precision.store(self.network)

    def step(self, gradient: float, max_grad_norm: float = 0.0) -> None:
        self.optimizer.zero_grad()
        self.precision.backward((self.network.weight * gradient).sum())
        self.precision.step(self.optimizer, list(self.network.parameters()), max_grad_norm)

    def number(self, name: str) -> float:
        return self.precision.numbers()[name].item()

    def weights(self) -> list[float]:
        return self.network.weight.flatten().tolist()


DYNAMIC = pb.LossScaleConfig(init_scale=1024, growth_factor=4, backoff_factor=0.5, growth_interval=2)
STATIC = pb.LossScaleConfig(mode=pb.LossScaleConfig.STATIC, init_scale=1024, growth_interval=2)
NONE = pb.LossScaleConfig(mode=pb.LossScaleConfig.NONE, init_scale=1024)
O2, O3 = pb.Precision.O2, pb.Precision.O3
GRADIENTS = [1.0, math.inf, 1.0, 1.0, math.nan, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("mode", [pb.Precision.FP16, O2, O3])
def test_a_dynamic_scale_backs_off_on_overflow_and_grows_after_the_interval(mode: pb.Precision.Mode.ValueType) -> None:
    experiment = Experiment(DYNAMIC, mode)
    scales = [experiment.number("loss_scale")]
    for gradient in GRADIENTS:
        experiment.step(gradient)
        scales.append(experiment.number("loss_scale"))
    # halved at inf and NaN, times four after two good steps in a row
    assert scales == [1024, 1024, 512, 512, 2048, 1024, 1024, 4096, 4096]


def test_a_static_scale_never_moves() -> None:
    experiment = Experiment(STATIC)
    for gradient in GRADIENTS:
        experiment.step(gradient)
        assert experiment.number("loss_scale") == 1024
    assert experiment.number("skipped_steps") == 2


@pytest.mark.parametrize("mode", [pb.Precision.FP16, O2, O3])
def test_without_loss_scaling_a_step_that_overflows_is_taken_as_it_is(mode: pb.Precision.Mode.ValueType) -> None:
    experiment = Experiment(NONE, mode)
    experiment.step(1.0)
    assert experiment.weights() == pytest.approx([0.9] * 3, abs=1e-3)
    experiment.step(math.inf)
    assert experiment.weights() == [-math.inf] * 3
    assert [experiment.number(name) for name in ("loss_scale", "overflows", "skipped_steps")] == [1, 1, 0]


@pytest.mark.parametrize(("config", "scale"), [(None, 1), (STATIC, 1024), (pb.LossScaleConfig(), 65536), (NONE, 1)])
def test_o3_scales_the_loss_only_where_the_spec_speaks_of_it(config: pb.LossScaleConfig | None, scale: float) -> None:
    precision = Precision.of(pb.TrainConfig(precision=O3, loss_scale=config), CPU)
    assert precision.numbers()["loss_scale"] == scale


def test_overflows_are_counted_in_every_mode_and_skipped_with_loss_scaling_only() -> None:
    scaled, plain = Experiment(DYNAMIC), Experiment(DYNAMIC, pb.Precision.FP32)
    for gradient in GRADIENTS:
        scaled.step(gradient)
        plain.step(gradient)
    assert [scaled.number("overflows"), scaled.number("skipped_steps")] == [2, 2]
    assert [plain.number("overflows"), plain.number("skipped_steps"), plain.number("loss_scale")] == [2, 0, 1]


@pytest.fixture
def _memory_starts_as_nan() -> Iterator[None]:
    """Memory that torch allocates without writing holds NaN, so that reading it shows."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("_memory_starts_as_nan")
@pytest.mark.parametrize("optimizer", [SGD, ADAM, ADAMW, RMSPROP], ids=NAMES)
@pytest.mark.parametrize("reg_config", [pb.RegConfig(type="L1", weight_decay=0.5), None], ids=["L1", "none"])
@pytest.mark.parametrize("max_grad_norm", [0.0, 1.0])
def test_steps_that_overflow_leave_no_trace_in_weights_or_memory(
    optimizer: pb.OptimizerConfig, reg_config: pb.RegConfig | None, max_grad_norm: float
) -> None:
    disturbed, calm = (Experiment(STATIC, optimizer=optimizer, reg_config=reg_config) for _ in range(2))
    for gradient in (math.inf, 1.0, math.nan, 2.0, -math.inf, 3.0):
        disturbed.step(gradient, max_grad_norm)
        if math.isfinite(gradient):
            calm.step(gradient, max_grad_norm)
        assert disturbed.weights() == calm.weights()


def test_the_gradient_is_clipped_at_its_true_size_and_reported_as_it_was() -> None:
    for mode in (pb.Precision.FP16, pb.Precision.FP32):
        experiment = Experiment(DYNAMIC, mode)
        experiment.step(2.0, max_grad_norm=math.sqrt(3))  # (2, 2, 2) becomes (1, 1, 1)
        assert experiment.number("gradient_norm") == pytest.approx(math.sqrt(12))
        assert experiment.weights() == pytest.approx([0.9, 0.9, 0.9])


def test_an_l1_penalty_is_neither_scaled_nor_clipped() -> None:
    experiment = Experiment(DYNAMIC, reg_config=pb.RegConfig(type="L1", weight_decay=0.5))
    experiment.step(2.0, max_grad_norm=math.sqrt(3))
    assert experiment.weights() == pytest.approx([0.85, 0.85, 0.85])  # 1 - 0.1 * (1 + 0.5)


def test_a_loaded_state_goes_on_like_the_saved_one_and_is_plain_data() -> None:
    straight, resumed = Experiment(DYNAMIC), Experiment(DYNAMIC)
    for gradient in GRADIENTS[:3]:
        straight.step(gradient)
    file = io.BytesIO()
    torch.save(straight.precision.state_dict(), file)
    file.seek(0)
    resumed.precision.load_state_dict(torch.load(file, weights_only=True))
    for gradient in GRADIENTS[3:]:
        straight.step(gradient)
        resumed.step(gradient)
        assert resumed.number("loss_scale") == straight.number("loss_scale")
    assert resumed.number("skipped_steps") == straight.number("skipped_steps") == 2


def test_a_loaded_scale_obeys_the_factors_of_the_new_spec() -> None:
    old, new = Experiment(DYNAMIC), Experiment(pb.LossScaleConfig(init_scale=8, backoff_factor=0.25))
    old.step(math.inf)
    new.precision.load_state_dict(old.precision.state_dict())
    new.step(math.inf)
    assert new.number("loss_scale") == 128  # 1024 / 2 by the old spec, / 4 by the new one


@pytest.mark.parametrize(
    ("saved", "loaded", "scale"),
    [
        ((DYNAMIC, pb.Precision.FP32), (DYNAMIC, pb.Precision.FP16), 1024),
        ((DYNAMIC, pb.Precision.FP16), (DYNAMIC, pb.Precision.FP32), 1),
        ((pb.LossScaleConfig(init_scale=8), pb.Precision.FP16), (STATIC, pb.Precision.FP16), 1024),
    ],
    ids=["FP32 to FP16", "FP16 to FP32", "DYNAMIC to STATIC"],
)
def test_a_run_resumed_in_another_mode_starts_with_its_own_scale(
    saved: tuple[pb.LossScaleConfig, pb.Precision.Mode.ValueType],
    loaded: tuple[pb.LossScaleConfig, pb.Precision.Mode.ValueType],
    scale: float,
) -> None:
    experiment = Experiment(*loaded)
    experiment.precision.load_state_dict(Experiment(*saved).precision.state_dict())
    assert experiment.number("loss_scale") == scale


def make_classifier() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 2))


def train_step(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    precision: Precision,
    images: torch.Tensor,
    factor: float = 1.0,
) -> torch.Tensor:
    """Cross entropy of telling bright images from dark ones."""
    labels = (images.mean((1, 2, 3)) > 0.75).long()
    optimizer.zero_grad()
    with precision.autocast():
        logits = network(images)
    loss = F.cross_entropy(logits.float(), labels)
    precision.backward(loss * factor)
    precision.step(optimizer, list(network.parameters()))
    return loss.detach()


def final_loss(mode: pb.Precision.Mode.ValueType) -> float:
    network = make_classifier()
    optimizer = make_optimizer(SGD, pb.RegConfig(), network, device=CPU)
    set_learning_rate(optimizer, 0.005, 0)
    precision = Precision.of(pb.TrainConfig(precision=mode), CPU)
    images = torch.rand(32, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    images[::2] += 0.5
    return [train_step(network, optimizer, precision, images).item() for _ in range(30)][-1]


def test_fp16_and_bf16_reach_the_loss_of_fp32() -> None:
    start, reached = math.log(2), final_loss(pb.Precision.FP32)
    assert reached < start / 4
    assert final_loss(pb.Precision.FP16) == pytest.approx(reached, abs=0.001)
    assert final_loss(pb.Precision.BF16) == pytest.approx(reached, abs=0.001)


def batches(count: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(16, 1, 8, 8, generator=generator) + torch.arange(16).remainder(2).view(-1, 1, 1, 1) / 2] * count


def ours(mode: pb.Precision.Mode.ValueType, loss_scale: pb.LossScaleConfig | None, steps: int) -> nn.Sequential:
    """The classifier, trained as the product trains it in this mode."""
    network = make_classifier()
    optimizer = make_optimizer(SGD, pb.RegConfig(), network, device=CPU)
    set_learning_rate(optimizer, 0.05, 0)
    precision = Precision.of(pb.TrainConfig(precision=mode, loss_scale=loss_scale), CPU)
    precision.store(network)
    for images in batches(steps):
        train_step(precision.cast(network), optimizer, precision, images)
    return network


def assert_same_state(network: nn.Module, other: nn.Module) -> None:
    expected = other.state_dict()
    for name, value in network.state_dict().items():
        assert value.dtype == expected[name].dtype
        assert torch.equal(value, expected[name]), name


def test_o2_is_float16_weights_with_float32_masters_and_batch_norm() -> None:
    """Reference: Apex's O2 written out, with a second network in float16 that the masters are copied to."""
    masters = make_classifier()
    low = make_classifier().half()
    low[1] = masters[1]  # batch norm stays as it is
    optimizer = torch.optim.SGD(masters.parameters(), lr=0.05, momentum=0.5, fused=True)
    for images in batches(5):
        for weight, master in zip(low.parameters(), masters.parameters(), strict=True):
            weight.data.copy_(master.data)
        masters.zero_grad()
        low.zero_grad()
        logits = low(images.half())
        assert logits.dtype == torch.float16
        labels = (images.mean((1, 2, 3)) > 0.75).long()
        (1024 * F.cross_entropy(logits.float(), labels)).backward()  # type: ignore[no-untyped-call]
        for weight, master in zip(low.parameters(), masters.parameters(), strict=True):
            assert weight.grad is not None
            master.grad = weight.grad.float() / 1024
        optimizer.step()
    trained = ours(O2, STATIC, 5)
    assert_same_state(trained, masters)
    kernel = next(trained.parameters())
    assert not torch.equal(kernel, kernel.half().float())  # the masters hold more than float16


def test_o3_is_float16_everywhere() -> None:
    """Reference: a plain loop over network.half(); momentum and statistics of batch norm are float16 too."""
    plain = make_classifier().half()
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.05, momentum=0.5, fused=True)
    for images in batches(5):
        optimizer.zero_grad()
        labels = (images.mean((1, 2, 3)) > 0.75).long()
        F.cross_entropy(plain(images.half()).float(), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert_same_state(ours(O3, None, 5), plain)
    assert {value.dtype for value in plain.state_dict().values()} == {torch.float16, torch.int64}
    experiment = Experiment(DYNAMIC, O3)
    experiment.step(1.0)
    assert [value["momentum_buffer"].dtype for value in experiment.optimizer.state.values()] == [torch.float16]


@pytest.mark.parametrize("mode", [O2, O3])
def test_a_network_of_float32_weights_is_evaluated_as_the_mode_computes(mode: pb.Precision.Mode.ValueType) -> None:
    network = make_classifier().eval()
    images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    expected = network(images)
    logits = Precision.of(pb.TrainConfig(precision=mode), CPU).cast(network)(images)
    assert logits.dtype == torch.float16
    assert torch.allclose(logits.float(), expected, atol=2e-3)  # 11 bits of values near 1
    assert next(network.parameters()).dtype == torch.float32


def measured(gradient: torch.Tensor, **step: float) -> float:
    """The share of underflow in one step with this gradient."""
    weight = nn.Parameter(torch.zeros_like(gradient))
    precision = Precision.of(pb.TrainConfig(precision=pb.Precision.FP32), CPU)
    precision.backward((weight * gradient).sum())
    precision.step(torch.optim.SGD([weight], lr=0.1), [weight], **step)
    return precision.numbers()["underflow_fraction"].item()


def test_underflow_is_what_float16_holds_as_zero() -> None:
    """Reference: torch's own rounding. Half of the smallest number, 2 ** -24, is a tie, and goes to the even zero."""
    sizes = 2.0 ** torch.arange(-30, -20)
    gradient = torch.cat([sizes, -sizes, 1.0001 * sizes, torch.tensor([0.0, math.inf, math.nan])])
    assert measured(gradient) == (gradient.half() == 0).double().mean().item() == (6 + 6 + 5 + 1) / 33


def test_underflow_is_that_of_the_gradient_before_it_is_clipped() -> None:
    gradient = torch.tensor([2.0**-20, 2.0**10])
    assert measured(gradient, max_grad_norm=2.0**-10) == 0  # clipped, the first would be 2 ** -40


def test_underflow_is_that_of_the_true_gradient_and_averaged_over_the_readings() -> None:
    experiment = Experiment(STATIC)
    for gradient in (2.0**-26, 1.0, 1.0):  # scaled by 1024, none would vanish
        experiment.step(gradient)
    for _ in range(10):  # of the first step, until the next is measured
        assert experiment.number("underflow_fraction") == 1
    experiment.step(1.0)
    assert experiment.number("underflow_fraction") == 0
    assert experiment.precision.summary()["underflow_fraction"] == 0.5
    resumed = Experiment(STATIC)
    resumed.precision.load_state_dict(experiment.precision.state_dict())
    resumed.step(1.0)
    assert resumed.precision.summary()["underflow_fraction"] == pytest.approx(1 / 3)


def provoked(mode: pb.Precision.Mode.ValueType, loss_scale: pb.LossScaleConfig | None) -> tuple[float, float, bool]:
    """Accuracy, underflow and whether a weight moved in a training with a loss 2 ** -25 times as large as usual.

    The gradient of a logit is (probability - label) / batch size * 2 ** -25, which is not above 2 ** -25: float16
    rounds it to zero, and with it all gradients. The learning rate is larger by the same power of two, so that in FP32
    the weights move as they would with the usual loss.
    """
    network, factor = make_classifier(), 2.0**-25
    before = [parameter.clone() for parameter in network.parameters()]
    optimizer = make_optimizer(SGD, pb.RegConfig(), network, device=CPU)
    set_learning_rate(optimizer, 0.05 / factor, 0)
    precision = Precision.of(pb.TrainConfig(precision=mode, loss_scale=loss_scale), CPU)
    images = batches(1)[0]
    for _ in range(30):
        train_step(precision.cast(network), optimizer, precision, images, factor)
    logits = network.eval()(images)
    accuracy = (logits.argmax(1) == (images.mean((1, 2, 3)) > 0.75)).float().mean().item()
    moved = any(not torch.equal(*pair) for pair in zip(before, network.parameters(), strict=True))
    return accuracy, precision.summary()["underflow_fraction"], moved


@pytest.mark.parametrize("mode", [pb.Precision.FP16, O2])
def test_float16_learns_nothing_from_gradients_that_underflow_and_all_with_loss_scaling(
    mode: pb.Precision.Mode.ValueType,
) -> None:
    accuracy, underflow, moved = provoked(mode, NONE)
    assert (underflow, moved) == (1.0, False)
    assert accuracy <= 0.5  # chance
    accuracy, underflow, moved = provoked(mode, pb.LossScaleConfig())
    assert (accuracy, moved) == (1.0, True)
    assert underflow > 0.9  # what would have been lost
    assert provoked(pb.Precision.FP32, None)[0] == 1.0


class HostReads(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the reads of a tensor's value by Python, each of which waits for a GPU."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("optimizer", "mode", "reads"),
    [
        *((config, mode, 0) for config in (SGD, ADAM, ADAMW) for mode in (pb.Precision.FP32, pb.Precision.FP16)),
        *((SGD, mode, 0) for mode in (O2, O3)),
        (RMSPROP, pb.Precision.FP32, 0),
        (RMSPROP, pb.Precision.FP16, 1),  # the exception that Precision.step names
    ],
)
def test_a_step_reads_no_tensor_on_the_host(
    optimizer: pb.OptimizerConfig, mode: pb.Precision.Mode.ValueType, reads: int
) -> None:
    experiment = Experiment(DYNAMIC, mode, optimizer, pb.RegConfig(type="L1", weight_decay=0.5))
    with HostReads() as host:  # type: ignore[no-untyped-call]
        experiment.step(1.0, max_grad_norm=1.0)
        experiment.precision.numbers()
    assert host.count == reads


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("mode", [pb.Precision.FP32, pb.Precision.TF32, pb.Precision.FP16, pb.Precision.BF16])
@pytest.mark.parametrize("optimizer", [SGD, ADAM, ADAMW], ids=NAMES[:3])
def test_a_step_on_a_gpu_waits_for_nothing(mode: pb.Precision.Mode.ValueType, optimizer: pb.OptimizerConfig) -> None:
    device = torch.device("cuda")
    network = make_classifier().to(device)
    ours = make_optimizer(optimizer, pb.RegConfig(type="L1", weight_decay=1e-4), network, device=device)
    precision = Precision.of(pb.TrainConfig(precision=mode), device)
    images = torch.rand(32, 1, 8, 8, device=device)
    train_step(network, ours, precision, images)
    torch.cuda.set_sync_debug_mode("error")
    try:
        set_learning_rate(ours, 0.1, 1)
        train_step(network, ours, precision, images)
        precision.numbers()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@needs_gpu
def test_auto_on_a_gpu_goes_by_its_compute_capability() -> None:
    major, _ = torch.cuda.get_device_capability()
    expected = "BF16" if major >= 8 else "FP16" if major == 7 else "FP32"
    assert Precision.of(pb.TrainConfig(), torch.device("cuda")).name == expected
