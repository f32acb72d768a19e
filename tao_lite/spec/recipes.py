"""Named sets of settings of a training, for what a spec leaves out; tests/bench/time_to_accuracy.py measures them."""

from collections.abc import Iterator

from google.protobuf.descriptor import Descriptor

from tao_lite.spec import schema
from tao_lite.spec.bind import join
from tao_lite.spec.text import syntax
from tao_lite.spec.text.syntax import Field, Scalar

FINE_TUNE = "FINE_TUNE"
_MOST_DIGITS = 10

# Batches this small have means and variances of their own, which few steps don't make good: batch norm keeps its own.
_FROM_WEIGHTS = """
        n_epochs: 6 batch_size_per_gpu: 16
        optimizer { sgd { momentum: 0.9 nesterov: true } }
        reg_config { type: "L2" scope: "Conv2D,Dense" weight_decay: 1e-4 }
"""
_TEXTS = {
    # Of NVIDIA's tutorial.
    "TAO": """train_config {
        n_epochs: 80 batch_size_per_gpu: 64 enable_random_crop: true
        optimizer { sgd { momentum: 0.9 } }
        reg_config { type: "L2" scope: "Conv2D,Dense" weight_decay: 5e-5 }
        lr_config { step { learning_rate: 0.006 step_size: 10 gamma: 0.1 } }
    }""",
    # Of specs/classification_spec.cfg, but for the epochs.
    "FROM_SCRATCH": """train_config {
        n_epochs: 80 batch_size_per_gpu: 64
        optimizer { sgd { momentum: 0.9 } }
        reg_config { type: "L2" scope: "Conv2D,Dense" weight_decay: 5e-4 }
        lr_config { cosine { learning_rate: 0.03 soft_start: 0.1 } }
    }""",
    FINE_TUNE: f"""model_config {{ freeze_bn: true }} train_config {{
        {_FROM_WEIGHTS} layer_decay: 0.8 lr_config {{ cosine {{ learning_rate: 0.003 }} }}
    }}""",
    "LAST_BLOCK": f"""model_config {{ trained_blocks: 1 freeze_bn: true }} train_config {{
        {_FROM_WEIGHTS} lr_config {{ cosine {{ learning_rate: 0.01 }} }}
    }}""",
}


def complete(tree: list[Field]) -> frozenset[str]:
    """Add the fields of the spec's recipe that it leaves out, in the place of the recipe's name; their paths.

    A field that the spec has keeps its value, and of several that exclude each other the one that the spec has. A name
    that is none is left for `bind` to refuse.
    """
    train = _block(tree, "train_config")
    found = _field(train, "recipe")
    name = found.value.text if found and isinstance(found.value, Scalar) else ""
    if not found or name not in _TEXTS:
        return frozenset()
    more = syntax.parse(_TEXTS[name])
    model = _block(tree, "model_config")
    if name == FINE_TUNE and not (_field(model, "freeze_blocks") or _field(model, "trained_blocks")):
        theirs = _block(more, "train_config")
        theirs += syntax.parse(f"linear_probe: true unfreeze_at_epoch: {_num_epochs(train, theirs) // 2 + 1}")
    for one in syntax.walk(more):
        one.place = one.value_place = found.value_place
    return frozenset(_merge(tree, more, schema.EXPERIMENT, ""))


def _merge(own: list[Field], more: list[Field], block: Descriptor, path: str) -> Iterator[str]:
    """Add what is missing; the paths of it."""
    known = schema.fields(block)
    for one in more:
        group, inner = known[one.name].containing_oneof, schema.block_type(known[one.name])
        rivals = [field.name for field in group.fields] if group else [one.name]
        given = next((field for field in own if field.name in rivals), None)
        one_path = join(path, one.name)
        if given is None:
            given = Field(one.name, [] if inner else one.value, one.place, one.value_place)
            own.append(given)
            yield one_path
        if inner and given.name == one.name and isinstance(given.value, list) and isinstance(one.value, list):
            yield from _merge(given.value, one.value, inner, one_path)


def _num_epochs(*trees: list[Field]) -> int:
    """Of the first tree that says it in whole numbers; `bind` refuses others."""
    found = (_field(tree, "n_epochs") for tree in trees)
    texts = (one.value.text for one in found if one and isinstance(one.value, Scalar))
    return next(int(text) for text in texts if text.isdecimal() and len(text) < _MOST_DIGITS)


def _block(fields: list[Field], name: str) -> list[Field]:
    """The content of the block, empty where there is none."""
    found = _field(fields, name)
    return found.value if found and isinstance(found.value, list) else []


def _field(fields: list[Field], name: str) -> Field | None:
    return next((field for field in fields if field.name == name), None)
