"""What NVIDIA's tao-deploy makes of pictures, emulated by what its 7.3.0 was seen to do: it needs a GPU to run.

Nothing here is shared with our own way from a file to the network, which it is compared with.
"""

import io
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import text_format
from PIL import Image

from tao_lite.data import decode
from tao_lite.data.geometry import Pixels
from tao_lite.errors import RunError
from tao_lite.spec import classification_pb2 as pb
from tao_lite.stages.export import tao_deploy
from tao_lite.stages.export.export import Made
from tao_lite.stages.export.gate import Answer
from tao_lite.training import runtimes
from tao_lite.training.runtimes import Array

TOLERANCE = 1e-4
"""Of a probability."""
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".JPEG", ".JPG", ".PNG")
"""Of the files that it sees, exactly so."""
_MARGIN = 32


@dataclass(frozen=True, kw_only=True)
class Loader:
    """How it reads pictures by a spec."""

    channels: int
    width: int
    height: int
    is_cropped: bool
    filter: Image.Resampling

    @classmethod
    def of(cls, text: str) -> "Loader":
        """By the spec in text format, which says preprocess_mode tf."""
        experiment = text_format.Parse(text, pb.Experiment())
        assert experiment.train_config.preprocess_mode == tao_deploy.MODE
        channels, height, width = map(int, experiment.model_config.input_image_size.split(","))
        is_cubic = experiment.model_config.resize_interpolation_method == pb.BICUBIC
        return cls(
            channels=channels,
            width=width,
            height=height,
            is_cropped=experiment.eval_config.enable_center_crop,
            filter=Image.Resampling.BICUBIC if is_cubic else Image.Resampling.BILINEAR,
        )

    def decoded(self, path: Path) -> Image.Image:
        """The picture: neither turned nor laid on white, and of deep pixels what is left of them."""
        image = Image.open(io.BytesIO(decode.picture_bytes(path)), formats=decode.FORMATS)
        return image.convert("RGB" if self.channels == 3 else "L")

    def array(self, image: Image.Image) -> Array:
        """What the engine takes: float32 [1, C, H, W] from -1 to 1."""
        seen = self._cropped(image) if self.is_cropped else image.resize((self.width, self.height), self.filter)
        values = np.asarray(seen, np.float32).reshape(self.height, self.width, self.channels)
        return np.ascontiguousarray((values / np.float32(127.5) - np.float32(1)).transpose(2, 0, 1)[None])

    def _cropped(self, image: Image.Image) -> Image.Image:
        ratio = max((self.width + _MARGIN) / image.width, (self.height + _MARGIN) / image.height)
        covering = image.resize((int(image.width * ratio), int(image.height * ratio)), self.filter)
        left = round(covering.width / 2) - round(self.width / 2)
        top = round(covering.height / 2) - round(self.height / 2)
        return covering.crop((left, top, left + self.width, top + self.height))


@dataclass(kw_only=True)
class Replay:
    """What came of it, on pictures as we decode them, and on their files as they are."""

    num_pictures: int = 0
    distance: float = 0.0
    """The largest difference of a probability, as we decode them; all classes are the same."""
    others: int = 0
    """Files that are answered otherwise."""
    unseen: int = 0
    """Files that it passes over, or that end its run."""
    farthest: float = 0.0
    """The largest difference of a probability for a file."""


def replay(made: Made, text: str, wanted: Mapping[Path, Answer]) -> Replay:
    """Answer each picture by the spec in text format, as tao-deploy would with an engine in FP32.

    Raises:
        RunError: some are answered otherwise where they are decoded here; names the worst.
    """
    loader, pipeline = Loader.of(text), made.description.pipeline
    session = runtimes.import_onnxruntime().InferenceSession(made.content, providers=["CPUExecutionProvider"])
    found, wrong = Replay(num_pictures=len(wanted)), {}
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder) / "picture.png"
        for path, answer in wanted.items():
            tao_deploy.write_picture(decode.decode(path, pipeline.channels, full_scale=pipeline.full_scale), given)
            image = loader.decoded(given)
            differs, distance = _compared(session, loader.array(image), answer)
            found.distance = max(found.distance, distance)
            if differs or distance > TOLERANCE:
                wrong[path] = distance
            _take_as_it_is(found, loader, session, (path, answer), np.asarray(image))
    if wrong:
        worst = ", ".join(f"{path} by {wrong[path]:.1e}" for path in sorted(wrong, key=lambda path: -wrong[path])[:5])
        raise RunError(
            f"tao-deploy would answer {len(wrong)} of {len(wanted)} pictures otherwise, and nothing was kept: {worst}; "
            "please report it"
        )
    return found


def _take_as_it_is(
    found: Replay, loader: Loader, session: Any, wanted: tuple[Path, Answer], as_decoded: Pixels
) -> None:
    """Count what becomes of a picture's file, which as we decode it is answered as it should be."""
    path, answer = wanted
    if path.suffix not in SUFFIXES:
        found.unseen += 1
        return
    try:
        image = loader.decoded(path)
    except Exception:  # noqa: BLE001 - so its run would end, whatever the reason
        found.unseen += 1
        return
    if np.array_equal(np.asarray(image), as_decoded):
        return
    differs, distance = _compared(session, loader.array(image), answer)
    found.others += differs
    found.farthest = max(found.farthest, distance)


def _compared(session: Any, array: Array, answer: Answer) -> tuple[bool, float]:
    """Whether the engine's class is another one, and by how much its probabilities differ at most."""
    (port,) = session.get_inputs()
    (probabilities,) = session.run(None, {port.name: array})[0]
    distance = max(abs(float(one) - other) for one, other in zip(probabilities, answer.probabilities, strict=True))
    return int(probabilities.argmax()) != answer.best, distance
