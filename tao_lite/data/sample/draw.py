"""The embedded sample data set: little street scenes drawn by rule, labelled as KITTI labels its frames."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tao_lite.data.sample import paint
from tao_lite.data.sample.paint import CAMERA_HEIGHT, HEIGHT, WIDTH, Array, Pose
from tao_lite.data.sample.shapes import CLUTTER, OBJECTS, building
from tao_lite.data.sample.solids import Piece, Shape
from tao_lite.errors import DataError
from tao_lite.files.writing import new_file, new_folder

# Share of each class among the objects, mildly unbalanced.
SHARES = {"Car": 0.3, "Pedestrian": 0.2, "Van": 0.18, "Cyclist": 0.17, "Truck": 0.15}
ON_FOOT = ("Pedestrian", "Cyclist")
# The name of an object too far to be judged.
FAR = "DontCare"
# A region that is not judged: everything but the box is unset, as in KITTI.
DONT_CARE = "DontCare -1 -1 -10 {:.2f} {:.2f} {:.2f} {:.2f} -1 -1 -1 -1000 -1000 -1000 -10"


@dataclass(frozen=True)
class Thing:
    """An object, or clutter where `name` is empty. Size is height, width, length in metres."""

    name: str
    shape: Shape
    size: Array
    pose: Pose

    @cached_property
    def floor(self) -> NDArray[np.complex128]:
        """Centres x + iz of four circles as wide as the thing that cover its floor."""
        reach = max(self.size[2] - self.size[1], 0) / 2
        offsets: NDArray[np.complex128] = np.linspace(-reach, reach, 4) * np.exp(-1j * self.pose.rotation_y)
        return offsets + (self.pose.x + 1j * self.pose.z)


def write(root: Path, *, num_frames: int, seed: int) -> None:
    """A KITTI-format data set at `root`, whole or not at all: training/image_2/*.png and training/label_2/*.txt.

    Frame k depends on the seed and k alone. The same versions of NumPy and Pillow write the same bytes.

    Raises:
        DataError: the folder is not empty or can't be written; no frame asked for.
    """
    if num_frames < 1 or seed < 0:
        raise DataError(f"{root}: {num_frames} frames with seed {seed}; ask for at least 1 frame and a seed >= 0")
    target = root.resolve()
    try:
        if target.exists() and any(target.iterdir()):
            raise DataError(f"{root}: not empty; choose another folder or remove it first")
        with new_folder(target) as temporary:
            for folder in ("image_2", "label_2"):
                (temporary / "training" / folder).mkdir(parents=True)
            for index in range(num_frames):
                _write_frame(temporary / "training", index, seed)
    except OSError as error:
        raise DataError(f"{root}: can't write the sample data set ({error.strerror}); choose another folder") from error


def _write_frame(training: Path, index: int, seed: int) -> None:
    image, labels = draw_frame(np.random.default_rng((seed, index)))
    # Noise hardly compresses: a higher level costs time and saves little.
    with new_file(training / "image_2" / f"{index:06d}.png", is_synced=False) as file:
        image.save(file, "PNG", compress_level=1)
    with new_file(training / "label_2" / f"{index:06d}.txt", is_synced=False) as file:
        file.write("".join(f"{line}\n" for line in labels).encode())


def draw_frame(rng: np.random.Generator) -> tuple[Image.Image, list[str]]:
    """One street scene, RGB 620 x 188, and its label lines."""
    light, yaw, road = paint.weather(rng), rng.uniform(-0.16, 0.16), rng.uniform(5.5, 8.0)
    image = paint.sky(rng, light)
    draw = ImageDraw.Draw(image)
    paint.ground(draw, rng, light, road, yaw)
    for house in sorted(_houses(rng, road + 4, yaw), key=_distance):
        paint.paint(draw, paint.marks(house.shape, house.pose, light))
    things = sorted(_things(rng, road, yaw), key=_distance)
    paint.shade(image, [(thing.pose, thing.size) for thing in things], light)
    boxes, seen = _draw_things(image, things, light)
    labels = [_label(thing, box, share) for thing, box, share in zip(things, boxes, seen, strict=True) if thing.name]
    return paint.expose(rng, image), [label for label in labels if label]


def _draw_things(image: Image.Image, things: list[Thing], light: paint.Weather) -> tuple[list[Array], list[float]]:
    """Paint far to near; each one's box (left, top, right, bottom) and the share of its pixels that stays visible."""
    owners = Image.new("L", image.size)
    draws = ImageDraw.Draw(image), ImageDraw.Draw(owners)
    boxes, whole = [], []
    for number, thing in enumerate(things, 1):
        marks = paint.marks(thing.shape, thing.pose, light)
        paint.paint(draws[0], marks)
        paint.paint(draws[1], marks, number)
        boxes.append(paint.bounds(marks))
        whole.append(owners.histogram()[number] if thing.name else 0)
    left = owners.histogram()
    return boxes, [left[number] / max(area, 1) for number, area in enumerate(whole, 1)]


def _houses(rng: np.random.Generator, side: float, yaw: float) -> list[Thing]:
    """Rows of buildings along the street, with gaps."""
    houses = []
    # The windows are on a building's right: it looks along the street on the left of it, and back on the right.
    for sign, turn in ((-1, -np.pi / 2), (1, np.pi / 2)):
        z = rng.uniform(4, 12)
        while z < 75:
            shape, size = _centred(building(rng))
            spot = sign * (side + rng.uniform(0, 3) + size[1] / 2), z + size[2] / 2
            houses += [_place("", shape, size, spot, (yaw, turn))] if rng.random() < 0.75 else []
            z += size[2] + rng.choice([0, 0, 4])
    return houses


def _things(rng: np.random.Generator, road: float, yaw: float) -> list[Thing]:
    """Objects near and far, then clutter, no two standing in one another."""
    names = rng.choice(list(SHARES), size=rng.integers(5, 9), p=list(SHARES.values()))
    things: list[Thing] = []
    for name in map(str, names):
        shape, size = _centred(OBJECTS[name](rng))
        reach, near, far = (road + 2, 6.0, 18.0) if name in ON_FOOT else (road - 1, 8 + size[2] / 3, 28.0)
        for _ in range(6):
            z = _log_uniform(rng, near, far)
            x = rng.uniform(-1, 1) * min(0.9 * z, reach)
            thing = _place(name, shape, size, (x, z), (yaw, _heading(rng)))
            if _free(thing, things, crowded=rng.random() < 0.15):
                things.append(thing)
                break
    for _ in range(rng.integers(0, 4)):
        shape, size = _centred(OBJECTS[str(rng.choice(list(SHARES)))](rng))
        things.append(_place(FAR, shape, size, (rng.uniform(-road, road), rng.uniform(55, 80)), (yaw, _heading(rng))))
    for _ in range(rng.integers(6, 14)):
        shape, size = _centred(CLUTTER[rng.integers(len(CLUTTER))](rng))
        spot = rng.choice([-1, 1]) * rng.uniform(road + 0.3, road + 3.5), _log_uniform(rng, 8, 45)
        thing = _place("", shape, size, spot, (yaw, rng.uniform(-np.pi, np.pi)))
        if _free(thing, things, crowded=rng.random() < 0.15):
            things.append(thing)
    return things


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _heading(rng: np.random.Generator) -> float:
    """Rotation in the street: away, oncoming, or turning anywhere."""
    along = rng.choice([-np.pi / 2, np.pi / 2]) + rng.normal(0, 0.12)
    return float(along if rng.random() < 0.5 else rng.uniform(-np.pi, np.pi))


def _free(thing: Thing, others: list[Thing], *, crowded: bool) -> bool:
    """Whether the thing stands in none of the others and, unless crowded, neither hides much of one nor is hidden."""
    mine = thing.floor
    for other in others:
        width = (thing.size[1] + other.size[1]) / 2
        if np.abs(mine[:, None] - other.floor).min() < width:
            return False
        bearings = np.abs((mine.real / mine.imag)[:, None] - other.floor.real / other.floor.imag)
        if not crowded and bearings.min() < 0.3 * (thing.size[1] / thing.pose.z + other.size[1] / other.pose.z):
            return False
    return True


def _centred(shape: Shape) -> tuple[Shape, Array]:
    """The shape with its box's floor centred at the origin, and the box's height, width, length."""
    pieces = [piece for solid in shape for piece in solid]
    points = np.concatenate([piece.points for piece in pieces])
    radii = np.repeat([piece.radius for piece in pieces], [len(piece.points) for piece in pieces])[:, None]
    low, high = (points - radii).min(0), (points + radii).max(0)
    middle = (low + high) / 2 * (1, 0, 1)
    moved = [[Piece(piece.points - middle, piece.colour, piece.radius) for piece in solid] for solid in shape]
    return moved, np.array((high[1], high[2] - low[2], high[0] - low[0]))


def _place(name: str, shape: Shape, size: Array, spot: tuple[float, float], turns: tuple[float, float]) -> Thing:
    """Put it at (right, along) of a street that is turned by turns[0]; turns[1] is its own turn in the street."""
    ((x, _, z),) = paint.to_camera(np.array([(spot[1], 0, spot[0])]), Pose(0, 0, turns[0] - np.pi / 2))
    return Thing(name, shape, size, Pose(float(x), float(z), _wrap(sum(turns))))


def _wrap(angle: float) -> float:
    return float((angle + np.pi) % (2 * np.pi) - np.pi)


def _distance(thing: Thing) -> float:
    return -thing.pose.z


def _label(thing: Thing, box: Array, seen: float) -> str:
    """The KITTI line of a thing with this box (not cut at the frame's edge), of which the share `seen` is visible."""
    inside = np.clip(box, 0, (WIDTH - 1, HEIGHT - 1) * 2)
    area, whole = ((right - left) * (bottom - top) for left, top, right, bottom in (inside, box))
    if area < 9 or seen < 0.03:
        return ""
    if thing.name == FAR or inside[3] - inside[1] < 12 or seen < 0.45 or area < 0.1 * whole:
        return DONT_CARE.format(*inside)
    occluded = int(seen < 0.85) + int(seen < 0.65)
    x, z, rotation_y = thing.pose
    numbers = (_wrap(rotation_y - np.arctan2(x, z)), *inside, *thing.size, x, CAMERA_HEIGHT, z, rotation_y)
    return f"{thing.name} {1 - area / whole:.2f} {occluded} " + " ".join(f"{number:.2f}" for number in numbers)
