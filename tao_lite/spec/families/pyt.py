"""classification_pyt of TAO 6 and 7: rows and steps. Facts: its schema, schedules and augmentation as of 7.3.0."""

from tao_lite.spec.families import pyt_changes as changes
from tao_lite.spec.families import pyt_steps as steps
from tao_lite.spec.families import shared
from tao_lite.spec.families.marks import PYT
from tao_lite.spec.families.pyt_steps import AUGMENT, OPTIM, POLICY
from tao_lite.spec.families.table import Family, Row, elsewhere, lost, made, moved

_DATA = (
    made(
        "dataset.root_dir", "dataset_config.classmap_path", steps.classes, "the classes.txt in it, where there is one"
    ),
    made(
        "dataset.classes_file", "dataset_config.classmap_path", steps.classes, "in its own order, which is not sorted"
    ),
    moved("dataset.train_dataset.images_dir", "train_config.train_dataset_path"),
    moved("dataset.val_dataset.images_dir", "train_config.val_dataset_path", "evaluate reads it too"),
    elsewhere("dataset.test_dataset", "no field here: evaluate -i FOLDER, inference -d FOLDER"),
    elsewhere("dataset.quant_calibration_dataset", "no field here: a spec quantizes nothing"),
    lost("dataset.train_nolabel", "nothing is learnt from pictures without a class here"),
    moved("dataset.batch_size", "train_config.batch_size_per_gpu", default="8"),
    moved("dataset.workers", "train_config.n_workers"),
    made(
        "dataset.img_size",
        "model_config.input_image_size",
        steps.input_size,
        "a square of three channels",
        default="224",
    ),
    elsewhere("dataset.num_classes", "no field here: the classes are counted in the data"),
    elsewhere("dataset.dataset", "no field here: the layout is recognised"),
    elsewhere("dataset.shuffle", "no field here: training images are shuffled, as there whatever it says"),
)
_AUGMENTATION = (
    made(
        f"{AUGMENT}.random_flip.enable",
        "train_config.disable_horizontal_flip",
        changes.flips,
        "the opposite",
        default="true",
    ),
    *(
        made(f"{AUGMENT}.random_flip.{name}", f"train_config.{name}", changes.flips, default="0.5")
        for name in ("hflip_probability", "vflip_probability")
    ),
    made(f"{AUGMENT}.random_rotate.enable", "train_config.random_rotate", changes.turns, default="true"),
    made(
        f"{AUGMENT}.random_rotate.rotate_probability",
        "train_config.random_rotate.rotate_probability",
        changes.turns,
        default="0.5",
    ),
    made(
        f"{AUGMENT}.random_rotate.angle_list",
        "train_config.random_rotate.angle_list",
        changes.turns,
        "quarter turns only",
        default="90, 180, 270",
    ),
    made(f"{AUGMENT}.random_color.enable", "train_config.random_color", changes.colours, default="true"),
    *(
        made(f"{AUGMENT}.random_color.{name}", f"train_config.random_color.{name}", changes.colours, default=default)
        for name, default in (("brightness", "0.3"), ("contrast", "0.3"), ("saturation", "0.3"), ("hue", "0"))
    ),
    elsewhere(f"{AUGMENT}.random_color", "no field here, and no effect there"),
    made(f"{AUGMENT}.random_erase.enable", "train_config.random_erasing", changes.others, default="true"),
    made(f"{AUGMENT}.random_erase.erase_probability", "train_config.random_erasing", changes.others, default="0.2"),
    made(
        f"{AUGMENT}.random_aug.enable",
        "train_config.rand_augment",
        changes.others,
        "two operations of strength 5",
        default="true",
    ),
    made(f"{AUGMENT}.with_random_crop", "train_config.enable_random_crop, random_crop", changes.crops, default="true"),
    made(
        f"{AUGMENT}.with_scale_random_crop.enable",
        "train_config.enable_random_crop, random_crop",
        changes.crops,
        "one crop for the two",
        default="true",
    ),
    made(
        f"{AUGMENT}.with_scale_random_crop.scale_range",
        "train_config.random_crop.min_area, max_area",
        changes.crops,
        "1 / square",
        default="1, 1.2",
    ),
    made(f"{AUGMENT}.with_random_blur", "train_config.random_blur", changes.others, default="true"),
    made(
        f"{AUGMENT}.mixup_cutmix",
        "train_config.mixup_alpha, cutmix_alpha",
        changes.others,
        "each image gets one of the two",
    ),
    made(f"{AUGMENT}.mixup_alpha", "train_config.mixup_alpha, cutmix_alpha", changes.others, default="0.4"),
    made(
        f"{AUGMENT}.mean",
        "train_config.preprocess_mode",
        steps.pixels,
        "torch; tf where all are 0.5",
        default="0.485, 0.456, 0.406",
    ),
    made(f"{AUGMENT}.std", "train_config.preprocess_mode", steps.pixels, default="0.229, 0.224, 0.225"),
)
_TRAIN = (
    moved("train.num_epochs", "train_config.n_epochs", default="10"),
    made("train.seed", "train_config.random_seed", steps.run, default="1234"),
    made("train.precision", "train_config.precision", steps.run, default="fp32"),
    moved("train.clip_grad_norm", "train_config.max_grad_norm", default="2.0"),
    made("train.enable_ema", "train_config.ema_decay", steps.run),
    made("train.ema_decay", "train_config.ema_decay", steps.run, "where enable_ema is on", default="0.998"),
    made(
        "train.checkpoint_interval",
        "train_config.checkpoint.every_n_epochs",
        steps.run,
        "the best and the newest are kept, not all",
    ),
    Row(theirs="train.checkpoint_interval_unit", by=steps.run, words="epoch; step has no effect", default="epoch"),
    lost("train.validation_interval", "each epoch is validated", "1"),
    made(
        "train.checkpointer.monitor",
        "train_config.checkpoint.best_metric",
        steps.best,
        "val_acc_1: TOP1, val_loss: LOSS",
    ),
    elsewhere("train.checkpointer", "no field here: the best checkpoint is always kept"),
    elsewhere("train.resume_training_checkpoint_path", "no field here: the same command goes on where it stopped"),
    made("train.pretrained_model_path", "train_config.pretrained_model_path", steps.weights),
    elsewhere("train.num_nodes", "no field here: --nnodes N --rdzv_endpoint HOST:PORT", "1"),
    elsewhere("train.cudnn", "no field here: a run is repeatable but for the order of sums on a GPU"),
    elsewhere(
        "train.tensorboard", "no field here: visualizer says what TensorBoard shows; curves are always written", "true"
    ),
    made(f"{OPTIM}.optim", "train_config.optimizer", steps.optimizer, "a block of that name", default="adamw"),
    made(
        f"{OPTIM}.lr",
        "train_config.lr_config.*.learning_rate",
        steps.schedule,
        "times the number of processes here",
        default="6e-5",
    ),
    made(f"{OPTIM}.momentum", "train_config.optimizer.sgd.momentum", steps.optimizer, "sgd only", default="0.9"),
    made(
        f"{OPTIM}.betas",
        "train_config.optimizer.adamw.beta_1, beta_2",
        steps.optimizer,
        "adamw only",
        default="0.9, 0.999",
    ),
    made(
        f"{OPTIM}.weight_decay",
        "train_config.optimizer.adamw.weight_decay",
        steps.optimizer,
        "sgd and adam: reg_config L2; kernels only, not biases and norms",
        default="0.01",
    ),
    lost(f"{OPTIM}.skip_names", "biases and norms never decay here, all kernels do"),
    made(
        f"{OPTIM}.policy",
        "train_config.lr_config",
        steps.schedule,
        "linear; step and multistep: soft_anneal; cosine",
        default="linear",
    ),
    made(
        f"{POLICY}.step_size",
        "train_config.lr_config.soft_anneal.annealing_points",
        steps.schedule,
        "shares of the run",
        default="30",
    ),
    made(
        f"{POLICY}.milestones",
        "train_config.lr_config.soft_anneal.annealing_points",
        steps.schedule,
        "shares of the run",
        default="10, 20",
    ),
    made(
        f"{POLICY}.gamma",
        "train_config.lr_config.soft_anneal.annealing_divider",
        steps.schedule,
        "1 / gamma",
        default="0.1",
    ),
    made(
        f"{OPTIM}.warmup_epochs",
        "train_config.lr_config.cosine.soft_start",
        steps.schedule,
        "a share of the run; cosine only",
        default="0",
    ),
    elsewhere(f"{OPTIM}.monitor_name", "no field here, and no effect there"),
)
_MODEL = (
    made(
        "model.backbone.type",
        "model_config.arch",
        steps.network,
        "see the table of networks",
        default="fan_small_12_p4_hybrid",
    ),
    made(
        "model.backbone.pretrained_backbone_path",
        "train_config.pretrained_model_path",
        steps.weights,
        "train.pretrained_model_path before it",
    ),
    made("model.backbone.freeze_backbone", "train_config.linear_probe", steps.freezing, "without augmentation"),
    moved("model.backbone.freeze_norm", "model_config.freeze_bn"),
    made("model.head.topk", "eval_config.top_k", shared.top_k, "the largest", default="1"),
    moved("model.head.loss.label_smooth_val", "train_config.label_smoothing"),
    elsewhere("model.head", "no field here: the head is global pooling and one linear layer, the loss cross-entropy"),
)
_STAGES = (
    made("evaluate.checkpoint", "eval_config.model_path", shared.evaluated),
    made("inference.checkpoint", "eval_config.model_path", shared.evaluated, "where evaluate has none"),
    made("evaluate.batch_size", "eval_config.batch_size", steps.batch, "-1 is train_config's"),
    elsewhere("evaluate", "no field here: it is about screens or engines"),
    elsewhere("inference", "no field here: inference -d FOLDER -b N"),
    elsewhere("export.checkpoint", "no field here: export -m FILE, or the best checkpoint of -r"),
    elsewhere("export.onnx_file", "no field here: export -o FILE"),
    elsewhere("export.opset_version", "no field here: export --target_opset N"),
    elsewhere("export.batch_size", "no field here: export --static_batch_size N", "-1"),
    elsewhere(
        "export", "no field here: export takes size and channels from the checkpoint and compares its file with PyTorch"
    ),
    elsewhere("distill", "no field here: train_config.distillation learns from a checkpoint of ours"),
    elsewhere("quantize", "no field here: a spec quantizes nothing"),
)

_PROCESSES = made(
    shared.UNSCALED.theirs, "train_config.sync_batch_norm", steps.run, f"always on there; {shared.UNSCALED.words}"
)

FAMILY = Family(name=PYT, rows=(*_DATA, *_AUGMENTATION, *_TRAIN, *_MODEL, *_STAGES, *shared.AROUND, _PROCESSES))
