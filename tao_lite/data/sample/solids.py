"""Flat faces and round strokes, the stuff of sample shapes; metres, (forward, up, right)."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Points = NDArray[np.float64]
Spot = tuple[float, float, float]
Colour = tuple[float, float, float]

TYRE, HUB = (26, 26, 28), (150, 152, 156)
# Place of a prism's first face that is not a side.
REAR = 2


class Piece(NamedTuple):
    """A face (radius 0), seen only from where its points [n, 3] run counter-clockwise, or a round stroke along them."""

    points: Points
    colour: Colour
    radius: float = 0.0


# Inside a solid the later piece hides the earlier; the solids of a shape are painted far to near.
Solid = list[Piece]
Shape = list[Solid]


def tone(rng: np.random.Generator, palette: tuple[Colour, ...]) -> Colour:
    """One colour of the palette, varied."""
    colour, factor, shifts = palette[rng.integers(len(palette))], rng.uniform(0.75, 1.15), rng.normal(0, 8, 3).tolist()
    red, green, blue = (max(own * factor + shift, 8) for own, shift in zip(colour, shifts, strict=True))
    return red, green, blue


def dim(colour: Colour, factor: float) -> Colour:
    return colour[0] * factor, colour[1] * factor, colour[2] * factor


def rectangle(left: float, right: float, bottom: float, top: float) -> Points:
    return np.array([(left, bottom), (left, top), (right, top), (right, bottom)])


def prism(profile: ArrayLike, widths: ArrayLike, colour: Colour) -> Solid:
    """Faces of a convex profile [n, 2] (forward, up; from the lower rear over the top to the front), `widths` [n] wide.

    The left side, the right side, then one face per edge of the profile: first the rear, last the floor. Corners run
    counter-clockwise from the lower left, but those of faces after the roof from the upper left.
    """
    profile, half = np.asarray(profile), np.asarray(widths)[:, None] / 2
    left, right = np.hstack([profile, -half]), np.hstack([profile, half])
    edges = [(i, (i + 1) % len(profile)) for i in range(len(profile))]
    sides = np.concatenate([left[-1:], left[:-1]]), np.concatenate([right[:1], right[:0:-1]])
    strips = (np.array([left[i], right[i], right[j], left[j]]) for i, j in edges)
    return [Piece(points, colour) for points in (*sides, *strips)]


def patch(face: Piece, across: tuple[float, float], up: tuple[float, float], colour: Colour) -> Piece:
    """Part of a four-cornered face, between shares of its width and height."""
    corners = ((across[0], up[0]), (across[1], up[0]), (across[1], up[1]), (across[0], up[1]))
    shares = [((1 - x) * (1 - y), x * (1 - y), x * y, (1 - x) * y) for x, y in corners]
    return Piece(np.array(shares) @ face.points, colour)


def wall(ends: Points, heights: Points, side: float, colour: Colour) -> Piece:
    """An upright rectangle on the right (side > 0) or left of a vehicle, `side` metres from its middle."""
    (rear, front), (low, high) = ends, heights
    points = np.array([(rear, low, side), (front, low, side), (front, high, side), (rear, high, side)])
    return Piece(points if side > 0 else points[::-1], colour)


def wheels(axles: Points, radius: float, width: float) -> Solid:
    """Tyre and hub on both ends of each axle; axles [n] forward in metres."""
    places = [(axle, side) for axle in axles for side in (-1, 1)]
    return [
        Piece(circle((axle, radius), share * radius, side * width / 2, 13)[::side], colour)
        for axle, side in places
        for share, colour in ((1.0, TYRE), (0.55, HUB))
    ]


def lamps(face: Piece, colour: Colour, plate: Colour) -> Solid:
    """A lamp at each end of a face and a plate between, at most 25 cm high."""
    top = 0.3 + min(0.25 / float(np.linalg.norm(face.points[3] - face.points[0])), 0.5)
    ends = [patch(face, across, (0.3, top), colour) for across in ((0.03, 0.19), (0.81, 0.97))]
    return [*ends, patch(face, (0.38, 0.62), (0.15, top - 0.15), plate)]


def circle(centre: tuple[float, float], radius: float, side: float, count: int) -> Points:
    """Points [count, 3] round an axle, the last upon the first."""
    angles = np.linspace(0, 2 * np.pi, count)
    forward, up = centre[0] + radius * np.cos(angles), centre[1] + radius * np.sin(angles)
    return np.array([forward, up, np.full(count, side)]).T


def stroke(points: ArrayLike, radius: float, colour: Colour) -> Piece:
    return Piece(np.array(points, dtype=np.float64), colour, radius)
