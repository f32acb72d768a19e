"""Batches of noise with draws, as the loader makes them, and what a spec's text says."""

import torch
from google.protobuf import text_format
from torch import Tensor

from tao_lite.data.draws import NUM_DRAWS
from tao_lite.spec import classification_pb2 as pb


def noise(batch: int = 6, channels: int = 3, height: int = 9, width: int = 7) -> Tensor:
    """uint8 [B, C, H, W], channels last as the loader makes it."""
    generator = torch.Generator().manual_seed(batch * 1000 + channels * 100 + height)
    shape = (batch, height, width, channels)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator).permute(0, 3, 1, 2)


def one_pixel(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).reshape(1, len(values), 1, 1)


def some_draws(batch: int, seed: int = 0) -> Tensor:
    return torch.rand(batch, NUM_DRAWS, generator=torch.Generator().manual_seed(seed))


def experiment(text: str) -> pb.Experiment:
    return text_format.Parse(text, pb.Experiment())
