"""The programs that compute a deployed network, ONNX Runtime and OpenVINO: its file opened in FP32 on the CPU."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from tao_lite.errors import CheckpointError, brief, refuse_missing
from tao_lite.files import reading

if TYPE_CHECKING:
    from onnx import ModelProto

Array = npt.NDArray[Any]

MAX_BYTES = 2**31
"""Of a protobuf message."""

_ONNX_PACKAGES = ("onnx", "onnxruntime")


@dataclass(frozen=True, kw_only=True)
class Port:
    """An input or output: its type of numbers, as numpy calls it, and its sizes, None where they are open."""

    type: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True, kw_only=True)
class Computed:
    """A deployed file, ready to compute."""

    runtime: str
    """Its name and version."""
    ports: Mapping[str, Port]
    run: Callable[[Sequence[str], Mapping[str, Array]], Array]  # of some outputs, side by side
    """The named outputs for these inputs by name."""


def read_onnx(path: Path) -> "ModelProto":
    """The message in an ONNX file; its external data, if any, lie in its folder.

    Raises:
        CheckpointError: it is none, or names external data elsewhere.
        RunError: onnx or ONNX Runtime is not installed.
    """
    refuse_missing(f"{path}:", "export", *_ONNX_PACKAGES)
    import onnx
    from google.protobuf.message import DecodeError

    try:
        found = onnx.ModelProto.FromString(reading.read(path, CheckpointError, max_bytes=MAX_BYTES))
    except DecodeError as error:
        raise CheckpointError(f"{path}: is no ONNX file, or is damaged; export the network again") from error
    for location in _external(found):
        target = path.parent / location
        if not target.resolve().is_relative_to(path.parent.resolve()):
            raise CheckpointError(
                f"{path}: keeps weights in {brief(location)}, outside of its folder, which is not read; put all into "
                "one file, as tao-lite export does"
            )
        if not target.is_file():
            raise CheckpointError(f"{path}: keeps weights in {brief(location)}, which is not beside it; put it there")
    return found


def by_onnxruntime(path: Path, message: "ModelProto") -> Computed:
    """The file, of which the message was read, in ONNX Runtime.

    Raises:
        CheckpointError: it can't be opened, or later can't compute.
    """
    onnxruntime = import_onnxruntime()
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    names = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NotImplemented", "RuntimeException")
    failures = (*(getattr(errors, name) for name in names), RuntimeError, ValueError)
    is_int8 = any(node.op_type == "DequantizeLinear" for node in message.graph.node)
    runtime = f"ONNX Runtime {onnxruntime.__version__}{' with INT8 layers' if is_int8 else ''}"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # what is wrong is raised
    source = str(path) if any(_external(message)) else message.SerializeToString()
    with _clear_errors(path, runtime, failures):
        session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])

    def run(outputs: Sequence[str], inputs: Mapping[str, Array]) -> Array:
        with _clear_errors(path, runtime, failures):
            return np.concatenate(session.run(list(outputs), dict(inputs)), axis=1)

    types = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}
    ports = {
        port.name: Port(
            type=types.get(port.type, port.type),
            shape=tuple(size if isinstance(size, int) else None for size in port.shape),
        )
        for port in (*session.get_inputs(), *session.get_outputs())
    }
    return Computed(runtime=runtime, ports=ports, run=run)


def by_openvino(path: Path) -> Computed:
    """The IR, model.xml with model.bin beside it, or an ONNX file, in OpenVINO.

    Raises:
        CheckpointError: it can't be opened, or later can't compute.
        RunError: OpenVINO is not installed.
    """
    openvino = import_openvino(path)
    for part in (path, *([path.with_suffix(".bin")] if path.suffix == ".xml" else [])):
        reading.open_regular(part, CheckpointError).close()
    runtime = f"OpenVINO {openvino.__version__.partition('-')[0]}"
    # Without the hint it computes in BF16 where the CPU has that.
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    with _clear_errors(path, runtime, (RuntimeError,)):
        model = openvino.Core().compile_model(str(path), "CPU", settings)

    def run(outputs: Sequence[str], inputs: Mapping[str, Array]) -> Array:
        with _clear_errors(path, runtime, (RuntimeError,)):
            found = model(dict(inputs))
            return np.concatenate([found[name] for name in outputs], axis=1)

    types = {"f32": "float32", "u8": "uint8"}
    ports: dict[str, Port] = {}
    for port in (*model.inputs, *model.outputs):
        kind, shape = port.element_type.get_type_name(), port.partial_shape
        sizes = tuple(None if size.is_dynamic else size.get_length() for size in shape)
        ports |= dict.fromkeys(port.names, Port(type=types.get(kind, kind), shape=sizes))
    return Computed(runtime=runtime, ports=ports, run=run)


def import_onnxruntime() -> Any:
    """ONNX Runtime's module, which has to be installed."""
    # Else it sends events to Microsoft and writes to ~/.cache; see its Privacy.md.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime


def import_openvino(path: Path) -> Any:
    """OpenVINO's module, for a file that needs it.

    Raises:
        RunError: it is not installed.
    """
    refuse_missing(f"{path}:", "openvino", "openvino")
    # With this package, importing OpenVINO writes to ~/intel and reports to Intel; it does without.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


@contextmanager
def _clear_errors(path: Path, runtime: str, failures: tuple[type[Exception], ...]) -> Iterator[None]:
    try:
        yield
    except failures as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path}: {runtime} can't compute it ({reason}); export the network again") from error


def _external(message: Any) -> Iterator[str]:
    """Where the tensors are, anywhere in a message of onnx's, that are in other files."""
    for field, value in message.ListFields():
        if field.name == "external_data":
            yield from (entry.value for entry in value if entry.key == "location")
        elif field.message_type:
            for one in value if hasattr(value, "__len__") else (value,):
                yield from _external(one)
