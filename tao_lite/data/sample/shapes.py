"""What stands in a sample street, each made new from a generator: five kinds of object, clutter and buildings."""

from collections.abc import Callable
from functools import partial

import numpy as np

from tao_lite.data.sample.solids import (
    REAR,
    Colour,
    Piece,
    Points,
    Shape,
    Solid,
    Spot,
    circle,
    dim,
    lamps,
    patch,
    prism,
    rectangle,
    stroke,
    tone,
    wall,
    wheels,
)

# Each palette runs from dark to light, so that no class is known by its mean colour.
GLASS = ((42, 42, 43), (90, 90, 92), (140, 140, 142), (200, 200, 198))
METAL = ((30, 30, 33), (95, 95, 98), (165, 165, 165), (215, 212, 205))
LIT = ((245, 242, 220), (150, 150, 150), (70, 72, 78))
TAIL = ((200, 40, 35), (70, 30, 32), (185, 185, 180), (40, 45, 60))
PLATE = ((225, 222, 190), (210, 170, 40), (60, 60, 65))
SKIN = ((205, 172, 150), (140, 105, 85), (90, 66, 55), (60, 45, 38))
PAINT = (
    *((225, 225, 225), (45, 46, 50), (170, 172, 176), (150, 30, 30), (35, 60, 125)),
    *((40, 90, 60), (190, 150, 50), (95, 75, 60), (120, 160, 190), (90, 92, 96)),
)
CLOTH = (
    *((40, 45, 60), (190, 185, 170), (130, 40, 45), (60, 90, 130), (85, 80, 75)),
    *((50, 90, 60), (200, 140, 50), (30, 30, 32), (225, 225, 220), (160, 185, 200)),
)
LEAVES = ((60, 95, 45), (85, 105, 50), (130, 110, 50), (45, 75, 45))
WALLS = ((150, 120, 100), (130, 130, 135), (190, 180, 160))
SIGNS = ((190, 40, 35), (40, 70, 160), (220, 220, 215))


def car(rng: np.random.Generator) -> Shape:
    """Saloon, hatchback or estate: a low body with a bumper and a narrower glazed cabin."""
    pick, scale, width = partial(tone, rng), rng.uniform((3.6, 1.38), (4.7, 1.65)), rng.uniform(1.6, 1.85)
    paint, pane, belt, tail = pick(PAINT), pick(GLASS), rng.uniform(0.54, 0.6), rng.choice([-0.33, -0.45, -0.485])
    back, nose = [(-0.5, 0.17), (-0.495, belt - 0.03), (-0.42, belt)], [(0.44, belt - 0.1), (0.5, 0.38), (0.495, 0.17)]
    body = prism([*back, (0.22, belt), *nose] * scale, [width] * 7, paint)
    roof = [(tail, belt), (tail + rng.uniform(0.04, 0.12), 1), (0.06, 1), (rng.uniform(0.2, 0.27), belt)]
    cabin = prism(roof * scale, width * np.array((0.94, 0.74, 0.74, 0.94)), paint)
    windows = [(cabin[REAR], (0.12, 0.88)), (cabin[4], (0.06, 0.94))]
    windows += [(side, across) for side in cabin[:REAR] for across in ((0.1, 0.48), (0.53, 0.92))]
    trim = [patch(face, across, (0.1, 0.92), pane) for face, across in windows]
    trim += [patch(body[REAR], (0, 1), (0, 0.25), pick(METAL)), patch(body[7], (0, 1), (0.3, 0.9), pick(METAL))]
    trim += lamps(body[REAR], pick(TAIL), pick(PLATE)) + lamps(body[6], pick(LIT), pick(PLATE))
    return [body + wheels(scale[0] * np.array((-0.31, 0.32)), 0.21 * scale[1], width) + cabin + trim]


def van(rng: np.random.Generator) -> Shape:
    """One tall box with a high roof, a short nose and a grille; the sides are glazed or closed."""
    pick, (length, height, width) = partial(tone, rng), rng.uniform((4.6, 1.95, 1.8), (5.8, 2.5, 2.0))
    pane, nose, belt = pick(GLASS), rng.uniform(0.18, 0.28), rng.uniform(0.52, 0.6)
    profile = [(-0.5, 0.13), (-0.5, 0.95), (-0.47, 1), (nose, 1), (0.41, belt), (0.5, belt - 0.1), (0.495, 0.13)]
    widths = width * np.array((1, 0.93, 0.9, 0.9, 0.97, 1, 1))
    body = prism(profile * np.array((length, height)), widths, pick(PAINT))
    trim = [patch(body[5], (0.06, 0.94), (0.28, 0.95), pane), patch(body[7], (0.24, 0.76), (0.1, 0.6), pick(METAL))]
    trim += [patch(body[REAR], across, (0.5, 0.78), pane) for across in ((0.1, 0.47), (0.53, 0.9))]
    windows, rise = [(0.1, 0.3), (-0.18, 0.06), (-0.45, -0.22)], np.array((belt, 0.84)) * height
    spans = np.array(windows[: rng.choice([1, 3])]) * length
    trim += [wall(span, rise, side * width, pane) for span in spans for side in (-0.485, 0.485)]
    trim += lamps(body[REAR], pick(TAIL), pick(PLATE)) + lamps(body[7], pick(LIT), pick(PLATE))
    return [body + trim + wheels(length * np.array((-0.3, 0.34)), 0.15 * height, width)]


def truck(rng: np.random.Generator) -> Shape:
    """A cab before a higher, ribbed load box, on a frame with two or three axles."""
    pick, (length, height, width) = partial(tone, rng), rng.uniform((6.5, 2.9, 2.3), (9.5, 3.6, 2.6))
    scale, back, top, pane = np.array((length, height)), rng.uniform(0.2, 0.28), rng.uniform(0.7, 0.85), pick(GLASS)
    profile = [(back + 0.02, 0.13), (back + 0.02, top), (0.47, top), (0.5, 0.45), (0.5, 0.13)]
    cab = prism(profile * scale, [width * 0.96] * 5, pick(PAINT))
    slats, metal = ((0.02, 0.12), (0.22, 0.32), (0.42, 0.52)), pick(METAL)
    cab += [patch(cab[4], (0.06, 0.94), (0.1, 0.95), pane), *(patch(cab[5], (0.22, 0.78), up, metal) for up in slats)]
    cab += lamps(cab[5], pick(LIT), pick(PLATE))
    span, rise = np.array((back + 0.08, 0.45)) * length, np.array((0.48, top - 0.06)) * height
    cab += [wall(span, rise, side * width, pane) for side in (-0.48, 0.48)]
    frame = prism(rectangle(-0.49, back, 0.12, 0.27) * scale, [width * 0.9] * 4, pick(METAL))
    frame += lamps(frame[REAR], pick(TAIL), pick(PLATE))
    axles = length * np.array((-0.36, 0.38) if rng.random() < 0.5 else (-0.4, -0.27, 0.38))
    rear_wheels, front_wheels = (wheels(part, 0.14 * height, width) for part in (axles[:-1], axles[-1:]))
    return [frame + rear_wheels + _load(rng, rectangle(-0.5, back, 0.27, 1) * scale, width), cab + front_wheels]


def _load(rng: np.random.Generator, profile: Points, width: float) -> Solid:
    """A box with upright ribs: the texture tells a truck from a van where the shape does not."""
    box, start, gap = prism(profile, [width] * 4, tone(rng, PAINT)), rng.uniform(0.02, 0.08), rng.uniform(0.06, 0.1)
    shade = dim(box[REAR].colour, rng.choice([0.6, 0.75, 1.3, 1.5]))
    for face, step in zip(box[:3], (gap, gap, 2.5 * gap), strict=True):
        box += [patch(face, (x, x + gap * 0.35), (0.04, 0.96), shade) for x in np.arange(start, 0.95, step)]
    return box


def pedestrian(rng: np.random.Generator) -> Shape:
    """A walking or standing figure, sometimes with a raised arm, a long coat or a rucksack."""
    size, stride, lean = rng.uniform(1.5, 1.92), rng.uniform(-0.5, 0.5), rng.uniform(-0.02, 0.08)
    top, trousers, shoes, pack = (tone(rng, CLOTH) for _ in range(4))
    skin, figure = tone(rng, SKIN), _torso((0, 0.52, 0.055), (lean, 0.79, 0.085), 0.065, top)
    for side, swing in ((1, stride), (-1, -stride)):
        knee, foot = (0.28 * swing + 0.03, 0.28, 0.055 * side), (0.55 * swing - 0.03 * abs(swing), 0.035, 0.06 * side)
        figure += [stroke([(0, 0.52, 0.05 * side), knee, foot], 0.042, trousers), _shoe(foot, 0.025, shoes)]
        elbow, hand = (-0.2 * swing, 0.63, 0.13 * side), (-0.4 * swing + rng.uniform(0, 0.14), 0.49, 0.12 * side)
        if rng.random() < 0.15:
            elbow, hand = (0.08, 0.68, 0.15 * side), (0.16, rng.uniform(0.6, 0.9), 0.13 * side)
        figure += [stroke([(lean, 0.79, 0.11 * side), elbow, hand], 0.03, top), stroke([hand], 0.028, skin)]
    figure += _head((lean + 0.02, 0.925, 0), 0.062, skin, tone(rng, CLOTH))
    figure += [stroke([(0, 0.5, 0), (0, 0.33, 0)], 0.095, top)] if rng.random() < 0.3 else []
    figure += [stroke([(lean - 0.12, 0.76, 0), (-0.1, 0.62, 0)], 0.075, pack)] if rng.random() < 0.3 else []
    return [[piece._replace(points=piece.points * size, radius=piece.radius * size)] for piece in figure]


def cyclist(rng: np.random.Generator) -> Shape:
    """A rider on a bicycle, pedals at any angle."""
    paint, metal, skin, helmet = (tone(rng, palette) for palette in (PAINT, METAL, SKIN, PAINT))
    top, trousers, shoes = (tone(rng, CLOTH) for _ in range(3))
    turn, lean, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.25), rng.uniform(0.4, 0.5)
    crank, shoulders = (-0.05, 0.3, 0), (0.06 + lean, 1.45 - 0.3 * lean, 0.15)
    figure = [stroke(circle((x, 0.352), 0.32, 0, 17), 0.032, metal) for x in (-0.53, 0.53)]
    spokes = [circle((x, 0.352), 0.32, 0, 9)[[i, i + 4]] for x in (-0.53, 0.53) for i in range(4)]
    figure += [stroke(spoke, 0.006, metal) for spoke in spokes]
    tubes = [[(-0.53, 0.34, 0), crank, (0.42, 0.85, 0), (-0.18, 0.8, 0), (-0.53, 0.34, 0)], [crank, (-0.22, 0.93, 0)]]
    figure += [stroke(tube, 0.022, paint) for tube in [*tubes, [(reach, 1.02, 0), (0.53, 0.34, 0)]]]
    figure += [stroke([(reach, 1.02, -0.27), (reach, 1.02, 0.27)], 0.018, metal)]
    figure += _torso((-0.2, 0.98, 0.09), shoulders, 0.11, top)
    for side, angle in ((1, turn), (-1, turn + np.pi)):
        foot = (0.16 * np.cos(angle) - 0.05, 0.16 * np.sin(angle) + 0.3, 0.1 * side)
        knee = (foot[0] / 2 + 0.18, foot[1] / 2 + 0.57, 0.15 * side)
        figure += [stroke([(-0.2, 0.95, 0.09 * side), knee, foot], 0.06, trousers), _shoe(foot, 0.04, shoes)]
        elbow = ((shoulders[0] + reach) / 2 - 0.02, 1.16, 0.25 * side)
        figure += [stroke([(*shoulders[:2], 0.2 * side), elbow, (reach, 1.04, 0.22 * side)], 0.045, top)]
    return [[piece] for piece in figure + _head((shoulders[0] + 0.12, shoulders[1] + 0.24, 0), 0.105, skin, helmet)]


def tree(rng: np.random.Generator) -> Shape:
    """A trunk under a crown of overlapping balls."""
    height, green = rng.uniform(3.5, 7), tone(rng, LEAVES)
    trunk = stroke([(0, 0, 0), (0, 0.6 * height, 0)], rng.uniform(0.08, 0.2), (78, 66, 55))
    balls = rng.normal((0, 0.72, 0), (0.13, 0.12, 0.13), (9, 3)) * height
    crown = [stroke([ball], rng.uniform(0.11, 0.18) * height, dim(green, rng.uniform(0.75, 1.2))) for ball in balls]
    return [[piece] for piece in (trunk, *crown)]


def lamp_post(rng: np.random.Generator) -> Shape:
    """A pole with an arm to one side."""
    height = rng.uniform(5, 8)
    return [[stroke([(0, 0, 0), (0, height, 0), (0, height + 0.2, 1.5)], 0.07, tone(rng, METAL))]]


def sign(rng: np.random.Generator) -> Shape:
    """A round traffic sign on a thin pole, from afar not unlike a person."""
    top, radius = (0, rng.uniform(1.7, 2.6), 0), rng.uniform(0.2, 0.35)
    discs = [stroke([top], radius, tone(rng, SIGNS)), stroke([top], radius * 0.6, (225, 225, 220))]
    return [[stroke([(0, 0, 0), top], 0.04, tone(rng, METAL)), *discs]]


def bush(rng: np.random.Generator) -> Shape:
    """A row of low green balls."""
    balls, green = rng.uniform((-1.2, 0.2, -0.5), (1.2, 0.7, 0.5), (7, 3)), tone(rng, LEAVES)
    return [[stroke([ball], rng.uniform(0.3, 0.5), dim(green, rng.uniform(0.8, 1.15)))] for ball in balls]


def crate(rng: np.random.Generator) -> Shape:
    """A kiosk, container or bin: a painted box with a panel, not unlike a van."""
    length, height, width = rng.uniform((0.6, 0.9, 0.6), (3.5, 2.4, 2))
    box = prism(rectangle(-0.5, 0.5, 0, 1) * (length, height), [width] * 4, tone(rng, PAINT))
    panel = tone(rng, CLOTH)
    return [box + [patch(face, (0.12, 0.88), (0.45, 0.9), panel) for face in (*box[:3], box[4])]]


def building(rng: np.random.Generator) -> Shape:
    """A house of one to five floors, windows on its right and rear only: the rest is not seen."""
    length, floors, width = rng.uniform(7, 16), int(rng.integers(1, 6)), rng.uniform(7, 12)
    height, pane, half = 3.1 * floors + 0.6, tone(rng, GLASS), rng.uniform(0.18, 0.3)
    box = prism(rectangle(-0.5, 0.5, 0, 1) * (length, height), [width] * 4, tone(rng, WALLS))
    for face, columns in ((box[1], int(length / 2.6)), (box[REAR], int(width / 2.6))):
        for column, floor in np.ndindex(columns, floors):
            across = (column + 0.5 - half) / columns, (column + 0.5 + half) / columns
            up = (3.1 * floor + 1) / height, (3.1 * floor + 2.6) / height
            box.append(patch(face, across, up, dim(pane, rng.uniform(0.7, 1.3))))
    return [box]


OBJECTS: dict[str, Callable[[np.random.Generator], Shape]] = {
    "Car": car,
    "Van": van,
    "Truck": truck,
    "Pedestrian": pedestrian,
    "Cyclist": cyclist,
}
CLUTTER = (tree, lamp_post, sign, bush, crate)


def _torso(hips: Spot, shoulders: Spot, radius: float, colour: Colour) -> Solid:
    """Trunk between hips and shoulders, each (forward, up, half width)."""
    return [stroke(np.array([hips, shoulders]) * (1, 1, side), radius, colour) for side in (-1, 0, 1)]


def _head(centre: Spot, radius: float, skin: Colour, hair: Colour) -> Solid:
    crown = (centre[0] - 0.35 * radius, centre[1] + 0.3 * radius, centre[2])
    return [stroke([centre], radius, skin), stroke([crown], radius * 1.02, hair)]


def _shoe(foot: Spot, radius: float, colour: Colour) -> Piece:
    return stroke([foot, (foot[0] + 3 * radius, foot[1], foot[2])], radius, colour)
