"""Networks of classification_pyt by our names, and why some have none."""

import re
from collections.abc import Iterator

_SAME = {
    **{f"resnet_{depth}": f"torchvision/resnet{depth}" for depth in (18, 34, 50, 101, 152)},
    **{f"resnet_{depth}d": f"timm/resnet{depth}d" for depth in (18, 34, 50, 101, 152)},
    **{f"convnext_{size}": f"timm/convnext_{size}" for size in ("tiny", "small", "base", "large", "xlarge")},
    **{
        f"convnextv2_{size}": f"timm/convnextv2_{size}"
        for size in ("atto", "femto", "pico", "nano", "tiny", "base", "large", "huge")
    },
    **{
        f"swin_{size}": f"timm/swin_{size}"
        for size in (
            *("tiny_patch4_window7_224", "small_patch4_window7_224", "base_patch4_window7_224"),
            *("large_patch4_window7_224", "base_patch4_window12_384", "large_patch4_window12_384"),
        )
    },
    **{
        f"hiera_{size}_224": f"timm/hiera_{size}_224"
        for size in ("tiny", "small", "base", "base_plus", "large", "huge")
    },
    **{f"edgenext_{size}": f"timm/edgenext_{size}" for size in ("xx_small", "x_small", "small", "base")},
    **{f"efficientvit_{size}": f"timm/efficientvit_{size}" for size in ("b0", "b1", "b2", "b3", "l1", "l2", "l3")},
    "vit_base_patch16": "timm/vit_base_patch16_224",
    "vit_large_patch16": "timm/vit_large_patch16_224",
    "vit_huge_patch14": "timm/vit_huge_patch14_224",
    # Picture towers of CLIP, without the projection to the space of texts.
    "ViT-B-32": "timm/vit_base_patch32_clip_224",
    "ViT-B-16": "timm/vit_base_patch16_clip_224",
    "ViT-L-14": "timm/vit_large_patch14_clip_224",
    "ViT-L-14-336": "timm/vit_large_patch14_clip_336",
    "ViT-H-14": "timm/vit_huge_patch14_clip_224",
}
# Pattern of a name -> why it has none here, and what is near.
_OTHERS = {
    r"fan_.*": (
        "FAN is a network of NVIDIA's that neither timm nor torchvision has; timm/convnext_small is of fan_small's size"
    ),
    r"gc_?vit_.*": (
        "NVIDIA's GC ViT was not compared with timm's gcvit_*, whose weights have other names; timm/gcvit_tiny is near "
        "gc_vit_tiny"
    ),
    r"faster_vit_.*": (
        "FasterViT is a network of NVIDIA's that neither timm nor torchvision has; timm/convnextv2_tiny is near"
    ),
    r"c_?-?radio.*": (
        "C-RADIO's head reads several summary tokens side by side, which timm's networks do not; "
        "timm/vit_base_patch16_radio_v3 is near"
    ),
    r"mit_b\d": "MiT, SegFormer's encoder, is neither in timm nor in torchvision; timm/pvt_v2_b2 is near",
    r"vit_.*_dinov2_swiglu.*": (
        "NVIDIA's DINOv2 has another feed-forward layer than the published one; timm/vit_large_patch14_dinov2 is near"
    ),
    r"vit[-_].*siglip.*clipa.*": "NVIDIA's CLIP is its own; timm/vit_large_patch14_clip_224 is near",
    r"efficientvit_l0": "timm has no EfficientViT of this size; timm/efficientvit_l1 is the next",
    r"open_clip|dino_?v[23].*|siglip.*|dinat.*|sam3?.*": "it has no equal here; look for one of timm's by name",
}


def ours(name: str) -> str:
    """Our name of the network; theirs, which is refused where a network is built, if there is none."""
    return _SAME.get(name) or _SAME.get(name.lower().replace("-", "_"), name)


def why_not(name: str) -> str:
    """Why a network of classification_pyt has no equal here; empty for a name that it doesn't have."""
    return next((why for pattern, why in _OTHERS.items() if re.fullmatch(pattern, name, re.IGNORECASE)), "")


def same() -> Iterator[str]:
    """Names of theirs that have an equal here."""
    yield from _SAME


def others() -> Iterator[tuple[str, str]]:
    """Patterns of names that have none, and why."""
    yield from _OTHERS.items()
