"""The opset of an exported file: the one that was asked for, or a refusal with the nearest one that works."""

from collections.abc import Callable
from typing import Any

from tao_lite.errors import RunError

# Whether a file, onnx's own message, computes what it should.
Works = Callable[[Any], bool]


# What torch.onnx.export writes before it converts; https://pytorch.org/docs/stable/onnx_export.html
_OLDEST = 18


def refuse_other(file: Any, opset: int, works: Works) -> None:
    """Return where the file is of that opset and works.

    PyTorch hands back a file of another opset where it can't convert what it made.

    Raises:
        RunError: it is not, or does not; says which opset is the lowest that works, or the highest for one too high.
    """
    from onnx import defs

    made = next(one.version for one in file.opset_import if not one.domain)
    if made == opset and works(file):
        return
    # A file of the opset that was asked for and does not work is one that is newer than what runs it.
    is_low = opset < made
    others = range(opset + 1, made) if is_low else range(min(opset - 1, defs.onnx_opset_version()), _OLDEST, -1)
    nearest = next((other for other in others if _works_as(file, other, works)), made if is_low else _OLDEST)
    raise RunError(
        f"--target_opset {opset}: this network can't be written in it; the {'lowest' if is_low else 'highest'} that "
        f"works is {nearest}"
    )


def _works_as(file: Any, opset: int, works: Works) -> bool:
    from onnx import version_converter

    try:
        return works(version_converter.convert_version(file, opset))
    except RuntimeError:  # no way to say an operator in that opset
        return False
