"""The camera and the light of a sample street: shapes in, pixels out."""

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from tao_lite.data.sample.solids import Colour, Piece, Shape

Array = NDArray[np.float64]

# Half of KITTI's camera 2: focal length 721.5, principal point (609.6, 172.9), 1.65 m above the ground.
WIDTH, HEIGHT, FOCAL, CENTRE, CAMERA_HEIGHT = 620, 188, 360.8, (304.8, 86.4), 1.65
# Drawn this many times larger, then averaged: Pillow's polygons have no smooth edges.
SCALE = 2


class Pose(NamedTuple):
    """Where a shape stands in camera axes: x right, z away, metres; rotation_y as in KITTI, 0 facing right."""

    x: float
    z: float
    rotation_y: float


class Weather(NamedTuple):
    """Light of a frame: unit vector to the sun in camera axes, strengths, colours, range of sight in metres."""

    sun: tuple[float, float, float]
    ambient: float
    direct: float
    sky: Colour
    haze: Colour
    sight: float


class Mark(NamedTuple):
    """One piece as it is drawn: points [n, 2] in drawing pixels, radius 0 for a polygon."""

    points: Array
    radius: float
    colour: tuple[int, ...]


def weather(rng: np.random.Generator) -> Weather:
    """Clear, overcast, hazy or dusk."""
    kind = rng.choice(4, p=(0.4, 0.3, 0.15, 0.15))
    azimuth, elevation = rng.uniform(0, 2 * np.pi), rng.uniform(0.4, 1.2)
    sun = (np.cos(elevation) * np.cos(azimuth), -np.sin(elevation), np.cos(elevation) * np.sin(azimuth))
    ambient, direct = ((0.55, 0.6), (0.8, 0.15), (0.75, 0.2), (0.45, 0.25))[kind]
    sky = ((95, 150, 220), (175, 182, 190), (195, 198, 200), (70, 80, 120))[kind] + rng.normal(0, 8, 3)
    haze = ((195, 210, 225), (190, 193, 196), (200, 202, 204), (170, 130, 110))[kind] + rng.normal(0, 8, 3)
    return Weather(sun, ambient * rng.uniform(0.85, 1.15), direct, tuple(sky), tuple(haze), (300, 200, 80, 200)[kind])


def to_camera(points: Array, pose: Pose) -> Array:
    """Points [n, 3] of a shape (forward, up, right) in camera axes (right, down, away)."""
    cosine, sine = math.cos(pose.rotation_y), math.sin(pose.rotation_y)
    turn = np.array([(cosine, 0, -sine), (0, -1, 0), (-sine, 0, -cosine)])
    return np.asarray(points @ turn.T + (pose.x, CAMERA_HEIGHT, pose.z))


def project(points: Array) -> Array:
    """Pixels [n, 2] of points [n, 3] in camera axes."""
    return FOCAL * points[:, :2] / np.maximum(points[:, 2:], 0.3) + CENTRE


def marks(shape: Shape, pose: Pose, light: Weather) -> list[Mark]:
    """The pieces of a shape that face the camera, far to near."""
    placed = [(to_camera(np.concatenate([piece.points for piece in solid]), pose), solid) for solid in shape]
    placed.sort(key=lambda part: -float(part[0][:, 2].mean()))
    drawn = []
    for points, solid in placed:
        pixels, start = project(points) * SCALE, 0
        for piece in solid:
            part = slice(start, start + len(piece.points))
            paint_piece = _stroke if piece.radius else _face
            drawn += paint_piece(piece, points[part], pixels[part], light)
            start = part.stop
    return drawn


def bounds(drawn: list[Mark]) -> Array:
    """Left, top, right, bottom of the marks in frame pixels, not cut at the frame's edge."""
    low = np.min([mark.points.min(0) - mark.radius for mark in drawn], axis=0)
    high = np.max([mark.points.max(0) + mark.radius for mark in drawn], axis=0)
    return np.concatenate([low, high]) / SCALE


def paint(draw: ImageDraw.ImageDraw, drawn: list[Mark], number: int | None = None) -> None:
    """Draw the marks in their colours, or all with one number."""
    for points, radius, colour in drawn:
        fill, corners = colour if number is None else number, points.ravel().tolist()
        if not radius:
            draw.polygon(corners, fill)
            continue
        if len(points) > 1:
            draw.line(corners, fill, max(round(2 * radius), 1), joint="curve")
        if radius > 1:
            for x, y in points[[0, -1]].tolist():
                draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill)


def sky(rng: np.random.Generator, light: Weather) -> Image.Image:
    """Sky from the zenith's colour to the haze above the horizon, with soft clouds; as large as the drawing."""
    rows = round(CENTRE[1]) + 1
    share = np.linspace(0, 1, rows, dtype=np.float32)[:, None] + 0.7 * (_cloud(rng, (3, 10), rows) - 0.5)
    share = np.clip(share, 0, 1)[..., None]
    zenith, horizon = np.array([light.sky, light.haze], dtype=np.float32)
    top = Image.fromarray(_bytes(zenith * (1 - share) + horizon * share))
    image = Image.new("RGB", (WIDTH * SCALE, HEIGHT * SCALE))
    image.paste(top.resize((WIDTH * SCALE, rows * SCALE), Image.Resampling.NEAREST))
    return image


def ground(draw: ImageDraw.ImageDraw, rng: np.random.Generator, light: Weather, road: float, yaw: float) -> None:
    """Verge, pavements, a road `road` metres wide each side and lane marks, out to the horizon."""
    verge = np.array(((95, 110, 65), (120, 118, 110), (135, 125, 95))[rng.integers(3)]) * rng.uniform(0.8, 1.1)
    brightness = light.ambient - light.direct * light.sun[1]
    asphalt, pavement = rng.uniform(45, 145) + rng.normal(0, 6, 3), rng.uniform(75, 165) + rng.normal(0, 6, 3)
    draw.rectangle((0, CENTRE[1] * SCALE, WIDTH * SCALE, HEIGHT * SCALE), _seen(tuple(verge), brightness, 30, light))
    strips = [((-road - 3, road + 3), (2, 400), pavement), ((-road, road), (2, 400), asphalt)]
    strips += [((side - 0.06, side + 0.06), (2, 400), pavement * 1.3) for side in (0.3 - road, road - 0.3)]
    strips += [
        ((x - 0.08, x + 0.08), (z, z + 3), pavement * 1.4) for x in (-road / 2, 0, road / 2) for z in range(4, 60, 7)
    ]
    for (left, right), (near, far), colour in strips:
        corners = np.array([(near, 0, left), (near, 0, right), (far, 0, right), (far, 0, left)], dtype=np.float64)
        flat = project(to_camera(corners * (1, 1, 1), Pose(0, 0, yaw - np.pi / 2))) * SCALE
        draw.polygon(flat.ravel().tolist(), _seen(tuple(colour), brightness, min(far, 40), light))


def shade(image: Image.Image, casts: list[tuple[Pose, Array]], light: Weather) -> None:
    """Darken the ground where boxes (height, width, length) keep the sun off."""
    mask = Image.new("L", image.size)
    draw = ImageDraw.Draw(mask)
    strength = round(255 * min(0.25 + 0.5 * light.direct, 0.5))
    for pose, (height, width, length) in casts:
        shift = np.array(light.sun) * (1, 0, 1) / light.sun[1] * min(height, 2.5) * (light.direct > 0.3)
        base = to_camera(np.array(((1, 0, 1), (1, 0, -1), (-1, 0, -1), (-1, 0, 1))) * (length / 2, 0, width / 2), pose)
        quads = [base, base + shift] + [np.array([a, b, b + shift, a + shift]) for a, b in pairwise([*base, base[0]])]
        for quad in quads:
            draw.polygon((project(quad) * SCALE).ravel().tolist(), fill=strength)
    image.paste((0, 0, 0), mask=mask)


def expose(rng: np.random.Generator, image: Image.Image) -> Image.Image:
    """The drawing as a camera takes it: smaller, mottled, tinted, a little soft, noisy."""
    frame = image.reduce(SCALE)
    if rng.random() < 0.2:
        frame = frame.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.8)))
    gain = (rng.uniform(0.85, 1.2) * rng.normal(1, 0.04, 3)).astype(np.float32)
    mottle = 1 + 0.1 * (_cloud(rng, (12, 40), HEIGHT) - 0.5)
    pixels = mottle[..., None] * gain
    pixels *= np.asarray(frame)
    pixels += rng.standard_normal((HEIGHT, WIDTH, 1), dtype=np.float32) * np.float32(rng.uniform(1, 4))
    return Image.fromarray(_bytes(pixels))


def _face(piece: Piece, spot: Array, flat: Array, light: Weather) -> list[Mark]:
    """Nothing when seen from behind. Plain floats: NumPy is slow on three numbers."""
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = spot[:3].tolist()
    ux, uy, uz, vx, vy, vz = bx - ax, by - ay, bz - az, cx - ax, cy - ay, cz - az
    x, y, z = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
    if x * ax + y * ay + z * az >= 0:
        return []
    east, down, north = light.sun
    lit = max((x * east + y * down + z * north) / math.hypot(x, y, z), 0)
    return [Mark(flat, 0, _seen(piece.colour, light.ambient + light.direct * lit, az, light))]


def _stroke(piece: Piece, spot: Array, flat: Array, light: Weather) -> list[Mark]:
    """The dark side whole, and on it the lit side where it is wide enough to be seen."""
    depth = float(spot[:, 2].mean())
    wide = piece.radius * FOCAL / max(depth, 0.3) * SCALE
    dark = Mark(flat, wide, _seen(piece.colour, light.ambient + 0.15 * light.direct, depth, light))
    if wide < 3:
        return [dark]
    lit = _seen(piece.colour, light.ambient + 0.7 * light.direct, depth, light)
    return [dark, Mark(flat + 0.3 * wide * np.array(light.sun[:2]), 0.65 * wide, lit)]


def _seen(colour: Colour, brightness: float, depth: float, light: Weather) -> tuple[int, ...]:
    """The colour in this light through `depth` metres of air."""
    clear = math.exp(-max(depth, 0) / light.sight)
    pairs = zip(colour, light.haze, strict=True)
    return tuple(min(max(int(clear * brightness * own + (1 - clear) * air), 0), 255) for own, air in pairs)


def _cloud(rng: np.random.Generator, cells: tuple[int, int], rows: int) -> NDArray[np.float32]:
    """Smooth noise in about 0..1, as wide as the frame."""
    coarse = Image.fromarray(rng.random(cells, dtype=np.float32))
    return np.asarray(coarse.resize((WIDTH, rows), Image.Resampling.BICUBIC))


def _bytes(values: Array | NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.asarray(np.clip(values, 0, 255), dtype=np.uint8)
