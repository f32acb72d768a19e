"""How many images a second come out of our loader, and of torchvision's, timm's and DALI's.

    python -m tests.bench.loaders [--images 1000] [--side 256] [--size 224] [--rounds 5] [--gpu] [--results FOLDER]

All read the same JPEGs, drawn here, with one worker and batches of 64, cut and resized to `size`: with a random crop
and flip, and squeezed. Each runs in a process of its own, in turn. Ours gives uint8, as the training step wants them;
the others float32, as they do by default. Caches are filled before; that epoch is not counted. With --gpu, ours keeps
squeezed images in the GPU's memory too, and DALI decodes there.
"""

import argparse
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.bench import contest, machine, pictures, samples

BATCH_SIZE = 64
VIEWS = ("random crop", "squeeze")
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
Epochs = Callable[[int], Iterable[int]]
"""Of an epoch's number: the sizes of its batches."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--results", type=Path, default=samples.RESULTS)
    for name in ("--contender", "--folder", "--view", "--device"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contender:
        contend(arguments)
    else:
        compare(arguments)


def compare(arguments: argparse.Namespace) -> None:
    facts, gpu = machine.facts(), arguments.gpu
    cases: dict[str, samples.Rounds] = {}
    missing: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as name:
        pictures.draw(Path(name) / "images", arguments.images, arguments.side)
        for view in VIEWS:
            names = [one for one in CONTENDERS if one != RESIDENT or (gpu and view == "squeeze")]
            options = {"folder": name, "view": view, "device": "cuda" if gpu else "cpu"}
            cases[view], missing = contest.Contest(
                module="tests.bench.loaders",
                names=names,
                options=options | {"size": arguments.size, "images": arguments.images},
                amount=1,
                rounds=arguments.rounds,
                threads=1,
            ).hold()
            samples.show(view, cases[view], missing)
    sizes = {name: getattr(arguments, name) for name in ("images", "side", "size")}
    found = {"machine": facts, "arguments": sizes, "missing": missing, "rounds": cases}
    samples.write(arguments.results / f"loaders{'_gpu' if gpu else ''}.json", found)


def contend(arguments: argparse.Namespace) -> None:
    def read(amounts: Iterator[int]) -> None:
        epochs, number = CONTENDERS[arguments.contender](arguments), 0
        for amount in amounts:
            for _ in range(amount):
                images = sum(epochs(number))
                assert images >= arguments.images - BATCH_SIZE
                number += 1

    contest.contend(read, images=arguments.images)


def ours(arguments: argparse.Namespace, *cache: Any) -> Epochs:
    """cache: the fields of Cache."""
    import torch

    from tao_lite.data.dataset import DataSet
    from tao_lite.data.example import Example
    from tao_lite.data.left_out import LeftOut
    from tao_lite.data.loader import Cache, Loader
    from tao_lite.data.sampler import Sampler

    torch.set_num_threads(1)
    paths = sorted((Path(arguments.folder) / "images").rglob("*.jpg"))
    examples = tuple(Example(path, path.parent.name, path.name) for path in paths)
    loader = Loader(
        data_set=DataSet(examples, tuple(sorted({example.label for example in examples}))),
        sampler=Sampler(num_examples=len(examples), batch_size=BATCH_SIZE, seed=1, training=True),
        size=(arguments.size, arguments.size),
        channels=3,
        num_workers=1,
        geometry="random_crop" if arguments.view == "random crop" else "squeeze",
        interpolation="bilinear",
        report=LeftOut(fail=True),
        pin_memory=arguments.device == "cuda",
        cache=Cache(*cache) if cache else None,
    )
    return lambda epoch: (len(batch.paths) for batch in loader.epoch(epoch))


def in_memory(arguments: argparse.Namespace) -> Epochs:
    return ours(arguments, 2**36)


def on_disk(arguments: argparse.Namespace) -> Epochs:
    return ours(arguments, 2**36, Path(arguments.folder) / "cache")


def resident(arguments: argparse.Namespace) -> Epochs:
    import torch

    epochs = ours(arguments, 2**36, torch.device("cuda", 0))

    def epoch(number: int) -> Iterator[int]:
        yield from epochs(number)
        torch.cuda.synchronize()

    return epoch


def torchvision_epochs(arguments: argparse.Namespace) -> Epochs:
    import torch
    from torchvision import datasets, transforms

    steps = {
        "random crop": [transforms.RandomResizedCrop(arguments.size), transforms.RandomHorizontalFlip()],
        "squeeze": [transforms.Resize((arguments.size, arguments.size))],
    }[arguments.view]
    composed = transforms.Compose([*steps, transforms.ToTensor(), transforms.Normalize(MEAN, DEVIATION)])
    images = datasets.ImageFolder(Path(arguments.folder) / "images", composed)
    loader = torch.utils.data.DataLoader(images, BATCH_SIZE, shuffle=True, num_workers=1)
    return lambda _: (len(labels) for _, labels in loader)


def timm_epochs(arguments: argparse.Namespace) -> Epochs:
    import torch
    from timm.data.dataset_factory import create_dataset
    from timm.data.loader import create_loader

    loader = create_loader(
        create_dataset("", f"{arguments.folder}/images"),
        input_size=(3, arguments.size, arguments.size),
        batch_size=BATCH_SIZE,
        is_training=arguments.view == "random crop",
        color_jitter=0.0,
        crop_mode="squash",
        crop_pct=1.0,
        num_workers=1,
        device=torch.device(arguments.device),
        persistent_workers=False,
    )
    return lambda _: (len(labels) for _, labels in loader)


def dali_epochs(arguments: argparse.Namespace) -> Epochs:
    from nvidia.dali import fn, pipeline_def, types

    decoder, device_id = ("mixed", 0) if arguments.device == "cuda" else ("cpu", None)
    is_random = arguments.view == "random crop"

    @pipeline_def(batch_size=BATCH_SIZE, num_threads=1, device_id=device_id)  # type: ignore[untyped-decorator]
    def pipeline() -> tuple[Any, Any]:
        files, labels = fn.readers.file(file_root=f"{arguments.folder}/images", random_shuffle=True)
        decode = fn.decoders.image_random_crop if is_random else fn.decoders.image
        resized = fn.resize(decode(files, device=decoder), size=[arguments.size, arguments.size])
        normalised = fn.crop_mirror_normalize(
            resized,
            dtype=types.FLOAT,
            output_layout="CHW",
            mean=[255 * value for value in MEAN],
            std=[255 * value for value in DEVIATION],
            mirror=fn.random.coin_flip() if is_random else 0,
        )
        return normalised, labels

    made = pipeline()
    made.build()
    return lambda _: (len(made.run()[1]) for _ in range(math.ceil(arguments.images / BATCH_SIZE)))


RESIDENT = "tao_lite, cache DEVICE"
CONTENDERS: dict[str, Callable[[argparse.Namespace], Epochs]] = {
    "tao_lite, files": ours,
    "tao_lite, cache MEMORY": in_memory,
    "tao_lite, cache DISK": on_disk,
    RESIDENT: resident,
    "torchvision ImageFolder + DataLoader": torchvision_epochs,
    "timm create_loader": timm_epochs,
    "DALI": dali_epochs,
}


if __name__ == "__main__":
    main()
