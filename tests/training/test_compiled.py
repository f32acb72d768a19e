"""Compiled networks: the same numbers, full batches only, and a clear error where it can't be done."""

import copy

import pytest
import torch
from torch import Tensor, nn

from tao_lite.errors import RunError
from tao_lite.spec import classification_pb2 as pb
from tao_lite.training.compiled import MODES, Compiled


class _Counting(nn.Module):
    """A linear layer that counts how often Python itself ran it; compiled code leaves Python out."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.runs = nn.Linear(6, 3), 0

    def forward(self, images: Tensor) -> Tensor:
        if not torch.compiler.is_compiling():
            self.runs += 1
        values: Tensor = self.layer(images.flatten(1))
        return values.relu()


def test_every_mode_but_off_has_a_name_that_torch_knows() -> None:
    assert set(MODES) == set(pb.Compile.Mode.values()) - {pb.Compile.OFF}
    assert set(MODES.values()) <= set(torch._inductor.list_mode_options())


@pytest.mark.slow
def test_full_batches_are_compiled_and_give_the_same_gradients() -> None:
    plain = _Counting()
    network = copy.deepcopy(plain)
    compiled = Compiled(network, pb.Compile.DEFAULT, batch_size=4)
    for size in (4, 4, 3):
        images = torch.randn(size, 1, 2, 3)
        plain(images).square().sum().backward()
        compiled(images).square().sum().backward()
    assert network.runs == 1  # the batch of 3
    assert plain.layer.weight.grad is not None
    assert network.layer.weight.grad is not None
    torch.testing.assert_close(network.layer.weight.grad, plain.layer.weight.grad)


def test_the_weights_are_those_of_the_network() -> None:
    network = nn.Linear(6, 3)
    compiled = Compiled(network, pb.Compile.MAX, batch_size=4)
    assert [id(p) for p in compiled.parameters()] == [id(p) for p in network.parameters()]


def test_without_a_compiler_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch._inductor.config

    torch._dynamo.reset()
    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", (None, "/bin/false"))
    monkeypatch.setattr(torch._inductor.config, "force_disable_caches", True)
    compiled = Compiled(_Counting(), pb.Compile.DEFAULT, batch_size=4)
    with pytest.raises(RunError, match=r"train_config\.compile: torch could not compile the network \(.*set it to OFF"):
        compiled(torch.randn(4, 1, 2, 3))
