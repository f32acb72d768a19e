"""The schema by which tao-deploy 7.3.0 reads a spec, as TAO.md (1.1 to 1.5) and TAO_TODAY.md (1, 1.1) tell of it.

Written down from those facts, since NVIDIA's own is proprietary: proto3, numbers, names and types.
"""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.message import Message

MESSAGES = {
    "Experiment": "1 EvalConfig eval_config, 2 ModelConfig model_config, 3 TrainConfig train_config",
    "ModelConfig": (
        "1 string arch, 2 string input_image_size, 3 uint32 n_layers, 4 bool retain_head, 5 bool use_batch_norm, "
        "6 bool use_bias, 7 bool use_pooling, 8 bool all_projections, 9 bool freeze_bn, 10 *uint32 freeze_blocks, "
        "11 float dropout, 12 InterpolationMethod resize_interpolation_method, 13 BatchNormConfig batch_norm_config, "
        "14 Activation activation, 15 string byom_model"
    ),
    "BatchNormConfig": "1 float momentum, 2 float epsilon",
    "Activation": "1 string activation_type, 2 map activation_parameters",
    "TrainConfig": (
        "1 string train_dataset_path, 2 string val_dataset_path, 3 string pretrained_model_path, "
        "4 OptimizerConfig optimizer, 5 uint32 batch_size_per_gpu, 6 uint32 n_epochs, 7 uint32 n_workers, "
        "8 RegConfig reg_config, 9 LRConfig lr_config, 10 uint32 random_seed, 11 bool enable_random_crop, "
        "12 float label_smoothing, 13 string preprocess_mode, 14 bool enable_center_crop, "
        "15 bool enable_color_augmentation, 16 float mixup_alpha, 17 *float model_parallelism, 18 map image_mean, "
        "19 bool disable_horizontal_flip, 20 VisualizerConfig visualizer"
    ),
    "VisualizerConfig": "1 bool enabled, 2 uint32 num_images, 3 bool weight_histograms",
    "EvalConfig": (
        "1 uint32 top_k, 2 string eval_dataset_path, 3 string model_path, 4 uint32 batch_size, 5 uint32 n_workers, "
        "6 bool enable_center_crop"
    ),
    "LRConfig": "1 |StepLrConfig step, 2 |SoftAnnealLrConfig soft_anneal, 3 |CosineLrConfig cosine",
    "StepLrConfig": "1 float learning_rate, 2 uint32 step_size, 3 float gamma",
    "SoftAnnealLrConfig": (
        "1 float learning_rate, 2 float soft_start, 3 float annealing_divider, 7 *float annealing_points"
    ),
    "CosineLrConfig": "1 float learning_rate, 2 float min_lr_ratio, 3 float soft_start",
    "OptimizerConfig": "1 |SgdOptimizerConfig sgd, 2 |AdamOptimizerConfig adam, 3 |RmspropOptimizerConfig rmsprop",
    "SgdOptimizerConfig": "1 float lr, 2 float decay, 3 float momentum, 4 bool nesterov",
    "AdamOptimizerConfig": "1 float lr, 2 float beta_1, 3 float beta_2, 4 float epsilon, 5 float decay",
    "RmspropOptimizerConfig": "1 float lr, 2 float rho, 3 float epsilon, 4 float decay",
    "RegConfig": "1 string type, 2 string scope, 3 float weight_decay",
}
"""Number, type and name of each field; * is repeated, | a member of the oneof, map one from text to float."""
INTERPOLATIONS = ("BILINEAR", "BICUBIC")

_TYPES = descriptor_pb2.FieldDescriptorProto.Type
_LABELS = descriptor_pb2.FieldDescriptorProto.Label


def read(text: str) -> Message:
    """The message that tao-deploy makes of a spec.

    Raises:
        ParseError: it refuses it.
    """
    return text_format.Parse(text, message_factory.GetMessageClass(_POOL.FindMessageTypeByName("tao.Experiment"))())


def fields(name: str) -> dict[str, tuple[int, str]]:
    """Number and type of each field of a message, by name."""
    found = (one.split() for one in MESSAGES[name].split(","))
    return {field: (int(number), kind.lstrip("*|")) for number, kind, field in found}


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="tao.proto", package="tao", syntax="proto3")
    interpolation = file.enum_type.add(name="InterpolationMethod")
    for position, value in enumerate(INTERPOLATIONS):
        interpolation.value.add(name=value, number=position)
    for name, text in MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, kind, field in (one.split() for one in text.split(",")):
            _add(message, int(number), kind, field)
    return file


def _add(message: descriptor_pb2.DescriptorProto, number: int, kind: str, name: str) -> None:
    made = message.field.add(name=name, number=number, label=_LABELS.LABEL_OPTIONAL)
    if kind.startswith("|"):
        if not message.oneof_decl:
            message.oneof_decl.add(name="choice")
        made.oneof_index = 0
    if kind.startswith("*") or kind == "map":
        made.label = _LABELS.LABEL_REPEATED
    kind = kind.lstrip("*|")
    if kind == "map":
        entry = message.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
        entry.options.map_entry = True
        _add(entry, 1, "string", "key")
        _add(entry, 2, "float", "value")
        made.type, made.type_name = _TYPES.TYPE_MESSAGE, f".tao.{message.name}.{entry.name}"
    elif kind in ("string", "uint32", "float", "bool"):
        made.type = _TYPES.Value(f"TYPE_{kind.upper()}")
    else:
        made.type = _TYPES.TYPE_MESSAGE if kind in MESSAGES else _TYPES.TYPE_ENUM
        made.type_name = f".tao.{kind}"


_POOL = descriptor_pool.DescriptorPool()
_POOL.Add(_file())
