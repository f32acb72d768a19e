"""A network computed in float16 throughout, whatever its weights are kept in: Apex's O2 and O3."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class Float16(nn.Module):
    """The network with its weights rounded to float16 in each pass, except those of batch norm where that is kept.

    The parameters are the network's own. Where they are float32 they are masters: gradients are computed in float16,
    widened, and added up in float32. Where they are float16 nothing is copied. Images float [B, C, H, W] -> logits
    float16 [B, num_classes].
    """

    def __init__(self, network: nn.Module, *, keeps_batch_norm: bool) -> None:
        super().__init__()
        self.network = network
        self._keeps_batch_norm = keeps_batch_norm

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the images."""
        logits: Tensor = torch.func.functional_call(self.network, self._weights(), (images.half(),))
        return logits

    def _weights(self) -> dict[str, Tensor]:
        return {
            f"{path}.{name}" if path else name: value.half()
            for path, module in self.network.named_modules()
            if not (self._keeps_batch_norm and isinstance(module, _BatchNorm))
            for values in (module.named_parameters, module.named_buffers)
            for name, value in values(recurse=False)
            if value.is_floating_point()
        }
