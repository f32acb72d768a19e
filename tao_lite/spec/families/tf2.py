"""classification_tf2, in its three forms: rows and steps.

Source of names and defaults: NVIDIA's user guides of TAO 3.22.05 to 6.0, and its public source of 2023.
"""

from tao_lite.spec.families import shared
from tao_lite.spec.families import tf2_steps as steps
from tao_lite.spec.families.marks import TF2
from tao_lite.spec.families.table import Family, Row, elsewhere, lost, made, moved
from tao_lite.spec.families.tf2_steps import CHANNELS, DEPTH, MEAN, OPTIM, PENALTY, RATE

_DATA = (
    moved("dataset.train_dataset_path", "train_config.train_dataset_path"),
    moved("dataset.val_dataset_path", "train_config.val_dataset_path"),
    moved("dataset.preprocess_mode", "train_config.preprocess_mode", default="caffe"),
    made(
        MEAN,
        "train_config.image_mean",
        steps.pixels,
        "blue, green, red, or one number for grey; divided by 257 for 16 bits",
    ),
    elsewhere("dataset.num_classes", "no field here: the classes are counted in the data"),
    moved("dataset.augmentation.enable_random_crop", "train_config.enable_random_crop", default="true"),
    moved("dataset.augmentation.enable_center_crop", "train_config.enable_center_crop", default="true"),
    moved("dataset.augmentation.enable_color_augmentation", "train_config.enable_color_augmentation"),
    moved("dataset.augmentation.disable_horizontal_flip", "train_config.disable_horizontal_flip"),
    moved("dataset.augmentation.mixup_alpha", "train_config.mixup_alpha"),
)
_TRAIN = (
    moved("train.checkpoint", "train_config.pretrained_model_path"),
    moved("train.batch_size_per_gpu", "train_config.batch_size_per_gpu", default="64"),
    moved("train.num_epochs", "train_config.n_epochs", default="100"),
    moved("train.n_workers", "train_config.n_workers"),
    moved("train.random_seed", "train_config.random_seed", default="42"),
    moved("train.label_smoothing", "train_config.label_smoothing", default="0.01"),
    moved("train.checkpoint_interval", "train_config.checkpoint.every_n_epochs"),
    moved("init_epoch", "train_config.checkpoint.init_epoch"),
    moved("train.init_epoch", "train_config.checkpoint.init_epoch"),
    lost("train.qat", "there is no quantization-aware training here"),
    made(f"{OPTIM}.optimizer", "train_config.optimizer", steps.optimizer, "a block of that name", default="sgd"),
    *(
        made(f"{OPTIM}.{name}", f"train_config.optimizer.*.{name}", steps.optimizer, default=value)
        for name, value in (
            *(("decay", "0.0001"), ("epsilon", "0.0001"), ("rho", "0.5"), ("beta_1", "0.99"), ("beta_2", "0.99")),
            *(("momentum", "0.99"), ("nesterov", "true")),
        )
    ),
    elsewhere(f"{OPTIM}.lr", "no field here: lr_config sets the learning rate, there too"),
    made(f"{RATE}.scheduler", "train_config.lr_config", steps.schedule, "a block of that name", default="cosine"),
    *(
        made(f"{RATE}.{name}", f"train_config.lr_config.*.{name}", steps.schedule, default=value)
        for name, value in (
            *(("learning_rate", "0.05"), ("soft_start", "0.05"), ("min_lr_ratio", "0.00003"), ("gamma", "0.000015")),
            *(("step_size", "10"), ("annealing_points", "0.33, 0.66, 0.88"), ("annealing_divider", "10")),
        )
    ),
    made(f"{PENALTY}.type", "train_config.reg_config.type", steps.penalty, default="L2"),
    made(f"{PENALTY}.scope", "train_config.reg_config.scope", steps.penalty, "a string", default="conv2d, dense"),
    made(f"{PENALTY}.weight_decay", "train_config.reg_config.weight_decay", steps.penalty, default="0.000015"),
    moved("train.bn_config.momentum", "model_config.batch_norm_config.momentum"),
    moved("train.bn_config.epsilon", "model_config.batch_norm_config.epsilon"),
    *shared.tracked("train.wandb", "train.clearml"),
)
_MODEL = (
    made(
        "model.backbone", "model_config.arch", steps.network, "efficientnet-b0 is efficientnet_b0", default="resnet_18"
    ),
    made("model.n_layers", "model_config.n_layers", steps.network, "or the number in backbone"),
    made("model.input_image_size", "model_config.input_image_size", steps.input_size, "a string"),
    made(CHANNELS, "model_config.input_image_size", steps.input_size, "1 where unset and 16 bits deep", default="3"),
    made("model.input_height", "model_config.input_image_size", steps.input_size, default="224"),
    made("model.input_width", "model_config.input_image_size", steps.input_size, default="224"),
    Row(theirs=DEPTH, by=steps.pixels, words="no field here: each file's own depth is read", default="8"),
    moved("model.resize_interpolation_method", "model_config.resize_interpolation_method"),
    made("model.use_batch_norm", "model_config.use_batch_norm", steps.network, default="true"),
    made("model.use_pooling", "model_config.use_pooling", steps.network, default="true"),
    *(
        moved(f"model.{name}", f"model_config.{name}")
        for name in (
            "use_bias",
            "all_projections",
            "freeze_bn",
            "freeze_blocks",
            "retain_head",
            "dropout",
            "byom_model",
        )
    ),
    moved("model.activation_type", "model_config.activation.activation_type"),
    elsewhere("model.num_classes", "no field here: the classes are counted in the data"),
)
_STAGES = (
    moved("evaluate.dataset_path", "eval_config.eval_dataset_path"),
    made("evaluate.checkpoint", "eval_config.model_path", shared.evaluated),
    made("inference.checkpoint", "eval_config.model_path", shared.evaluated, "where evaluate has none"),
    moved("evaluate.top_k", "eval_config.top_k", default="3"),
    moved("evaluate.batch_size", "eval_config.batch_size", default="64"),
    moved("evaluate.n_workers", "eval_config.n_workers"),
    elsewhere("evaluate.classmap", "no field here: a checkpoint knows its classes"),
    elsewhere("inference.image_dir", "no field here: inference -d FOLDER"),
    elsewhere("inference.classmap", "no field here: a checkpoint knows its classes"),
    moved("prune.checkpoint", "prune_config.model_path"),
    moved("prune.output_path", "prune_config.output_path"),
    moved("prune.threshold", "prune_config.pruning_threshold"),
    moved("prune.normalizer", "prune_config.normalizer"),
    moved("prune.equalization_criterion", "prune_config.equalization_criterion"),
    moved("prune.granularity", "prune_config.pruning_granularity"),
    moved("prune.min_num_filters", "prune_config.min_num_filters"),
    moved("prune.excluded_layers", "prune_config.excluded_layers"),
    lost("prune.byom_model_path", "NVIDIA encrypts own-model files, so only TAO can read them"),
    elsewhere("export.checkpoint", "no field here: export -m FILE, or the best checkpoint of -r"),
    elsewhere("export.onnx_file", "no field here: export -o FILE"),
    elsewhere("export.data_type", "no field here: TensorRT chooses when it builds an engine from the ONNX file"),
    elsewhere("export", "no field here: it is about a TensorRT engine, which is built from the exported ONNX file"),
)

FAMILY = Family(
    name=TF2,
    rows=(
        *_DATA,
        *_TRAIN,
        *_MODEL,
        *_STAGES,
        *shared.AROUND,
        elsewhere("data_format", "no field here: chosen by itself"),
    ),
    renamed={
        "train_config": "train",
        "model_config": "model",
        "eval_config": "evaluate",
        "eval": "evaluate",
        "augment": "dataset.augmentation",
        "data": "dataset",
        "key": "encryption_key",
        "train.n_epochs": "train.num_epochs",
        "train.pretrained_model_path": "train.checkpoint",
        **{
            f"train.{name}": f"dataset.{name}"
            for name in ("train_dataset_path", "val_dataset_path", "preprocess_mode", "image_mean")
        },
        **{
            f"train.{name}": f"dataset.augmentation.{name}"
            for name in (
                *("enable_random_crop", "enable_center_crop", "enable_color_augmentation"),
                *("disable_horizontal_flip", "mixup_alpha"),
            )
        },
        "evaluate.eval_dataset_path": "evaluate.dataset_path",
        **{f"{stage}.model_path": f"{stage}.checkpoint" for stage in ("evaluate", "inference", "prune", "export")},
        "model.arch": "model.backbone",
        "prune.pruning_threshold": "prune.threshold",
        "prune.pruning_granularity": "prune.granularity",
        "export.output_path": "export.onnx_file",
        "export.dtype": "export.data_type",
    },
    takes_ours=True,
)
