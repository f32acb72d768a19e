"""A folder that a stranger can use without us: a network with a client, a check of it, and where it is from."""

import importlib.metadata
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import torch

from tao_lite.data.description import Description, Kind
from tao_lite.errors import DataError, RunError, refuse_missing
from tao_lite.files import signature, sums, writing
from tao_lite.monitor import console
from tao_lite.run import Run, Summary
from tao_lite.spec.load import Spec
from tao_lite.stages.export import card, gate
from tao_lite.stages.export.export import PACKAGES, Form, Made, make
from tao_lite.stages.export.references import draw
from tao_lite.stages.export.sbom import sbom
from tao_lite.training import runtimes
from tao_lite.training.trained import Trained

_log = logging.getLogger(__name__)

REFERENCES = "references"
RUNTIMES = ("onnxruntime", "openvino")
"""By the names of their packages for Python."""

_CLIENT = ("client.py", "picture.py", "check.py")

_README = """# {title}

Classifies pictures as {classes}. Made by tao_lite; it needs neither tao_lite nor PyTorch.

```sh
pip install -r requirements.txt
python -B check.py
python -B client.py PICTURE...
```

`check.py` replays the pictures in `references/` and says ok, or where this machine's answers differ. `preprocess.json`
says in numbers how a file becomes the network's input: whoever writes another client goes by it. `labels.txt` has a
class on each line, in the order of the network's outputs. Where the network is from: `model_card.md`, `sbom.cdx.json`;
whether a file was changed: `sha256sum -c SHA256SUMS`.

Before this folder was kept, its client answered {num_pictures} as the network did in PyTorch, in float32: the
same class for all, probabilities within {distance:.1e}.
"""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is wanted: where, what the graph takes, how many validation pictures to compare, a key to sign by."""

    folder: Path
    runtime: str
    kind: Kind = "pixels"
    verify: int = 500
    opset: int | None = None
    signing_key: Path | None = None
    licence: str = card.UNKNOWN


def package(spec: Spec, run: Run, model: Path, request: Request) -> Summary:
    """Write the package; the summary is export.json in the results folder.

    Raises:
        CheckpointError: the model can't be read.
        RunError: something is missing or in the way, or its client answers otherwise than the network: nothing is kept.
    """
    refuse_missing("export", "export", *PACKAGES)
    if request.runtime == "openvino":
        refuse_missing("--for openvino", "openvino", "openvino")
    folder = request.folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"{folder}: is there already and not an empty folder; name another one, or remove it")
    if request.signing_key:
        signature.private_key(request.signing_key)
    trained = Trained.of(model, torch.device("cpu"), spec.experiment)
    made = make(trained, Form(kind=request.kind, opset=request.opset))
    with writing.new_folder(folder) as temporary:
        passed = _fill(temporary, trained, made, request)
        writing.write(temporary / "README.md", _readme(model, made.description, passed))
        sums.write_sums(temporary)
        if request.signing_key:
            signature.sign(temporary, request.signing_key)
    console.line(
        f"Wrote {folder}, {len(made.content) / 1e6:.1f} MB; its client answers {passed.words} as the network does, "
        f"probabilities within {passed.distance:.1e}"
    )
    summary = {"package": str(folder), "largest_difference": passed.distance, "pictures": passed.num_pictures}
    writing.write_json(run.summary("export"), summary)
    return summary


@dataclass(frozen=True)
class _Passed:
    """By how much the answers to how many pictures differed."""

    distance: float
    num_pictures: int
    num_references: int

    @property
    def words(self) -> str:
        others = f"{self.num_pictures} validation pictures and " if self.num_pictures else ""
        return f"{others}{self.num_references} reference pictures"


def _fill(folder: Path, trained: Trained, made: Made, request: Request) -> _Passed:
    """Write all but what tells of the comparison, and compare.

    Raises:
        RunError: the client answers otherwise.
    """
    clients = resources.files("tao_lite.stages.export") / "clients"
    sources = {**{name: name for name in _CLIENT}, "network.py": f"network_{request.runtime}.py"}
    for name, source in sources.items():
        writing.write(folder / name, (clients / source).read_bytes())
    described = made.description.to_dict()
    writing.write(folder / "model.onnx", made.content)
    if request.runtime == "openvino":
        _convert(folder)
    writing.write(folder / "labels.txt", "".join(f"{name}\n" for name in trained.class_names))
    writing.write(folder / "requirements.txt", _requirements(request.runtime))
    writing.write(folder / "model_card.md", card.card(trained.path, trained.found, licence=request.licence))
    writing.write(folder / "sbom.cdx.json", sbom())
    drawn = gate.expected(trained, draw(folder / REFERENCES))
    writing.write_json(folder / "preprocess.json", {**described, "references": list(gate.references(drawn))})
    with tempfile.TemporaryDirectory() as cut:
        want = {**drawn, **gate.expected(trained, _validation(trained, Path(cut), request.verify))}
        distance = gate.verify(made.description, want, gate.answers(folder, list(want)))
    return _Passed(distance, len(want) - len(drawn), len(drawn))


def _validation(trained: Trained, folder: Path, most: int) -> Sequence[Path]:
    """Validation pictures, or none where they are gone, of which the log is told."""
    if not most:
        return ()
    try:
        return gate.pictures(trained, folder, most)
    except DataError as error:
        _log.warning("the package is compared on the reference pictures only: %s", error)
        return ()


def _convert(folder: Path) -> None:
    """The ONNX file in the folder becomes OpenVINO's two, in float32."""
    openvino = runtimes.import_openvino(folder)
    openvino.save_model(openvino.convert_model(folder / "model.onnx"), folder / "model.xml", compress_to_fp16=False)
    (folder / "model.onnx").unlink()


def _requirements(runtime: str) -> str:
    needs = sorted({"numpy", "pillow", runtime})
    return "".join(f"{name}=={importlib.metadata.version(name)}\n" for name in needs)


def _readme(model: Path, description: Description, passed: _Passed) -> str:
    names = ", ".join(description.class_names[:10])
    more = len(description.class_names) - 10
    return _README.format(
        title=f"Image classifier {model.stem}",
        classes=f"{names} and {more} more" if more > 0 else names,
        num_pictures=passed.words,
        distance=passed.distance,
    )
