"""What packages can be made for, and what is special about each: its files, and what its README says of their use."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path

from tao_lite.data.description import INPUT, Description, Kind
from tao_lite.files import writing
from tao_lite.stages.export import deepstream, ir, nvinfer, program, tao_deploy_files, triton
from tao_lite.stages.export.export import Form, Made
from tao_lite.stages.export.gate import Wanted
from tao_lite.stages.export.tao_deploy_files import NOTHING_ELSE, Extras
from tao_lite.training import runtimes
from tao_lite.training.trained import Trained

_USAGE = """```sh
pip install -r requirements.txt
python -B check.py
python -B client.py PICTURE...
```
"""

_TENSORRT = """
The engine is made on the machine and the GPU that will run it; the first number of each shape is that of pictures:

```sh
trtexec --onnx=model.onnx --saveEngine=model.plan \\
  --minShapes={name}:1x{shape} --optShapes={name}:8x{shape} --maxShapes={name}:64x{shape}
```

It computes in TF32 where the GPU has that; `--noTF32` makes that float32, `--fp16` is faster. `client.py` computes the
same `model.onnx` in ONNX Runtime, on the CPU.
"""

_DEEPSTREAM = """
`config_infer.txt` configures nvinfer, here as a classifier of what a detector has found (`process-mode=2`; 1 is for
whole frames). Paths in it are relative to it. `client.py` computes the same `model.onnx` in ONNX Runtime, on the CPU,
fed by nvinfer's formula with the numbers in `preprocess.json`, and resizes as in training.

nvinfer scales by itself, and otherwise than that: emulated, of {count} pictures it answers {linear} otherwise with
`scaling-filter=1` (linear, as is set), and would answer {area} otherwise if each pixel were the mean of the area that
it covers.{crop}
"""

_CROP = " The network sees the middle of each picture, which nvinfer doesn't cut out: that is in the numbers."

_TRITON = """`models/` is a model repository. `{name}` takes arrays, as `preprocess.json` says, many at once.
`{name}_picture` takes the bytes of one picture's file and does all the rest, in Triton's Python backend, whose Python
needs a few packages:

```sh
pip install -r requirements.txt --target models/{name}_picture/1/packages    # with the Python of the server
tritonserver --model-repository=models
```

With the server running, here or at TRITON_URL=http://HOST:PORT:

```sh
python -B check.py
python -B client.py PICTURE...
```

Models are called as their folders: other names will do, if the second one is the first with `_picture` behind it.
"""

_TORCH = """
`model.pt2` is a program of torch.export: `torch.export.load("model.pt2").module()` computes probabilities from what
`preprocess.json` describes. Loading it unpickles, so load it only from who you trust: `tao-lite verify` says whether
it is what was signed.
"""


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a package is filled from: the network in a form, and what it says of which pictures."""

    folder: Path
    trained: Trained
    form: Form
    description: Description
    wanted: Wanted
    make: Callable[[Form], Made]
    """Gives the network as ONNX, and for a form that another package has the same again."""
    extras: Extras = NOTHING_ELSE
    origin: str = "the network did in PyTorch, in float32"
    """Whose answers are those that are wanted."""

    @property
    def onnx(self) -> Made:
        return self.make(self.form)

    @property
    def labels(self) -> str:
        """A class on each line."""
        return "".join(f"{name}\n" for name in self.description.class_names)


@dataclass(frozen=True, kw_only=True)
class Written:
    """What the README says of use, the folder whose client.py is to be compared, and what could not be."""

    usage: str
    client: Path
    not_run: str = ""
    """The program that will serve, where only another one could compute the same file."""
    other_answers: Mapping[str, int] = field(default_factory=dict)
    """By emulated ways of that program, how many pictures it answers otherwise."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A program that computes networks."""

    fill: Callable[[Contents], Written]
    needs: tuple[str, ...] = ("onnxruntime",)
    """Packages that the client needs beside numpy and Pillow; it gets the versions that are installed here."""
    numpy: str = ""
    """The version of numpy that it needs, where that is another one."""
    extra: str = "export"
    """Of tao_lite, which has them."""
    kinds: tuple[Kind, ...] = ("pixels", "tensor", "image")
    """What the graph may take; the first unless another is asked for."""
    takes_accepted: bool = True
    """Whether it has a use for a second output, which says if an answer is accepted."""


def _onnxruntime(contents: Contents) -> Written:
    writing.write(contents.folder / "model.onnx", contents.onnx.content)
    return _with_client(contents.folder, "onnxruntime")


def _openvino(contents: Contents) -> Written:
    """OpenVINO's two files, in float32."""
    runtimes.import_openvino(contents.folder)
    xml, weights = ir.convert(contents.onnx.content)
    writing.write(contents.folder / "model.bin", weights)
    writing.write(contents.folder / "model.xml", xml)
    return _with_client(contents.folder, "openvino")


def _tensorrt(contents: Contents) -> Written:
    shape = "x".join(map(str, contents.trained.pipeline.shape))
    written = _onnxruntime(contents)
    return replace(written, usage=written.usage + _TENSORRT.format(name=INPUT, shape=shape), not_run="TensorRT")


def _deepstream(contents: Contents) -> Written:
    folder, description = contents.folder, contents.description
    config = deepstream.whole_config(description)
    writing.write(folder / "labels.txt", deepstream.labels(description.class_names))
    writing.write(folder / "config_infer.txt", config)
    others = nvinfer.other_answers(contents.onnx, config, contents.wanted.all)
    crop = _CROP if description.pipeline.is_cropped else ""
    usage = _DEEPSTREAM.format(count=len(contents.wanted.all), crop=crop, **others)
    written = _onnxruntime(contents)
    return replace(written, usage=written.usage + usage, not_run="DeepStream's nvinfer", other_answers=others)


def _tao_deploy(contents: Contents) -> Written:
    """What NVIDIA's three commands read; and a client, to check without them."""
    usage, others = tao_deploy_files.write(
        contents.folder, contents.trained, contents.onnx, contents.wanted.all, contents.extras
    )
    if contents.extras.num_images:
        _copy(contents.folder, {"verify.py": "tao_deploy_verify.py"})
    written = _onnxruntime(contents)
    return replace(written, usage=written.usage + usage, not_run="tao-deploy with its TensorRT", other_answers=others)


def _torch(contents: Contents) -> Written:
    writing.write(contents.folder / "model.pt2", program.make(contents.trained, contents.form))
    written = _with_client(contents.folder, "torch")
    return replace(written, usage=written.usage + _TORCH)


def _triton(contents: Contents) -> Written:
    """A model repository, and a client of the server. The model that takes files answers as its own client.py does."""
    folder, description = contents.folder, contents.description
    name = triton.model_name(contents.trained.experiment.model_config)
    network, picture = folder / "models" / name, folder / "models" / f"{name}_picture"
    for below in (network / "1", picture / "1"):
        below.mkdir(parents=True)
    writing.write(network / "config.pbtxt", triton.network(description))
    writing.write(network / "labels.txt", contents.labels)
    writing.write(network / "1" / "model.onnx", contents.onnx.content)
    writing.write(picture / "config.pbtxt", triton.picture(description))
    writing.write_json(picture / "1" / "preprocess.json", description.to_dict())
    files = ("client.py", "classify.py", "picture.py", "way.py", "network_onnxruntime.py")
    own = {"model.py": "triton_model.py", "network.py": "network_triton.py"}
    _copy(picture / "1", {**{name: name for name in files}, **own})
    server = {"classify.py": "triton_classify.py", "network.py": "triton_network.py"}
    _copy(folder, {**{name: name for name in ("client.py", "check.py", "way.py")}, **server})
    usage, not_run = _TRITON.format(name=name), "Triton; the files of its model that takes pictures were, without it"
    return Written(usage=usage, client=picture / "1", not_run=not_run)


def _with_client(folder: Path, runtime: str) -> Written:
    """Write the client and the check, for the runtime of this name."""
    files = ("client.py", "classify.py", "picture.py", "way.py", "check.py")
    _copy(folder, {**{name: name for name in files}, "network.py": f"network_{runtime}.py"})
    return Written(usage=_USAGE, client=folder)


def _copy(folder: Path, sources: Mapping[str, str]) -> None:
    """Copy files of clients, each from the name of its source."""
    for name, source in sources.items():
        writing.write(folder / name, (resources.files("tao_lite.stages.export") / "clients" / source).read_bytes())


TARGETS = {
    "onnxruntime": Target(fill=_onnxruntime),
    "openvino": Target(fill=_openvino, needs=("openvino",), extra="openvino"),
    "triton": Target(fill=_triton, numpy="1.26.4"),  # with numpy 2 the stub of its Python backend reads other memory
    "deepstream": Target(fill=_deepstream, kinds=("tensor", "pixels"), takes_accepted=False),
    "tensorrt": Target(fill=_tensorrt, kinds=("pixels", "tensor")),
    "tao-deploy": Target(fill=_tao_deploy, kinds=("tensor",), takes_accepted=False),
    "torch": Target(fill=_torch, needs=("torch",), extra="train"),
}
"""By the names that --for takes."""
