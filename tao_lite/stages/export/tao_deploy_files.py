"""The files of a package for NVIDIA's tao-deploy, and what its README says of their use and of what differs there."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from tao_lite.files import writing
from tao_lite.stages.export import gate, nvidia_loader, tao_deploy
from tao_lite.stages.export.export import Made
from tao_lite.stages.export.gate import Answer
from tao_lite.training.runtimes import Array
from tao_lite.training.trained import Trained

_USAGE = """
`model.onnx`, `spec.cfg` and `classmap.json` are for classification_tf1 of NVIDIA's tao-deploy 7.3.0. In its container,
in this folder (through the launcher, begin with `tao deploy` and name files by their paths in the container):

```sh
N=$(find images -name '*.png' | wc -l)
classification_tf1 gen_trt_engine -m model.onnx -e spec.cfg -r out --engine_file out/model.engine \\
  --min_batch_size 1 --opt_batch_size 1 --max_batch_size $N
classification_tf1 inference -m out/model.engine -e spec.cfg -r out -i images -c classmap.json -b 1
classification_tf1 evaluate -m out/model.engine -e spec.cfg -r out -i images -c classmap.json -b $N
```

{images}
`evaluate` shows the answers of the last batch for all, so let one batch hold all pictures, or take the accuracy from
`out/result.csv`. It wants a picture of each class, and no file beside their folders.{calibration}

Its loader normalises all networks alike, from -1 to 1, and `model.onnx` goes on from there: `preprocess_mode` has to
remain `"tf"`. It decodes in its own way: it doesn't turn by EXIF, drops transparency, cuts off 16-bit grey at 255, and
sees only files that end in {suffixes}. Emulated, it answers
{num_pictures} pictures as they are decoded here all alike, probabilities within {distance:.1e}. Of the same as their
files are, it answers {others} otherwise, by at most {farthest:.2g} of a probability, and doesn't read {unseen}. So give
it pictures that are upright, of 8 bits and without transparency.

classification_tf2 takes the same network, by a spec of its own with `preprocess_mode: tf` and `image_mean` left alone.
classification_pyt crops always, resizes bicubically, and numbers classes by the alphabet: {pyt}.
"""

_IMAGES = """`images/CLASS/` has {count} evaluation pictures as they are decoded here, and `expected.csv` what the
network says of them in FP32: `python verify.py out/result.csv` compares."""
_NO_IMAGES = "Put pictures into `images/CLASS/`; `tao-lite export --images 100` does, with what is expected of them."

_CALIBRATION = """

For INT8, which TensorRT 11 no longer makes in this way, add to the first command
`--data_type int8 --cal_data_file calibration.h5 --cal_cache_file out/cal.bin --batches {batches} --batch_size {size}`.
Without that file it fails. What an engine in INT8 answers was not measured."""


@dataclass(frozen=True, kw_only=True)
class Extras:
    """What else the package is to hold."""

    num_images: int = 0
    """Evaluation pictures, at most."""
    calibration: Callable[[Trained], Iterable[Array]] | None = None
    """Gives what an engine in INT8 is calibrated with: batches, normalised as the package is fed."""


NOTHING_ELSE = Extras()


def write(
    folder: Path, trained: Trained, made: Made, wanted: Mapping[Path, Answer], extras: Extras
) -> tuple[str, dict[str, int]]:
    """Write the files beside the network; what the README says of them, and how many files are answered otherwise.

    Raises:
        DataError: evaluation pictures are to be put into it, and can't be read.
        RunError: the emulated loader answers otherwise, or pictures lack a class.
    """
    names, spec = trained.class_names, tao_deploy.spec(trained)
    writing.write(folder / tao_deploy.SPEC, spec)
    writing.write_json(folder / "classmap.json", {name: index for index, name in enumerate(names)})
    found = nvidia_loader.replay(made, spec, wanted)
    usage = _USAGE.format(
        images=_images(folder, trained, made, spec, extras.num_images) if extras.num_images else _NO_IMAGES,
        calibration=_calibration(folder, list(extras.calibration(trained))) if extras.calibration else "",
        suffixes=" ".join(nvidia_loader.SUFFIXES),
        pyt=_write_classes(folder, names),
        **asdict(found),
    )
    return usage, {"as_they_are": found.others, "unread": found.unseen}


def _images(folder: Path, trained: Trained, made: Made, spec: str, most: int) -> str:
    paths = tao_deploy.write_images(trained, folder, most)
    wanted = gate.expected(trained, paths)
    nvidia_loader.replay(made, spec, wanted)
    rows = [
        (path.relative_to(folder).as_posix(), trained.class_names[answer.best], f"{max(answer.probabilities):.7f}")
        for path, answer in wanted.items()
    ]
    writing.write(folder / "expected.csv", writing.csv_text(rows))
    return _IMAGES.format(count=len(rows))


def _calibration(folder: Path, batches: list[Array]) -> str:
    writing.write(folder / "calibration.h5", tao_deploy.tensors(batches))
    return _CALIBRATION.format(batches=len(batches), size=len(batches[0]))


def _write_classes(folder: Path, names: tuple[str, ...]) -> str:
    """Write the classes for classification_pyt, which sorts them."""
    if list(names) != sorted(names):
        return "here they are in another order, so it would call them by wrong names"
    writing.write(folder / "classes.txt", "".join(f"{name}\n" for name in names))
    return "`classes.txt` has them"
