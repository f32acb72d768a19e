"""The whole way from an image file to a network's input, in numbers: what a deployed network must be told.

Training writes it into the checkpoint; of a deployed file it is part of the description. The fields are explained in
specs/guides/deployment.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tao_lite.data import decode, geometry
from tao_lite.data.geometry import Fixed, Pixels, Size
from tao_lite.data.preprocess import Preprocess
from tao_lite.files.plain import Check, among, fields, listed, of
from tao_lite.spec import classification_pb2 as pb

DECODE: Mapping[str, Any] = {
    "frame": "first",
    "orientation": "EXIF",
    "colour_profile": "ignored",
    "transparent_over": {"red": 255, "green": 255, "blue": 255},
    "rgb_to_grey": {"red": 0.299, "green": 0.587, "blue": 0.114},
    "grey_to_rgb": "repeated",
    "more_than_8_bits": "high 8 bits",
    "floating_point": {"black": 0, "white": 1},
    "max_pixels": decode.MAX_PIXELS,
}
"""What `decode.decode` does with a file, whatever the network."""


def _exactly(rule: object) -> Check:
    return fields({name: _exactly(part) for name, part in rule.items()}) if isinstance(rule, dict) else among(rule)


_MODES: Mapping[int, Fixed] = {
    pb.ResizeMode.SQUEEZE: "squeeze",
    pb.ResizeMode.CENTRE_CROP: "centre_crop",
    pb.ResizeMode.LETTERBOX: "letterbox",
    pb.ResizeMode.TAO_CROP: "tao_crop",
}

_ORDERS = {"RGB": 3, "BGR": 3, "GREY": 1}
_NUMBERS = listed(of(float), least=1, most=3)

SCHEMA = {
    "decode": fields({**{name: _exactly(rule) for name, rule in DECODE.items()}, "full_scale": of(float, minimum=0)}),
    "resize": fields(
        {
            "size": listed(of(int, minimum=1), least=2, most=2),
            "geometry": among(*geometry.FIXED),
            "margin": among(0, geometry.CENTRE_MARGIN),
            "filter": among(*geometry.INTERPOLATIONS),
            "antialias": among(True),
        },
        {"fill": of(int, minimum=0, maximum=255)},
    ),
    "normalise": fields({"order": among(*_ORDERS), "mean": _NUMBERS, "scale": _NUMBERS}),
}
"""The fields and what they may hold."""


def fixed_geometry(experiment: pb.Experiment, *, is_cropped: bool) -> Fixed:
    """How pictures come to the network's shape where chance has no part in it.

    is_cropped: what TAO's switch says, enable_center_crop, which holds unless the network's resize_mode is set.
    """
    if experiment.model_config.HasField("resize_mode"):
        return _MODES[experiment.model_config.resize_mode]
    if not is_cropped:
        return "squeeze"
    return "tao_crop" if experiment.compat == pb.Compat.TAO_EXACT else "centre_crop"


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """How pictures become what the network reads."""

    size: Size
    geometry: Fixed
    fill: int = 0
    """The value of the bars beside letterboxed pictures."""
    filter: str
    """A key of `geometry.INTERPOLATIONS`."""
    full_scale: float
    """What is white in pictures of more than 8 bits; 0: their type says."""
    order: str
    """RGB, BGR or GREY."""
    mean: tuple[float, ...]
    """For each channel in that order, what becomes 0, in 0 .. 255."""
    scale: tuple[float, ...]
    """By which (pixel - mean) is multiplied."""

    @classmethod
    def of(cls, experiment: pb.Experiment, preprocess: Preprocess, *, is_cropped: bool) -> "Pipeline":
        """As pictures are evaluated by the spec, with this normalisation; is_cropped: as in `fixed_geometry`."""
        model = experiment.model_config
        _, height, width = (int(number) for number in model.input_image_size.split(","))
        return cls(
            size=(height, width),
            geometry=fixed_geometry(experiment, is_cropped=is_cropped),
            fill=model.letterbox_value if model.resize_mode == pb.ResizeMode.LETTERBOX else 0,
            filter="bicubic" if model.resize_interpolation_method == pb.BICUBIC else "bilinear",
            full_scale=experiment.dataset_config.full_scale,
            order=preprocess.order,
            mean=preprocess.mean,
            scale=preprocess.factors,
        )

    def resized(self, image: Pixels) -> Pixels:
        """The picture as the network sees it: uint8 [H, W, C] -> [h, w, C]."""
        return geometry.fixed(image, self.geometry, self.size, self.filter, self.fill)

    @property
    def is_cropped(self) -> bool:
        """Whether the middle of a picture is seen."""
        return self.geometry in ("centre_crop", "tao_crop")

    @property
    def channels(self) -> int:
        return _ORDERS[self.order]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the network's input."""
        return (self.channels, *self.size)

    @property
    def preprocess(self) -> Preprocess:
        """The normalisation."""
        return Preprocess(self.order, self.mean, self.scale)

    def configure(self, experiment: pb.Experiment) -> None:
        """Let the spec's evaluation see pictures this way."""
        model = experiment.model_config
        model.input_image_size = ",".join(map(str, self.shape))
        model.resize_interpolation_method = pb.BICUBIC if self.filter == "bicubic" else pb.BILINEAR
        model.resize_mode = pb.ResizeMode.Kind.Value(self.geometry.upper())
        model.letterbox_value = self.fill
        experiment.eval_config.enable_center_crop = self.is_cropped
        experiment.dataset_config.full_scale = self.full_scale

    def to_dict(self) -> dict[str, Any]:
        """Plain values from which `from_dict` makes the same again; what JSON can hold."""
        return {
            "decode": {**DECODE, "full_scale": self.full_scale},
            "resize": {
                "size": list(self.size),
                "geometry": self.geometry,
                "margin": geometry.CENTRE_MARGIN if self.is_cropped else 0,
                "filter": self.filter,
                "antialias": True,
                **({"fill": self.fill} if self.geometry == "letterbox" else {}),
            },
            "normalise": {"order": self.order, "mean": list(self.mean), "scale": list(self.scale)},
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> "Pipeline":
        """The way that is described by what fits SCHEMA."""
        resize, normalise = value["resize"], value["normalise"]
        height, width = resize["size"]
        return cls(
            size=(height, width),
            geometry=resize["geometry"],
            fill=resize.get("fill", 0),
            filter=resize["filter"],
            full_scale=value["decode"]["full_scale"],
            order=normalise["order"],
            mean=tuple(normalise["mean"]),
            scale=tuple(normalise["scale"]),
        )
