"""Steps of classification_pyt: augmentation, which is on there unless the file says else.

Source: NVIDIA's public code of 2025, whose pictures are squeezed to the network's size first.
"""

from collections.abc import Iterator

from tao_lite.spec.families.pyt_steps import AUGMENT, FROZEN
from tao_lite.spec.families.shared import numbers_of
from tao_lite.spec.families.source import Source
from tao_lite.spec.families.table import Made, Step, made_of, said
from tao_lite.spec.findings import Finding, Level

_QUARTERS = (90, 180, 270)
_AREAS, _ASPECTS = (0.08, 1.0), (3 / 4, 4 / 3)


def _while_trained(step: Step) -> Step:
    """The step, but where the backbone is frozen: nothing is augmented then."""

    def guarded(source: Source) -> Iterator[Made | Finding]:
        if not source.is_on(FROZEN):
            yield from step(source)

    return guarded


@_while_trained
def flips(source: Source) -> Iterator[Made | Finding]:
    """Probabilities of mirroring."""
    block = f"{AUGMENT}.random_flip"
    if not source.is_on(f"{block}.enable"):
        yield made_of(source, f"{block}.enable", "train_config.disable_horizontal_flip", "true")
        return
    yield from _copied(source, block, "train_config", "hflip_probability", "vflip_probability")


@_while_trained
def turns(source: Source) -> Iterator[Made | Finding]:
    """Quarter turns; others have no effect."""
    block, ours = f"{AUGMENT}.random_rotate", "train_config.random_rotate"
    if not source.is_on(f"{block}.enable"):
        return
    angles = [angle % 360 for angle in source.numbers(f"{block}.angle_list")]
    quarters = [angle for angle in angles if angle in _QUARTERS]
    if len(quarters) < len(angles):
        words = "only turns of 90, 180 and 270 degrees have an effect"
        yield said(source, Level.WARNING, f"{block}.angle_list", words)
    if quarters:
        yield from _copied(source, block, ours, "rotate_probability")
        yield numbers_of(source, f"{block}.angle_list", f"{ours}.angle_list", quarters)


@_while_trained
def colours(source: Source) -> Iterator[Made | Finding]:
    """Strengths of brightness, contrast, saturation and hue."""
    block = f"{AUGMENT}.random_color"
    if source.is_on(f"{block}.enable"):
        names = ("brightness", "contrast", "saturation", "hue")
        yield from _copied(source, block, "train_config.random_color", *names)


@_while_trained
def crops(source: Source) -> Iterator[Made | Finding]:
    """One crop of the picture, where there the second cuts a part of what the first has left."""
    first, second = f"{AUGMENT}.with_random_crop", f"{AUGMENT}.with_scale_random_crop"
    is_first, is_second = source.is_on(first), source.is_on(f"{second}.enable")
    if not (is_first or is_second):
        return
    (least, largest), aspects = (_AREAS, _ASPECTS) if is_first else ((1.0, 1.0), (1.0, 1.0))
    if is_second:
        smaller, larger = _scales(source, f"{second}.scale_range")
        least, largest = least / larger**2, min(1.0, largest / smaller**2)
    theirs = first if is_first else f"{second}.enable"
    yield made_of(source, theirs, "train_config.enable_random_crop", "true")
    ranges = {"min_area": least, "max_area": largest, "min_aspect": aspects[0], "max_aspect": aspects[1]}
    for name, value in ranges.items():
        yield made_of(source, theirs, f"train_config.random_crop.{name}", f"{value:.7g}")


@_while_trained
def others(source: Source) -> Iterator[Made | Finding]:
    """RandAugment, blur, erasing and mixing."""
    blur, random_aug = f"{AUGMENT}.with_random_blur", f"{AUGMENT}.random_aug.enable"
    if source.is_on(random_aug):
        yield made_of(source, random_aug, "train_config.rand_augment.num_operations", "2")
        yield made_of(source, random_aug, "train_config.rand_augment.magnitude", "5")
    if source.is_on(blur):
        yield made_of(source, blur, "train_config.random_blur.max_radius", "1")
    if source.is_on(f"{AUGMENT}.random_erase.enable"):
        theirs = f"{AUGMENT}.random_erase.erase_probability"
        yield made_of(source, theirs, "train_config.random_erasing", source.text(theirs))
    if source.is_on(f"{AUGMENT}.mixup_cutmix"):
        theirs = f"{AUGMENT}.mixup_alpha"
        for name in ("mixup_alpha", "cutmix_alpha"):
            yield made_of(source, theirs, f"train_config.{name}", source.text(theirs))


def _copied(source: Source, block: str, ours: str, *names: str) -> Iterator[Made]:
    """Fields that have the same name and meaning here."""
    for name in names:
        yield made_of(source, f"{block}.{name}", f"{ours}.{name}", source.text(f"{block}.{name}"))


def _scales(source: Source, path: str) -> tuple[float, float]:
    """Least and largest factor by which pictures are enlarged before they are cut."""
    scales = source.numbers(path)
    if len(scales) != 2 or not 1 <= scales[0] <= scales[1]:
        raise source.wrong(path, "must be two numbers from 1 on, the smaller one first")
    return scales[0], scales[1]
