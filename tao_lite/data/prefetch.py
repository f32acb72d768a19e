"""Batches to a GPU while it computes: copied on a stream of their own, two ahead of the step that needs them."""

from collections import deque
from collections.abc import Iterator
from dataclasses import replace

import torch

from tao_lite.data.batch import Batch

DEPTH = 2


def copied(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """The batches with their tensors on the CUDA device.

    Wants page-locked batches; others are copied too, but the host then waits for it.
    """
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    ahead: deque[tuple[Batch, torch.cuda.Event]] = deque()
    for batch in batches:
        ahead.append(_begin(batch, device, stream))
        if len(ahead) > DEPTH:
            yield _arrived(*ahead.popleft(), device)
    while ahead:
        yield _arrived(*ahead.popleft(), device)


def _begin(batch: Batch, device: torch.device, stream: torch.cuda.Stream) -> tuple[Batch, torch.cuda.Event]:
    """The batch on the device and the event that its copies are done. The host doesn't wait for them."""
    # A tensor that is on the device already (cache DEVICE) is not touched here, so there is nothing to wait for.
    with torch.cuda.stream(stream):
        copied = replace(
            batch,
            images=batch.images.to(device, non_blocking=True),
            labels=batch.labels.to(device, non_blocking=True),
            draws=batch.draws.to(device, non_blocking=True),
            weights=None if batch.weights is None else batch.weights.to(device, non_blocking=True),
        )
        return copied, stream.record_event()


def _arrived(batch: Batch, event: torch.cuda.Event, device: torch.device) -> Batch:
    """The batch, once the stream that computes waits for its copies."""
    computing = torch.cuda.current_stream(device)
    computing.wait_event(event)
    for tensor in (batch.images, batch.labels, batch.draws, batch.weights):
        if tensor is not None:
            # Else its memory would be reused for the next copy as soon as the host lets go of it.
            tensor.record_stream(computing)
    return batch
