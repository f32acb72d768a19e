"""Attention rollout: how much of each patch reaches what a transformer's head reads.

Source: Abnar and Zuidema, arXiv:2005.00928.
"""

import contextlib
from collections.abc import Generator
from typing import Any

import torch
from torch import Tensor, nn

_MOST_EXTRA_TOKENS = 16
"""Tokens that are no patch: of the class, of a teacher, registers."""


def rollout(network: nn.Module, images: Tensor, grid: tuple[int, int]) -> Tensor | None:
    """Maps float32 [B, rows, columns] of non-negative shares; None unless each layer attends to all tokens at once.

    images: float32 [B, C, H, W]. grid: rows and columns of patches. A residual connection passes half of each token on.
    The row of the class token is what counts or, where the head averages the patches, the mean of theirs.
    """
    with _attending(network) as matrices, torch.no_grad():
        network(images)
    rows, columns = grid
    num_tokens = matrices[0].shape[-1] if matrices else 0
    num_extra = num_tokens - rows * columns
    shape = (len(images), num_tokens, num_tokens)
    if not 0 <= num_extra <= _MOST_EXTRA_TOKENS or any(one.shape != shape for one in matrices):
        return None
    own = torch.eye(num_tokens, device=images.device)
    joint = own.expand(shape)
    for matrix in matrices:
        joint = (matrix.float() + own) / 2 @ joint
    is_averaged = num_extra == 0 or getattr(network, "global_pool", "") in ("avg", "avgmax", "max")
    read = joint[:, num_extra:].mean(dim=1) if is_averaged else joint[:, 0]
    return read[:, num_extra:].reshape(len(images), rows, columns)


@contextlib.contextmanager
def _attending(network: nn.Module) -> Generator[list[Tensor]]:
    """A list to which each layer adds its attention, averaged over heads: [B, tokens, tokens], rows summing to 1."""
    matrices = list[Tensor]()
    hooks, fused = [], list[Any]()

    def ask(_: nn.Module, args: Any, keywords: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, {**keywords, "need_weights": True, "average_attn_weights": True}

    for module in network.modules():
        if isinstance(module, nn.MultiheadAttention):  # torchvision's
            hooks.append(module.register_forward_pre_hook(ask, with_kwargs=True))
            hooks.append(module.register_forward_hook(lambda _, __, output: matrices.append(output[1])))
        elif hasattr(module, "fused_attn") and isinstance(getattr(module, "attn_drop", None), nn.Module):  # timm's
            dropout = module.get_submodule("attn_drop")
            hooks.append(dropout.register_forward_hook(lambda _, __, output: matrices.append(output.mean(dim=1))))
            fused.append((module, module.fused_attn))
            module.fused_attn = False  # type: ignore[assignment]  # so that there is a matrix to look at
    try:
        yield matrices
    finally:
        for hook in hooks:
            hook.remove()
        for module, was_fused in fused:
            module.fused_attn = was_fused
