"""Batch norm folded into the convolutions before it, for networks that no longer train."""

import logging

from torch import fx, nn
from torch.fx.experimental import optimization

_log = logging.getLogger(__name__)

# What torch.fx raises for a computation that depends on data, or that it does not know.
_FAILURES = (ValueError, TypeError, RuntimeError, AssertionError, AttributeError, LookupError, NotImplementedError)


def folded(network: nn.Module) -> nn.Module:
    """A copy that computes the same, up to rounding, with fewer operations; the network where it can't be traced.

    The network is put into evaluation mode. There a batch norm is an affine function: where it alone reads a
    convolution, its factor goes into the kernel and its summand into the bias.
    """
    network.eval()
    if isinstance(network, fx.GraphModule):  # it is folded
        return network
    try:
        return optimization.fuse(network)
    except _FAILURES as error:
        _log.debug("batch norm was not folded: %s", error)
        return network
