"""One network of two tasks beside a network for each: type and occlusion of KITTI's objects, by seeds.

    python -m tests.bench.tasks [--frames TRAIN VAL] [--seeds 3] [--epochs 20] [--size 64] [--occlusion_weight 1]

Without --frames: of the sample data set. Else of two folders with KITTI's image_2 and label_2, in which vans are cars
and only the three classes of cars, pedestrians and cyclists count. ResNet-18 from scratch, everything else equal; the
score is the last epoch's on all validation objects, the time the processor's of the whole command. Prints means and
standard deviations over the seeds.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tao_lite.monitor import console
from tests.bench import experiment, samples

TASKS = ("type", "occlusion")
JOINT = "one network"
CLASSES = """
dataset_config { kitti {
  min_height_pixels: 16 max_occlusion: 3 max_truncation: 1
  class_mapping { key: "Van" value: "Car" }
  ignored_classes: "Truck" ignored_classes: "Tram" ignored_classes: "Misc" ignored_classes: "Person_sitting"
} }
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=Path, nargs=2, metavar=("TRAIN", "VAL"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--occlusion_weight", type=float, default=1, help="of its loss beside that of type")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw(folder, arguments.frames, arguments.occlusion_weight)
        common: dict[str, object] = {"model_config.input_image_size": experiment.image_size(arguments.size)}
        common |= {"train_config.n_epochs": arguments.epochs}
        rounds = []
        for seed in range(arguments.seeds):
            settings = common | {"train_config.random_seed": seed}
            rounds.append({tasks: trained(folder, tasks, settings) for tasks in (TASKS, *((task,) for task in TASKS))})
            print(f"  seed {seed + 1} of {arguments.seeds}", file=sys.stderr)
    console.table("Validation top-1", ("", JOINT, "a network for each", "points apart"), rows(rounds))
    ratio = [found[TASKS]["cpu"] / sum(found[(task,)]["cpu"] for task in TASKS) for found in rounds]
    console.line(f"Processor time of {JOINT} by that of both others: {spread(ratio)}")


def draw(folder: Path, frames: list[Path] | None, occlusion_weight: float) -> None:
    """The objects of both sets of frames as a data set of the two tasks, and the spec that trains it."""
    spec = folder / "spec.cfg"
    spec.write_text(experiment.SPEC + (CLASSES if frames else ""))
    if frames:
        paths = dict(zip(("train", "val"), frames, strict=True))
    else:
        tao_lite("dataset", "sample", "-o", folder / "frames")
        paths = {"train": folder / "frames"}
    options = experiment.options({f"train_config.{split}_dataset_path": path for split, path in paths.items()})
    tao_lite("dataset", "convert", "-e", spec, "-o", folder / "tasks", "--to", "multitask", *options)
    weight = f'dataset_config {{ multitask {{ task_weights {{ key: "occlusion" value: {occlusion_weight} }} }} }}\n'
    spec.write_text(experiment.SPEC + "dataset_config { format: MULTITASK }\n")
    joint_spec(folder).write_text(spec.read_text() + weight)


def joint_spec(folder: Path) -> Path:
    """Of both tasks; a weight for one that is not trained would be refused."""
    return folder / "joint.cfg"


def trained(folder: Path, tasks: tuple[str, ...], settings: dict[str, object]) -> samples.Sample:
    """Scores of a training of these tasks, and the seconds of processor time that it took."""
    paths = {
        f"train_config.{split}_dataset_path": folder / "tasks" / split / "labels.csv" for split in ("train", "val")
    }
    # Unset means all.
    chosen = () if tasks == TASKS else ("--set", f"dataset_config.multitask.tasks={tasks[0]}")
    spec = joint_spec(folder) if tasks == TASKS else folder / "spec.cfg"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as results:
        options = (*experiment.options(settings | paths), *chosen)
        tao_lite("train", "-e", spec, "-r", results, *options)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        last = max(Path(results, "weights").glob("resnet_*.pth"))
        tao_lite("evaluate", "-e", spec, "-r", results, "-m", last, *options)
        found = json.loads((Path(results) / "evaluate.json").read_text())["tasks"]
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"cpu": cpu, **{task: found[task]["top1"] for task in tasks}}


def rows(rounds: list[dict[tuple[str, ...], samples.Sample]]) -> list[tuple[str, str, str, str]]:
    table = []
    for task in TASKS:
        joint, alone = ([found[key][task] for found in rounds] for key in (TASKS, (task,)))
        apart = [100 * (one - other) for one, other in zip(joint, alone, strict=True)]
        table.append((task, spread(joint), spread(alone), spread(apart)))
    return table


def spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.4g} ± {statistics.stdev(values):.2g}"


def tao_lite(*arguments: object) -> None:
    command = [sys.executable, "-m", "tao_lite.cli", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
