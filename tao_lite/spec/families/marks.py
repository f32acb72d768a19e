"""The keys by which a family or another task of TAO is known."""

OURS = "tao_lite"
TF2, PYT, OPENMMLAB = "classification_tf2", "classification_pyt", "classification_pyt (OpenMMLab)"
MULTITASK = "multitask_classification"

BLOCK, VALUE, ANY = "block", "value", "any"

# What only one family has: path -> what stands there.
MARKS = {
    OPENMMLAB: {
        "train.exp_config": BLOCK,
        "train.train_config": BLOCK,
        "dataset.data": BLOCK,
        "dataset.img_norm_cfg": BLOCK,
    },
    PYT: {
        **dict.fromkeys(("train.optim", "train.cudnn", "distill", "quantize"), BLOCK),
        **dict.fromkeys((f"dataset.{split}_dataset" for split in ("train", "val", "test")), BLOCK),
        **dict.fromkeys(("dataset.root_dir", "dataset.img_size", "dataset.classes_file"), ANY),
        "dataset.augmentation.random_flip": BLOCK,
        "train.clip_grad_norm": VALUE,
        "train.enable_ema": VALUE,
    },
    TF2: {
        **dict.fromkeys(("train.optim_config", "train.lr_config", "train.reg_config", "train.bn_config"), BLOCK),
        **dict.fromkeys(("train.batch_size_per_gpu", "train.n_epochs", "train.qat", "train.train_dataset_path"), VALUE),
        **dict.fromkeys(
            (
                f"{data}.{name}"
                for data in ("data", "dataset")
                for name in ("train_dataset_path", "val_dataset_path", "preprocess_mode", "image_mean")
            ),
            ANY,
        ),
        **dict.fromkeys(("evaluate.dataset_path", "evaluate.eval_dataset_path", "evaluate.top_k"), VALUE),
        **dict.fromkeys(("model.arch", "model.backbone", "model.input_image_depth", "model.byom_model"), VALUE),
        **dict.fromkeys(("prune.threshold", "prune.pruning_threshold", "prune.byom_model_path"), VALUE),
        **dict.fromkeys(("export.data_type", "export.dtype", "export.save_engine"), VALUE),
        "model.input_image_size": ANY,
        "augment": BLOCK,
        "eval": BLOCK,
    },
    MULTITASK: {
        "training_config.checkpoint_interval": VALUE,
        "training_config.learning_rate": BLOCK,
        "dataset_config.train_csv_path": VALUE,
        "dataset_config.image_directory_path": VALUE,
    },
}
# Asked where no mark is found: words that the two forms of classification_pyt share, and the smallest specs of tf2.
FAINT = (
    (PYT, ("model.backbone", "model.head"), BLOCK),
    (TF2, ("export", "prune", "evaluate", "inference", "train"), BLOCK),
)
# At the top of the first form of classification_tf2, whose blocks are called as ours.
FIRST_FORM = ("results_dir", "key", "encryption_key", "data_format", "init_epoch", "num_gpus")
# What only another task has -> the task.
OTHER_TASKS = {
    "dataset.train_data_sources": "an object detection task (such as dino, deformable_detr, rtdetr or grounding_dino)",
    "dataset.segment": "segformer or visual_changenet",
    "dataset.classify": "visual_changenet",
    "model.decode_head": "segformer",
    "model.sem_seg_head": "mask2former or oneformer",
    "model.mask_former": "mask2former",
    "model.num_queries": "an object detection task (such as dino, deformable_detr or rtdetr)",
    "dataset.train_tfrecords": "efficientdet_tf2",
    "data.train_tfrecords": "efficientdet_tf2",
    "dataset.character_list_file": "ocrnet",
    "dataset.train_dataset_dir": "ocrnet",
    "dataset.train_dataset.data_path": "ocdnet or pose_classification",
    "dataset.train_dataset.csv_path": "optical_inspection",
    "dataset.class_names": "pointpillars",
    "dataset.query_dataset_dir": "re_identification",
    "dataset.train_dataset_path.query": "re_identification",
    "model.rgb_seq_length": "action_recognition",
    "model.graph_layout": "pose_classification",
    "model.feat_dim": "metric_learning_recognition or re_identification",
    "train.triplet_loss_margin": "metric_learning_recognition",
    "bbox_rasterizer_config": "detectnet_v2",
    "yolov3_config": "yolo_v3",
    "yolov4_config": "yolo_v4",
    "yolov4_tiny_config": "yolo_v4_tiny",
    "ssd_config": "ssd",
    "dssd_config": "dssd",
    "retinanet_config": "retinanet",
    "fasterrcnn_config": "faster_rcnn",
    "maskrcnn_config": "mask_rcnn",
    "efficientdet_config": "efficientdet_tf1",
    "lpr_config": "lprnet",
}
