"""Resident: the finished images of a data set in the memory of a device."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tao_lite.data.geometry import Size

Indices = npt.NDArray[np.int64]


class Resident:
    """A row for each example, filled by the first epoch. Batches of later epochs are taken from it, without a copy.

    For one thread.
    """

    def __init__(self, count: int, size: Size, channels: int, device: torch.device) -> None:
        self._rows = torch.empty((count, *size, channels), dtype=torch.uint8, device=device)
        self._is_there = np.zeros(count, np.bool_)

    def missing(self, indices: Indices) -> Indices:
        """Which of the indices, by their places in the array, have no row yet."""
        return np.flatnonzero(~self._is_there[indices])

    def kept(self) -> npt.NDArray[np.bool_]:
        """Of each example, whether it has a row."""
        return self._is_there.copy()

    def put(self, indices: Indices, images: Tensor) -> None:
        """uint8 [N, H, W, C] on the host. Returns before it is copied; page-locked memory need not be kept for it."""
        if len(indices):
            self._rows[self._on_device(indices)] = images.to(self._rows.device, non_blocking=True)
            self._is_there[indices] = True

    def get(self, indices: Sequence[int] | Indices) -> Tensor:
        """uint8 [N, H, W, C] on the device."""
        return self._rows.index_select(0, self._on_device(np.asarray(indices, np.int64)))

    def _on_device(self, indices: Indices) -> Tensor:
        tensor = torch.from_numpy(indices)
        if self._rows.device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self._rows.device, non_blocking=True)
