"""Two files of specs/automl for NVIDIA's search library: what a spec may hold there, and how a trial is run.

Made of the schema's fields, rules and comments. The library asks for them in these places and words; read in
nvidia_tao_automl and nvidia_tao_sdk 7.2.0.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FieldDescriptor

FOLDER = Path("automl")
# What is searched unless the user names fields: between their usual values.
SEARCHED = (
    "train_config.lr_config.cosine.learning_rate",
    "train_config.reg_config.weight_decay",
    "train_config.optimizer.sgd.momentum",
    "train_config.batch_size_per_gpu",
    "train_config.label_smoothing",
    "train_config.mixup_alpha",
    "train_config.random_erasing",
    "train_config.enable_random_crop",
    "train_config.enable_color_augmentation",
)

# What a trial is told beside its spec; the library writes both. It looks for the second by this name.
RESULTS, RESUME = "results_dir", "resume_training_checkpoint_path"

_SKILL = f"""# Made from proto/classification.proto by `make proto`.
name: tao-lite
network_arch: tao_lite
automl_enabled: true
actions:
  train:
    config_format: json
    outputs: [{RESULTS}]
    execution:
      type: python_script
      script: train.py
      args: ["{{config_path}}"]
"""


def documents() -> Iterator[tuple[Path, str]]:
    """Each file below specs with what it has to be."""
    yield FOLDER / "references" / "skill_info.yaml", _SKILL
    yield FOLDER / "schemas" / "train.schema.json", json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


def schema() -> dict[str, Any]:
    """JSON schema of a trial's spec, in the dialect of the library, with the spec to start from."""
    from google.protobuf import json_format

    from tao_lite.spec import load, starting
    from tao_lite.spec import schema as ours

    first = load.load_text(starting.TEXT, Path("spec.cfg")).written
    default = json_format.MessageToDict(first, preserving_proto_field_name=True)
    own = {
        RESULTS: {"type": "string", "description": "Results folder of the trial.", "default": ""},
        RESUME: {"type": "string", "description": "Checkpoint of a trial that is promoted.", "default": ""},
    }
    return {
        "title": "tao-lite train",
        "type": "object",
        "properties": {**own, **_properties(ours.EXPERIMENT, "", default)},
        "default": {**dict.fromkeys(own, ""), **default},
    }


def _properties(message: "Descriptor", path: str, default: Mapping[str, Any]) -> dict[str, Any]:
    from tao_lite.spec import schema as ours
    from tao_lite.spec.bind import join

    fields = ours.fields(message)
    # The dialect has no maps.
    return {
        name: _property(field, join(path, name), default.get(name))
        for name, field in fields.items()
        if not ours.is_map(field)
    }


def _property(field: "FieldDescriptor", path: str, default: Any) -> dict[str, Any]:
    from tao_lite.spec import reference
    from tao_lite.spec import schema as ours

    meaning = {"description": reference.meaning(field)}
    if field.is_repeated:
        return {"type": "array", **meaning}
    if block := ours.block_type(field):
        return {"type": "object", **meaning, "properties": _properties(block, path, default or {})}
    default = _default(field) if default is None else default
    searched = {"automl_enabled": True, **_searched(path)} if path in SEARCHED else {}
    return {**_kind(field), **meaning, **({} if default is None else {"default": default}), **searched}


def _searched(path: str) -> dict[str, Any]:
    from tao_lite.spec.searched import USUAL

    if path not in USUAL:
        return {}
    usual = USUAL[path]
    # The library draws evenly, where ours counts in factors.
    least = 0 if usual.is_log and usual.is_off_at_zero else usual.minimum
    return {"minimum": least, "maximum": usual.maximum, **({"math_cond": "^ 2"} if usual.is_power_of_two else {})}


def _kind(field: "FieldDescriptor") -> dict[str, Any]:
    """Type, choices and inclusive bounds."""
    from google.protobuf.descriptor import FieldDescriptor

    from tao_lite.spec import schema as ours

    rule = ours.rule(field)
    if field.enum_type:
        return {"type": "string", "enum": [value.name for value in field.enum_type.values]}
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return {"type": "string", **({"enum": list(rule.choices)} if rule.choices else {})}
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return {"type": "boolean"}
    is_real = field.cpp_type in (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE)
    bounds: dict[str, float] = {}
    if rule.HasField("min"):
        bounds["minimum"] = rule.min
    if rule.HasField("max"):
        bounds["maximum"] = rule.max
    if not is_real:
        bounds = {"minimum": 0, **{name: int(value) for name, value in bounds.items()}}
    return {"type": "number" if is_real else "integer", **bounds}


def _default(field: "FieldDescriptor") -> Any:
    """The default written beside the field, as JSON has it; None without one."""
    from tao_lite.spec import reference
    from tao_lite.spec import schema as ours

    if not field.has_default_value:
        return None
    if field.enum_type or isinstance(field.default_value, str):
        return reference.default_words(field)
    return ours.as_written(field.default_value) if isinstance(field.default_value, float) else field.default_value
