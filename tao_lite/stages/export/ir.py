"""A network in OpenVINO's own form, its IR: an .xml file and a .bin file."""

import tempfile
from pathlib import Path
from typing import NamedTuple

from tao_lite.errors import RunError
from tao_lite.files import reading, writing
from tao_lite.training import runtimes

_MAX_BYTES = 2**31


class IR(NamedTuple):
    """The contents of both files."""

    xml: bytes
    weights: bytes


def convert(content: bytes) -> IR:
    """The network in the content of an ONNX file, its numbers as they are there.

    Raises:
        RunError: OpenVINO is not installed.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        openvino = runtimes.import_openvino(path)
        with writing.new_file(path, len(content), is_synced=False) as file:
            file.write(content)
        model = openvino.convert_model(path)
        for number, node in enumerate(model.get_ordered_ops()):  # its own names count the process's nodes
            node.friendly_name = f"{node.get_type_name()}_{number}"
        openvino.save_model(model, path.with_suffix(".xml"), compress_to_fp16=False)
        read = (reading.read(path.with_suffix(end), RunError, max_bytes=_MAX_BYTES) for end in (".xml", ".bin"))
        return IR(*read)
