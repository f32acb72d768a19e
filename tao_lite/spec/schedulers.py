"""The old spellings of train_config.lr_config: a scheduler by name with its settings beside it, and stray settings."""

import re
from collections.abc import Iterator

from tao_lite.spec import schema
from tao_lite.spec.findings import Finding, note
from tao_lite.spec.text.syntax import Field, Scalar
from tao_lite.spec.text.tree import Block, drop, find, index_of, scalar_text
from tao_lite.spec.values import shown

_PATH = "train_config.lr_config"
# Name of a scheduler -> names of its settings.
_SETTINGS = {
    name: set(schema.fields(field.message_type))
    for name, field in schema.fields(schema.message("LRConfig")).items()
    if field.message_type
}
_ALL_SETTINGS = set().union(*_SETTINGS.values())
# Their settings never stood alone.
_OURS = ("exponential",)
_OTHER_NAMES = {"softanneal": "soft_anneal", "soft_annealing": "soft_anneal", "cosine_annealing": "cosine"}


def convert_schedule(train: Block) -> Iterator[Finding]:
    """Put the settings that stand outside a scheduler's block into it; notes of what was done."""
    for config in find(train, "lr_config"):
        yield from _name_scheduler(config)
        chosen = next((one for one in find(config) if one.name in _SETTINGS and isinstance(one.value, list)), None)
        if chosen is None:
            yield from _guess_scheduler(config)
        else:
            yield from _take_in(config, chosen, config, _PATH)
            yield from _take_in(config, chosen, train, "train_config")


def _name_scheduler(config: Block) -> Iterator[Finding]:
    """`scheduler: "step"` with its settings beside it, as in TLT 1 and 2."""
    for word in find(config, "scheduler"):
        text = re.sub(r"[\s-]+", "_", scalar_text(word).strip()).lower()
        name = _OTHER_NAMES.get(text, text)
        blocks = [one.name for one in find(config) if one.name in _SETTINGS]
        if name in blocks:
            drop(config, word)
            yield note(word.place, f"{_PATH}.scheduler", f"scheduler -> dropped; the block {name} says it")
        elif name in _SETTINGS and not blocks:
            yield from _fill(config, word, name)
        elif not blocks and re.fullmatch(r"[a-z_]\w*", text, re.ASCII):
            # So the refusal names the user's own word, and a near one.
            word.name = text


def _fill(config: Block, word: Field, name: str) -> Iterator[Finding]:
    """Make the word the block of that scheduler, and put its settings into it."""
    assert isinstance(word.value, Scalar)
    settings = [one for one in find(config) if one.name in _ALL_SETTINGS]
    own = [one for one in settings if one.name in _SETTINGS[name]]
    for one in settings:
        _detach(config, one)
    written = " ".join(f"{setting}: ..." for setting in dict.fromkeys(one.name for one in own))
    words = f"scheduler: {shown(word.value)} -> {name} {{ {written} }}"
    word.name, word.value = name, own
    yield note(word.value_place, f"{_PATH}.scheduler", words)
    for one in settings:
        if one.name not in _SETTINGS[name]:
            word.closing += [comment for comment in (*one.comments, one.comment) if comment]
            yield note(one.place, f"{_PATH}.{one.name}", f"{one.name} -> dropped; {name} does not read it")


def _guess_scheduler(config: Block) -> Iterator[Finding]:
    """The one scheduler that has all these settings, where its name is missing."""
    settings = [one for one in find(config) if one.name in _ALL_SETTINGS]
    names = {one.name for one in settings}
    fitting = [name for name, own in _SETTINGS.items() if names and names <= own and name not in _OURS]
    if len(fitting) != 1 or len(settings) != len(list(find(config))) or not isinstance(config.value, list):
        return
    first = settings[0]
    config.value[:] = [Field(fitting[0], settings, first.place, first.place)]
    yield note(first.place, _PATH, f"{', '.join(sorted(names))} -> {fitting[0]} {{ ... }}; only it has all of these")


def _take_in(config: Block, chosen: Block, outside: Block, path: str) -> Iterator[Finding]:
    """Settings of the chosen scheduler that stand outside its block."""
    assert isinstance(chosen.value, list)
    for one in find(outside):
        if one.name not in _SETTINGS[chosen.name] or not isinstance(one.value, Scalar):
            continue
        inner = next(find(chosen, one.name), None)
        home = f"lr_config.{chosen.name}.{one.name}"
        if inner is None:
            _detach(outside, one)
            chosen.value.append(one)
            yield note(one.place, f"{path}.{one.name}", f"{one.name} -> {home}")
        else:
            drop(outside, one)
            text = f"{one.name} -> dropped; {home} counts, on line {inner.place.line}"
            yield note(one.place, f"{path}.{one.name}", text)


def _detach(block: Block, one: Field) -> None:
    """Take the field out with its comments."""
    assert isinstance(block.value, list)
    del block.value[index_of(one, block.value)]
