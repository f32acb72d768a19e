"""Pictures inside an HTML page: data: addresses, which need no file beside it."""

import base64
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image


def exact(image: "Image") -> str:
    """The picture as PNG."""
    return _address(image, "PNG")


def thumbnail(image: "Image", side: int) -> str:
    """A copy as JPEG, whose longer side has so many pixels at most; the picture itself becomes as small."""
    image.thumbnail((side, side))
    return _address(image, "JPEG", quality=80)


def _address(image: "Image", kind: str, **options: int) -> str:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"
