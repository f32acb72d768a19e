"""What a package for NVIDIA's tao-deploy holds beside the network: its spec, pictures that it reads as we do, tensors.

Its loader feeds all networks alike, from -1 to 1, and the graph corrects: that is its only way of normalising which
works for grey too, and whose numbers are those it says. Source: what tao-deploy 7.3.0 does.
"""

import io
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from tao_lite.data import dataset, decode, geometry
from tao_lite.data.balance import evenly
from tao_lite.data.geometry import Pixels
from tao_lite.data.pipeline import Pipeline
from tao_lite.data.preprocess import Preprocess
from tao_lite.errors import DataError, RunError, listed
from tao_lite.models import architectures
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec import for_tao
from tao_lite.training.trained import Trained

SPEC, IMAGES = "spec.cfg", "images"
MODE = "tf"
"""The preprocess_mode that its loader is told, whatever the network's is."""
OPSET = 20
"""What its engine builder was seen to take."""

_GEOMETRIES = ("squeeze", "tao_crop")
_DEFAULT_TOP_K = 5
_KEY = "_tensorfile_array_key_"

_log = logging.getLogger(__name__)


def fed(pipeline: Pipeline) -> Pipeline:
    """As the pipeline, normalised in the way of the loader."""
    given = Preprocess.of_mode(MODE, pipeline.channels)
    return replace(pipeline, order=given.order, mean=given.mean, scale=given.factors)


def refuse_unfit(pipeline: Pipeline, folder: Path) -> None:
    """Return where its loader can see pictures in the way of the network, and its launcher find the folder.

    Raises:
        RunError: they can't; says what to do.
    """
    if any(map(str.isspace, str(folder))):
        raise RunError(
            f"--for tao-deploy: {str(folder)!r} has a blank, where TAO's launcher makes two words of a path; name "
            "another folder"
        )
    if pipeline.geometry == "centre_crop":
        raise RunError(
            "--for tao-deploy: its loader crops at whole pixels, this network is evaluated at fractions of them "
            "(enable_center_crop); with --set compat=TAO_EXACT it is evaluated as there, with --set "
            "eval_config.enable_center_crop=false both see whole pictures; in the place of resize_mode CENTRE_CROP "
            "train with TAO_CROP"
        )
    if pipeline.geometry not in _GEOMETRIES:
        raise RunError(
            f"--for tao-deploy: its loader squeezes or crops pictures, this network's are {pipeline.geometry}"
        )


def spec(trained: Trained) -> str:
    """The spec that its three commands read, in text format and with TAO's fields only."""
    pipeline, known = trained.pipeline, trained.experiment
    experiment = pb.Experiment(
        train_config=pb.TrainConfig(preprocess_mode=MODE),
        eval_config=pb.EvalConfig(
            top_k=_top_k(known.eval_config.top_k, len(trained.class_names)),
            eval_dataset_path=IMAGES,
            batch_size=1,  # with more, inference passes over what does not fill the last batch
            enable_center_crop=pipeline.is_cropped,
        ),
    )
    model = experiment.model_config
    model.arch = known.model_config.arch
    model.input_image_size = ",".join(map(str, pipeline.shape))
    model.resize_interpolation_method = pb.BICUBIC if pipeline.filter == "bicubic" else pb.BILINEAR
    if architectures.find(known.model_config).n_layers:
        model.n_layers = known.model_config.n_layers
    return for_tao.text_of(experiment)


def _top_k(wanted: int, num_classes: int) -> int:
    """Fewer than the classes, with which tao-deploy always scores 1."""
    most = max(num_classes - 1, 1)
    if wanted > most:
        _log.warning("eval_config.top_k is %d in the package, not %d: of %d classes", most, wanted, num_classes)
    return min(wanted or _DEFAULT_TOP_K, most)


def write_images(trained: Trained, folder: Path, most: int) -> list[Path]:
    """At most so many evaluation pictures, evenly from the classes, as they are decoded here: images/CLASS/*.png.

    Those that can't be decoded are left out.

    Raises:
        DataError: the spec names none, or they can't be read.
        RunError: tao-deploy would fail over them: a class has none, or its name is no folder's.
    """
    examples = evenly(dataset.evaluation(trained.experiment, trained.class_names).examples, most)
    written = []
    for number, example in enumerate(examples):
        path = folder / IMAGES / _folder_name(example.label) / f"{number:06d}.png"
        try:
            whole = decode.decode(example.path, trained.pipeline.channels, example.span, example.full_scale)
        except DataError:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        write_picture(geometry.cut(whole, example.box), path)
        written.append(path)
    counts = Counter(path.parent.name for path in written)
    if missing := [name for name in trained.class_names if not counts[name]]:
        raise RunError(
            f"--images {most}: tao-deploy fails where a class has no picture, and none of {listed(missing)} is there; "
            "ask for more, or add some to the evaluation's data"
        )
    return written


def _folder_name(class_name: str) -> str:
    """The name of the class, which tao-deploy takes from the folder.

    Raises:
        RunError: no folder can have it.
    """
    if class_name in ("", ".", "..") or set(class_name) & set("/\\\0\n"):
        raise RunError(f"--images: tao-deploy takes classes from folders, and no folder is called {class_name!r}")
    return class_name


def write_picture(pixels: Pixels, path: Path) -> None:
    """Write uint8 [H, W, C] as a PNG that every loader reads alike."""
    Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0]).save(path, compress_level=1)


def tensors(batches: Sequence[npt.NDArray[Any]]) -> bytes:
    """Normalised batches, float32 [B, C, H, W], as the file for --cal_data_file."""
    import h5py

    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for number, batch in enumerate(batches):
            group = file.create_group(f"{_KEY}_{number}")
            group.create_dataset(_KEY, data=batch.astype(np.float32), compression="gzip")
        file.attrs.update({"count": len(batches), "shape": batches[0].shape})
    return content.getvalue()
