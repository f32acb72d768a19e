"""What the code takes from torch's private parts, which may change with any version: that it is there, and as assumed.

pyproject.toml allows the versions that these tests have passed with; who raises its upper bound runs them first.
"""

import inspect
import re
import tomllib
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement
from torch import Tensor

from tao_lite.spec import classification_pb2 as pb
from tao_lite.training.precision import Precision

ROOT = Path(__file__).resolve().parents[2]
PRIVATE = {
    "torch._dynamo",
    "torch._foreach_add",
    "torch._foreach_add_",
    "torch._foreach_lerp_",
    "torch._foreach_mul",
    "torch._foreach_mul_",
    "torch._foreach_norm",
    "torch._foreach_sign",
    "torch._fused_sgd_",
    "scaler._unscale_grads_",
}
"""All that is used. The last two are of no one else's use, so that they may change first; they are tested here."""


def test_no_other_private_part_of_torch_is_used() -> None:
    texts = [path.read_text() for path in (ROOT / "tao_lite").rglob("*.py")]
    found = {name for text in texts for name in re.findall(r"\b(?:torch|scaler)\._[a-z]\w+", text)}
    assert found == PRIVATE


def test_the_installed_torch_is_one_that_is_allowed_and_the_next_minor_version_is_not() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (allowed,) = (one.specifier for one in map(Requirement, extras["train"]) if one.name == "torch")
    assert allowed.contains(torch.__version__.partition("+")[0])
    locked = next(line for line in (ROOT / "requirements.lock").read_text().splitlines() if line[:7] == "torch==")
    major, minor = map(int, locked[7:].split(".")[:2])
    assert allowed.contains(f"{major}.{minor}.99")
    assert not allowed.contains(f"{major}.{minor + 1}.0")


def test_the_fused_step_takes_what_it_is_given() -> None:
    assert str(torch.ops.aten._fused_sgd_.default._schema) == (
        "aten::_fused_sgd_(Tensor(a!)[] self, Tensor(b!)[] grads, Tensor(c!)[] momentum_buffer_list, *, "
        "float weight_decay, float momentum, float lr, float dampening, bool nesterov, bool maximize, "
        "bool is_first_step, Tensor? grad_scale=None, Tensor? found_inf=None) -> ()"
    )


@pytest.mark.parametrize(("found_inf", "weight", "velocity"), [(0.0, -0.125, 4.5), (1.0, 1.0, 2.0)])
def test_the_fused_step_undoes_the_loss_scale_and_leaves_out_an_overflow(
    found_inf: float, weight: float, velocity: float
) -> None:
    """By hand: gradient 12 / 4 + 0.5 * 1 = 3.5, velocity 0.5 * 2 + 3.5 = 4.5, weight 1 - 0.25 * 4.5."""
    weights, gradients, velocities = (torch.full((3,), value) for value in (1.0, 12.0, 2.0))
    torch._fused_sgd_(
        [weights],
        [gradients],
        [velocities],
        weight_decay=0.5,
        momentum=0.5,
        lr=0.25,
        dampening=0.0,
        nesterov=False,
        maximize=False,
        is_first_step=False,
        grad_scale=torch.tensor(4.0),
        found_inf=torch.tensor(found_inf),
    )
    assert weights.tolist() == [weight] * 3
    assert velocities.tolist() == [velocity] * 3


def test_the_scaler_undoes_its_scale_by_a_method_whose_last_argument_allows_float16() -> None:
    named = list(inspect.signature(torch.amp.GradScaler._unscale_grads_).parameters)
    assert named == ["self", "optimizer", "inv_scale", "found_inf", "allow_fp16"]
    plain = torch.amp.GradScaler("cpu", init_scale=4.0)
    with pytest.raises(ValueError, match="Attempting to unscale FP16 gradients"):
        _unscaled(plain)
    config = pb.LossScaleConfig(mode=pb.LossScaleConfig.DYNAMIC, init_scale=4.0)
    ours = Precision.of(pb.TrainConfig(precision=pb.Precision.O3, loss_scale=config), torch.device("cpu"))
    assert _unscaled(ours.scaler).tolist() == [3.0, 3.0]


def _unscaled(scaler: torch.amp.GradScaler) -> Tensor:
    """Float16 gradients of 12 after the scaler has undone its scale."""
    weight = torch.nn.Parameter(torch.zeros(2, dtype=torch.float16))
    weight.grad = torch.full_like(weight, 12.0)
    scaler.scale(torch.zeros(()))
    scaler.unscale_(torch.optim.SGD([weight]))
    return weight.grad
