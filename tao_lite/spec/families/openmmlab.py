"""classification_pyt of TAO 4 and 5, in OpenMMLab's words: rows and steps.

Source: NVIDIA's user guides of TAO 4.0 to 5.3, and OpenMMLab's MMPretrain, whose words they are.
"""

from tao_lite.spec.families import openmmlab_steps as steps
from tao_lite.spec.families import shared
from tao_lite.spec.families.marks import OPENMMLAB
from tao_lite.spec.families.openmmlab_steps import CLIP, DATA, HOOKS, LENGTH, OPTIM, PIPELINE, RATE, TRAIN
from tao_lite.spec.families.table import Family, elsewhere, lost, made, moved

_ROWS = (
    moved(f"{DATA}.samples_per_gpu", "train_config.batch_size_per_gpu", default="1"),
    moved(f"{DATA}.workers_per_gpu", "train_config.n_workers"),
    moved(f"{DATA}.train.data_prefix", "train_config.train_dataset_path"),
    moved(f"{DATA}.val.data_prefix", "train_config.val_dataset_path"),
    moved(f"{DATA}.test.data_prefix", "eval_config.eval_dataset_path"),
    made(f"{DATA}.train.classes", "dataset_config.classmap_path", steps.classes, "in the file's order"),
    *(elsewhere(f"{DATA}.{split}.classes", "no field here: the training's classes count") for split in ("val", "test")),
    *(lost(f"{DATA}.{split}.ann_file", "classes are told by folders") for split in ("train", "val", "test")),
    made(
        PIPELINE,
        "train_config.enable_random_crop, random_crop, hflip_probability, random_color, ...",
        steps.pipeline,
        "RandomResizedCrop, RandomFlip, ColorJitter, RandomErasing, RandAugment; its size is input_image_size",
    ),
    *(
        elsewhere(f"{DATA}.{split}.pipeline", "no field here: squeezed to the network's size")
        for split in ("val", "test")
    ),
    elsewhere(DATA, "no field here: the layout is recognised"),
    elsewhere("dataset.img_norm_cfg", "no field here: preprocess_mode is torch, with ImageNet's mean and deviation"),
    elsewhere("dataset.sampler", "no field here: every image once an epoch"),
    elsewhere("dataset.pipeline", "no field here: that of dataset.data.train counts"),
    moved("train.exp_config.manual_seed", "train_config.random_seed"),
    elsewhere("train.exp_config", "no field here: --nnodes N --rdzv_endpoint HOST:PORT"),
    moved(LENGTH, "train_config.n_epochs", default="20"),
    elsewhere(f"{TRAIN}.runner", "no field here: there is one loop, of epochs"),
    moved(f"{TRAIN}.checkpoint_config.interval", "train_config.checkpoint.every_n_epochs"),
    elsewhere(f"{TRAIN}.checkpoint_config", "no field here: the best and the newest are kept"),
    lost(f"{TRAIN}.evaluation.interval", "each epoch is validated", "1"),
    elsewhere(f"{TRAIN}.evaluation", "no field here: each epoch is validated, by accuracy"),
    elsewhere(f"{TRAIN}.validate", "no field here: each epoch is validated", "true"),
    elsewhere(f"{TRAIN}.logging", "no field here: numbers are shown twice a second"),
    elsewhere(f"{TRAIN}.log_config", "no field here: numbers are shown twice a second"),
    elsewhere(f"{TRAIN}.find_unused_parameters", "no field here: there are none"),
    elsewhere(f"{TRAIN}.resume_training_checkpoint_path", "no field here: the same command goes on where it stopped"),
    elsewhere(f"{TRAIN}.resume_from", "no field here: the same command goes on where it stopped"),
    made(f"{TRAIN}.load_from", "train_config.pretrained_model_path", steps.weights),
    made(HOOKS, "train_config.ema_decay", steps.hooks, "EMAHook only: 1 - momentum"),
    moved(f"{TRAIN}.optimizer_config.grad_clip.max_norm", "train_config.max_grad_norm"),
    lost(f"{TRAIN}.optimizer_config"),
    made(f"{OPTIM}.type", "train_config.optimizer", steps.optimizer, "a block of that name", default="AdamW"),
    made(
        f"{OPTIM}.lr",
        "train_config.lr_config.*.learning_rate",
        steps.schedule,
        "times the number of processes here",
        default="0.001",
    ),
    made(
        f"{OPTIM}.weight_decay",
        "train_config.optimizer.adamw.weight_decay",
        steps.optimizer,
        "SGD and Adam: reg_config L2; kernels only",
    ),
    made(f"{OPTIM}.betas", "train_config.optimizer.*.beta_1, beta_2", steps.optimizer, default="0.9, 0.999"),
    made(f"{OPTIM}.momentum", "train_config.optimizer.sgd.momentum", steps.optimizer),
    made(f"{OPTIM}.nesterov", "train_config.optimizer.sgd.nesterov", steps.optimizer),
    lost(OPTIM),
    made(
        f"{RATE}.policy",
        "train_config.lr_config",
        steps.schedule,
        "CosineAnnealing; step and fixed: soft_anneal",
        default="CosineAnnealing",
    ),
    made(
        f"{RATE}.type",
        "train_config.lr_config",
        steps.schedule,
        "CosineAnnealingLR; MultiStepLR and StepLR: soft_anneal",
    ),
    made(
        f"{RATE}.min_lr",
        "train_config.lr_config.cosine.min_lr_ratio",
        steps.schedule,
        "a share of the rate",
        default="0",
    ),
    made(f"{RATE}.eta_min", "train_config.lr_config.cosine.min_lr_ratio", steps.schedule, "a share of the rate"),
    made(f"{RATE}.min_lr_ratio", "train_config.lr_config.cosine.min_lr_ratio", steps.schedule),
    made(
        f"{RATE}.warmup_iters",
        "train_config.lr_config.cosine.soft_start",
        steps.schedule,
        "epochs only, as a share of the run",
    ),
    made(
        f"{RATE}.warmup_by_epoch",
        "train_config.lr_config.cosine.soft_start",
        steps.schedule,
        "off: warmup_iters has no effect",
    ),
    made(f"{RATE}.T_max", "train_config.lr_config.cosine", steps.schedule, "the run's length, whatever it says"),
    *(
        made(
            f"{RATE}.{name}", "train_config.lr_config.soft_anneal.annealing_points", steps.schedule, "shares of the run"
        )
        for name in ("step", "step_size", "milestones")
    ),
    made(
        f"{RATE}.gamma",
        "train_config.lr_config.soft_anneal.annealing_divider",
        steps.schedule,
        "1 / gamma",
        default="0.1",
    ),
    elsewhere(f"{RATE}.by_epoch", "no field here: the rate moves with each step"),
    elsewhere(f"{RATE}.warmup", "no field here: warm-up is linear", "linear"),
    elsewhere(f"{RATE}.begin", "no field here: from the first step on", "0"),
    lost(RATE),
    made("model.backbone.type", "model_config.arch", steps.network, "see the table of networks"),
    made(CLIP, "model_config.arch", steps.network, "where the type is open_clip"),
    made("model.backbone.freeze", "train_config.linear_probe", steps.freezing, "without augmentation"),
    made(
        "model.backbone.pretrained", "train_config.pretrained_model_path", steps.weights, "a tag of open_clip is timm's"
    ),
    made("model.backbone.init_cfg.checkpoint", "train_config.pretrained_model_path", steps.weights),
    made("model.init_cfg.checkpoint", "train_config.pretrained_model_path", steps.weights),
    lost("model.backbone.custom_args", "a network has its own settings here"),
    elsewhere("model.backbone", "no field here: a network has its own settings"),
    made("model.head.topk", "eval_config.top_k", shared.top_k, "the largest", default="1"),
    made("model.head.loss.label_smooth_val", "train_config.label_smoothing", steps.smoothing),
    elsewhere("model", "no field here: the head is global pooling and one linear layer, the loss cross-entropy"),
    made("evaluate.checkpoint", "eval_config.model_path", shared.evaluated),
    made("inference.checkpoint", "eval_config.model_path", shared.evaluated, "where evaluate has none"),
    elsewhere("evaluate", "no field here: every score is told"),
    elsewhere("inference", "no field here: inference -d FOLDER"),
    elsewhere("export.checkpoint", "no field here: export -m FILE, or the best checkpoint of -r"),
    elsewhere("export.onnx_file", "no field here: export -o FILE"),
    elsewhere("export.opset_version", "no field here: export --target_opset N"),
    elsewhere("export.verify", "no field here: the exported file is always compared with PyTorch"),
    elsewhere("export", "no field here: export takes size and channels from the checkpoint"),
    *shared.AROUND,
    shared.UNSCALED,
)

FAMILY = Family(name=OPENMMLAB, rows=_ROWS)
