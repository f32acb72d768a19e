"""The network as a program of torch.export."""

import io
import warnings

import torch
from torch import Tensor

from tao_lite.errors import RunError
from tao_lite.stages.export.export import TOLERANCES, Form, samples, shapes
from tao_lite.stages.export.graph import Deployed, WithMore
from tao_lite.training.trained import Trained


def make(trained: Trained, form: Form) -> bytes:
    """The content of a .pt2 file, compared with the network.

    Raises:
        RunError: it would not compute what the network computes.
    """
    plain = Deployed(trained.network, trained.pipeline, form.kind).eval()
    deployed = WithMore(plain, trained.rule, has_embedding=False).eval() if trained.rule else plain
    first, *others = samples(form, trained.pipeline)
    program = torch.export.export(deployed, first, dynamic_shapes=shapes(form, first))
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)  # which line of which file on this machine it comes from
    written = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about tensors that share memory; what comes of it is compared below
        torch.export.save(program, written)
    content = written.getvalue()
    again = torch.export.load(io.BytesIO(content)).module()
    with torch.inference_mode():
        pairs = [(_parts(again(*each)), _parts(deployed(*each))) for each in (first, *others)]
        difference = max(
            float((found.float() - right.float()).abs().max())
            for pair in pairs
            for found, right in zip(*pair, strict=True)
        )
    if not difference <= TOLERANCES[form.kind]:
        raise RunError(
            f"the program of torch.export differs from the network by {difference:.1e} of a probability; nothing was "
            "written; please report the architecture and the version of torch"
        )
    return content


def _parts(outputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)
