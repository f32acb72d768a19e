"""Small pictures, drawn here, of the kinds that clients read in different ways: turned, transparent, deep."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

SIZE = (61, 47)  # width and height: odd, and neither square nor the shape of any network's input


def draw(folder: Path) -> list[Path]:
    """Write the eight pictures into the folder."""
    folder.mkdir()
    for name, write in _KINDS.items():
        write(folder / name)
    return [folder / name for name in _KINDS]


def _scene() -> Image.Image:
    """Gradients, edges and a disc off its centre: no two of its quarters are alike, nor two of its channels."""
    x, y = np.meshgrid(np.linspace(0, 1, SIZE[0]), np.linspace(0, 1, SIZE[1]))
    disc = (x - 0.3) ** 2 + (y - 0.6) ** 2 < 0.04
    stripes = (x * 9).astype(int) % 2 * (y > 0.7)
    channels = [np.where(disc, 0.9, x), np.where(disc, 0.2, y * y), np.clip(1 - x * y - 0.6 * stripes, 0, 1)]
    return Image.fromarray((np.stack(channels, axis=2) * 255).astype(np.uint8))


def _turned(path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    _scene().save(path, exif=exif, quality=95)


def _transparent(path: Path) -> None:
    picture = _scene()
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    picture.save(path)


def _deep(path: Path) -> None:
    values = np.asarray(_scene().convert("L")).astype(np.uint16) * 200 + 77
    Image.fromarray(values).save(path)


_KINDS: dict[str, Callable[[Path], None]] = {
    "plain.png": lambda path: _scene().save(path),
    "photo.jpg": lambda path: _scene().save(path, quality=90),
    "turned.jpg": _turned,
    "transparent.png": _transparent,
    "deep.png": _deep,
    "grey.png": lambda path: _scene().convert("L").save(path),
    "palette.png": lambda path: _scene().quantize(32).save(path),
    "cmyk.jpg": lambda path: _scene().convert("CMYK").save(path, quality=90),
}
