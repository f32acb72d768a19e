"""From a picture's file to the network's input, as preprocess.json says: decode, resize, normalise."""

import numpy as np
from PIL import Image, ImageOps
from way import WAY

DECODE, RESIZE, NORMALISE = WAY["decode"], WAY["resize"], WAY["normalise"]
FORMATS = ("JPEG", "PNG", "BMP", "PPM", "GIF", "TIFF", "WEBP")
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def high_bits(image):
    """8-bit grey of a grey picture of more than 8 bits; "full_scale", where it is not 0, is white."""
    pixels, white = np.asarray(image), DECODE["full_scale"]
    if image.mode == "F":
        if not white and not (pixels.min() >= 0 and pixels.max() <= 1):
            raise ValueError("floating-point pixels beyond white")
        return Image.fromarray((np.clip(pixels, 0, white or 1) * (255 / (white or 1)) + 0.5).astype(np.uint8))
    if image.mode == "I" and image.format != "PPM" and not white:
        raise ValueError("32-bit pixels have no known white")
    bits = image.tag_v2.get(258, (16,))[0] if image.format == "TIFF" else 16
    white = white or 2**bits - 1
    return Image.fromarray((np.clip(pixels, 0, white).astype(np.float64) * (256 / (white + 1))).astype(np.uint8))


def decode(file):
    """The picture in a file, upright: uint8 [H, W, C], RGB or grey."""
    image = Image.open(file, formats=FORMATS)
    if image.width * image.height > DECODE["max_pixels"]:
        raise ValueError("too many pixels")
    if DECODE["full_scale"] and image.format == "PNG" and str(image.tile[0].args).endswith("RGB;16B"):
        raise ValueError("16-bit colour with a full scale: convert it to 8 bits first")
    image.load()
    image = image if image.format in ("TIFF", "PPM") else ImageOps.exif_transpose(image)
    if image.mode == "F" or image.mode.startswith("I"):
        image = high_bits(image)
    elif image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.new("RGB", layer.size, tuple(DECODE["transparent_over"].values()))
        image.paste(layer, mask=layer)
    pixels = np.asarray(image.convert("L" if NORMALISE["order"] == "GREY" else "RGB"))
    return pixels.reshape(*pixels.shape[:2], -1)


def resize(pixels):
    """The part that the network sees, in its size: uint8 [h, w, C]."""
    (height, width), (h, w), margin = pixels.shape[:2], RESIZE["size"], RESIZE["margin"]
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    box, inner_h, inner_w = (0, 0, width, height), h, w
    if RESIZE["geometry"] == "tao_crop":
        return at_whole_pixels(picture)
    if RESIZE["geometry"] == "centre_crop":
        enlarge = max((h + margin) / height, (w + margin) / width)
        top, left = (height - h / enlarge) / 2, (width - w / enlarge) / 2
        box = (left, top, min(left + w / enlarge, width), min(top + h / enlarge, height))
    elif RESIZE["geometry"] == "letterbox":
        inner_h, inner_w = min(h, max(1, w * height // width)), min(w, max(1, h * width // height))
    resized = np.asarray(picture.resize((inner_w, inner_h), FILTERS[RESIZE["filter"]], box)).reshape(
        inner_h, inner_w, -1
    )
    framed = np.full((h, w, resized.shape[2]), RESIZE.get("fill", 0), np.uint8)
    top, left = (h - inner_h) // 2, (w - inner_w) // 2
    framed[top : top + inner_h, left : left + inner_w] = resized
    return framed


def at_whole_pixels(picture):
    """The middle of the picture, which is resized to just cover that and its margin: uint8 [h, w, C]."""
    (h, w), margin = RESIZE["size"], RESIZE["margin"]
    enlarge = max((h + margin) / picture.height, (w + margin) / picture.width)
    covering = picture.resize((int(picture.width * enlarge), int(picture.height * enlarge)), FILTERS[RESIZE["filter"]])
    left, top = round(covering.width / 2) - round(w / 2), round(covering.height / 2) - round(h / 2)
    return np.asarray(covering.crop((left, top, left + w, top + h))).reshape(h, w, -1)


def normalise(pixels):
    """float32 [h, w, C] in the network's order of channels."""
    ordered = pixels[..., ::-1] if NORMALISE["order"] == "BGR" else pixels
    return (ordered.astype(np.float32) - np.float32(NORMALISE["mean"])) * np.float32(NORMALISE["scale"])
