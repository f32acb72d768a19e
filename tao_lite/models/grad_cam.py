"""Grad-CAM: which places of a network's last feature map speak for an output.

Source: Selvaraju et al., arXiv:1610.02391, equations 1 and 2.
"""

import torch
from torch import Tensor, nn

from tao_lite.models import feature_map
from tao_lite.models.feature_map import FeatureMap


def grad_cam(network: nn.Module, place: FeatureMap, images: Tensor, outputs: Tensor) -> Tensor:
    """Maps float32 [B, T, rows, columns], none of it negative.

    The network is in evaluation mode. images: float32 [B, C, H, W]. outputs: int64 [B, T], those of each image.
    """
    with feature_map.held(network, place) as leaves, torch.no_grad():
        logits = network(images)
        features = place.channels_first(leaves[0].detach())
        maps = []
        for column in outputs.to(logits.device).T:
            chosen = logits.gather(1, column[:, None]).sum()
            (gradient,) = torch.autograd.grad(chosen, leaves[0], retain_graph=True)
            weights = place.channels_first(gradient).mean(dim=(2, 3), keepdim=True)
            maps.append((weights * features).sum(dim=1).relu())
    return torch.stack(maps, dim=1)
