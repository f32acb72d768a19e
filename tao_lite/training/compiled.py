"""The network compiled by torch.compile, as train_config.compile says."""

import logging

import torch
from torch import Tensor, nn

from tao_lite.errors import RunError
from tao_lite.spec import classification_pb2 as pb

MODES = {pb.Compile.DEFAULT: "default", pb.Compile.MAX: "max-autotune"}

_log = logging.getLogger(__name__)


class Compiled(nn.Module):
    """Full batches go through the compiled network; each other size would be compiled anew, and goes through as it is.

    Raises (in the first step):
        RunError: it can't be compiled, for want of a C++ compiler, say.
    """

    def __init__(self, network: nn.Module, mode: "pb.Compile.Mode.ValueType", batch_size: int) -> None:
        super().__init__()
        self.network = network
        self._batch_size = batch_size

        def run(images: Tensor) -> Tensor:
            return network(images)  # type: ignore[no-any-return]

        # Not the network itself: what comes back would be a module too, a second owner of the same weights.
        self._compiled = torch.compile(run, mode=MODES[mode], dynamic=False)
        _log.info("the network is compiled in the first step, which takes half a minute or more")
        if next(network.parameters()).device.type == "cpu":
            _log.warning("train_config.compile: on a CPU a compiled network trains slower; OFF suits it better")

    def forward(self, images: Tensor) -> Tensor:
        if len(images) != self._batch_size:
            return self.network(images)  # type: ignore[no-any-return]
        from torch._dynamo.exc import TorchDynamoException

        try:
            return self._compiled(images)
        except TorchDynamoException as error:
            reason = str(error).partition("\n")[0]
            raise RunError(
                f"train_config.compile: torch could not compile the network ({reason}); set it to OFF"
            ) from error
