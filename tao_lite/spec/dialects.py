"""Old spellings (TLT 1.0 to TAO 4, and other people's) rewritten on the parsed tree in those of the schema.

A conversion happens only where the old spelling is met and its meaning is certain; what is left is refused by `bind`
or a rule, at the user's own line. New blocks are made of the user's own fields, so places and comments go with them.
Source of the old schemas: NVIDIA's user guides of TLT 2.0, TLT 3.0, TAO 3.22.05 and TAO 4.0.
"""

import re
from collections.abc import Iterator

from google.protobuf.descriptor import Descriptor

from tao_lite.spec import schema, values
from tao_lite.spec.bind import join
from tao_lite.spec.findings import Finding, Place, note
from tao_lite.spec.schedulers import convert_schedule
from tao_lite.spec.search_names import convert_search
from tao_lite.spec.text.syntax import Field, Scalar
from tao_lite.spec.text.tree import Block, drop, find, scalar_text
from tao_lite.spec.values import shown

# The names that TAO 5 knows.
ARCHITECTURES = (
    *("resnet", "vgg", "alexnet", "googlenet", "mobilenet_v1", "mobilenet_v2", "squeezenet", "darknet"),
    *(f"efficientnet_b{size}" for size in range(8)),
    *("cspdarknet", "cspdarknet_tiny"),
)

_BLOCKS = {"training_config": "train_config", "evaluation_config": "eval_config"}
# What a bare name stood for.
_OPTIMIZERS = {
    "sgd": {"momentum": "0.9"},
    "adam": {"beta_1": "0.9", "beta_2": "0.999", "epsilon": "1e-8"},
    "rmsprop": {"rho": "0.9", "epsilon": "1e-7"},
    "adamw": {},
}
_SCOPES = {"conv2d": "Conv2D", "dense": "Dense"}
_NOTHING = ("none", "null", "nil")


def convert(tree: list[Field]) -> list[Finding]:
    """Rewrite the tree in place; a note for each conversion: the user's own place, the field, old -> new."""
    root = Field("", tree, Place(1, 1), Place(1, 1))
    notes = [*_named_blocks(root), *_merged(root, schema.EXPERIMENT, "")]
    for model in find(root, "model_config"):
        notes += [*_model(model)]
    for train in find(root, "train_config"):
        notes += [*_optimizer(train), *convert_schedule(train), *_penalty(train), *_image_mean(train)]
    for evaluation in find(root, "eval_config"):
        notes += [*_evaluation(evaluation)]
    for search in find(root, "tune_config"):
        notes += [*convert_search(search)]
    notes += [*_unset_paths(root), *values.convert(tree, schema.EXPERIMENT), *_merged(root, schema.EXPERIMENT, "")]
    return sorted(notes, key=lambda note: note.place)


def _named_blocks(root: Block) -> Iterator[Finding]:
    """Blocks by the names that other TAO tasks give them."""
    names = {one.name for one in find(root)}
    for one in find(root):
        new = _BLOCKS.get(one.name, "")
        if new and new not in names:
            yield note(one.place, one.name, f"{one.name} -> {new}")
            one.name = new


def _merged(block: Block, message: Descriptor, path: str) -> Iterator[Finding]:
    """What stands twice, made one: blocks that are given in parts, values that are the same."""
    known = schema.fields(message)
    first: dict[str, Field] = {}
    for one in list(block.value) if isinstance(block.value, list) else []:
        if one.name not in known or known[one.name].is_repeated:
            continue
        before = first.setdefault(one.name, one)
        one_path = join(path, one.name)
        if before is one or before.place == one.place:  # items of one list share their place
            continue
        if isinstance(before.value, list) and isinstance(one.value, list):
            drop(block, one, [*one.comments, one.opening, *one.closing, one.comment])
            before.value += one.value
            yield note(one.place, one_path, f"second block -> added to the first, on line {before.place.line}")
        elif before.value == one.value:
            drop(block, one)
            yield note(one.place, one_path, f"the same again -> dropped; line {before.place.line} counts")
    for name, one in first.items():
        inner = schema.block_type(known[name])
        if inner and isinstance(one.value, list):
            yield from _merged(one, inner, join(path, name))


def _model(model: Block) -> Iterator[Finding]:
    path = "model_config"
    for one in find(model, "use_imagenet_head"):
        old = f"{path}.use_imagenet_head"
        if any(find(model, "retain_head")):
            drop(model, one)
            yield note(one.place, old, "use_imagenet_head -> dropped; retain_head, its name since TAO 4, counts")
        else:
            one.name = "retain_head"
            yield note(one.place, old, "use_imagenet_head -> retain_head, its name since TAO 4")
    for one in find(model, "arch"):
        text = scalar_text(one)
        plain = re.sub(r"[\s-]+", "_", text.strip()).lower()
        if plain != text and plain in (*ARCHITECTURES, "byom"):
            yield _replaced(one, f"{path}.arch", plain)
    yield from _input_size(model)


def _input_size(model: Block) -> Iterator[Finding]:
    """`[3, 224, 224]`, with or without quotes, and other separators than the comma."""
    path, sizes = "model_config.input_image_size", list(find(model, "input_image_size"))
    texts = [scalar_text(one) for one in sizes]
    if len(sizes) == 3 and len({one.place for one in sizes}) == 1 and all(text.isdecimal() for text in texts):
        for one in sizes[1:]:
            drop(model, one)
        sizes[0].value = Scalar(",".join(texts), "string")
        yield note(sizes[0].value_place, path, f'[{", ".join(texts)}] -> "{",".join(texts)}"')
    elif len(sizes) == 1:
        numbers = re.fullmatch(r"\W*(\d+)\s*[\s,;x*]\s*(\d+)\s*[\s,;x*]\s*(\d+)\W*", texts[0], re.IGNORECASE)
        if numbers and not re.fullmatch(r" *\d+ *, *\d+ *, *\d+ *", texts[0]):
            yield _replaced(sizes[0], path, ",".join(numbers.groups()))


def _optimizer(train: Block) -> Iterator[Finding]:
    """`optimizer: "sgd"`, as in TLT 1 and 2, and the rate of a block by its long name."""
    path = "train_config.optimizer"
    for one in find(train, "optimizer"):
        name, place = scalar_text(one).strip().lower(), one.value_place
        if name in _OPTIMIZERS:
            old, settings = shown(_scalar(one)), _OPTIMIZERS[name].items()
            inner = [Field(setting, Scalar(value, "number"), place, place) for setting, value in settings]
            one.value = [Field(name, inner, place, place)]
            words = " ".join(["{", *(f"{setting}: {value}" for setting, value in settings), "}"])
            yield note(place, path, f"optimizer: {old} -> optimizer {{ {name} {words} }}")
        for chosen in find(one):
            for rate in find(chosen, "learning_rate"):
                if chosen.name in _OPTIMIZERS and not any(find(chosen, "lr")):
                    rate.name = "lr"
                    yield note(rate.place, f"{path}.{chosen.name}.learning_rate", "learning_rate -> lr")


def _penalty(train: Block) -> Iterator[Finding]:
    """Words in reg_config.scope that are unknown, which TAO drops in silence, or not divided by commas.

    A blank beside a comma stays: it says which words TAO's code reads.
    """
    path = "train_config.reg_config.scope"
    for config in find(train, "reg_config"):
        for one in find(config, "scope"):
            text = scalar_text(one)
            parts = text.split(",") if _is_scope(text.split(",")) else re.split(r"[\s,;|]+", text)
            kept = [part for part in parts if part.strip().lower() in _SCOPES]
            unknown = [part.strip() for part in parts if part not in kept and part.strip()]
            new = ",".join(kept)
            if kept and unknown:
                yield _replaced(one, path, new, f"; {', '.join(unknown)} is unknown, known are Conv2D and Dense")
            elif kept and new != text:
                yield _replaced(one, path, new)


def _is_scope(parts: list[str]) -> bool:
    """Whether these are single words, blanks beside them allowed."""
    return all(len(part.split()) <= 1 and not re.search("[;|]", part) for part in parts)


def _image_mean(train: Block) -> Iterator[Finding]:
    for entry in find(train, "image_mean"):
        for key in find(entry, "key"):
            text = scalar_text(key)
            if text in ("R", "G", "B", "L"):
                yield _replaced(key, "train_config.image_mean", text.lower())


def _evaluation(evaluation: Block) -> Iterator[Finding]:
    for one in find(evaluation, "conf_threshold"):
        drop(evaluation, one)
        text = "conf_threshold -> dropped; TAO has no such field since 3.0, every image counts"
        yield note(one.place, "eval_config.conf_threshold", text)


def _unset_paths(root: Block) -> Iterator[Finding]:
    """`None` where a path may be left out."""
    for block in find(root):
        for one in find(block):
            if one.name.endswith("_path") and scalar_text(one).strip().lower() in _NOTHING:
                drop(block, one)
                yield note(one.value_place, f"{block.name}.{one.name}", f"{shown(_scalar(one))} -> unset")


def _replaced(one: Field, path: str, new: str, why: str = "") -> Finding:
    """Give the field a new string; the note of it."""
    old = _scalar(one)
    one.value = Scalar(new, "raw" if old.kind == "raw" else "string")
    return note(one.value_place, path, f'{shown(old)} -> "{new}"{why}')


def _scalar(one: Field) -> Scalar:
    assert isinstance(one.value, Scalar)
    return one.value
