"""The form of an INT8 file: ONNX as it is or, by the path's ending, OpenVINO's own with the description beside it."""

from pathlib import Path

from tao_lite.errors import RunError
from tao_lite.files import reading, writing
from tao_lite.stages.export import ir
from tao_lite.training.deployed import DESCRIPTION

IR_ENDING = ".xml"


def write(path: Path, content: bytes) -> int:
    """Put the network in an ONNX file's content at the path; how many bytes it takes.

    Raises:
        RunError: the disk refuses, OpenVINO is not installed, or the folder has the description of another network.
    """
    if path.suffix != IR_ENDING:
        writing.write(path, content)
        return len(content)
    description, beside = _description(content), path.with_name(DESCRIPTION)
    if beside.is_file() and reading.read_text(beside, RunError) != description:
        raise RunError(f"{beside}: is there and describes another network; choose another folder with -o")
    xml, weights = ir.convert(content)
    for one, found in ((beside, description), (path.with_suffix(".bin"), weights), (path, xml)):
        writing.write(one, found)
    return len(xml) + len(weights)


def _description(content: bytes) -> str:
    import onnx

    entries = onnx.ModelProto.FromString(content).metadata_props
    return next(str(entry.value) for entry in entries if entry.key == "preprocess")
