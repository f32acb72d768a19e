"""What the benches train, as a spec - ResNet-18 from scratch, SGD, L2, cosine annealing - and beside whom."""

from collections.abc import Mapping

# With pooling it is torchvision's and timm's ResNet-18, layer by layer.
SPEC = """
model_config { arch: "resnet" n_layers: 18 use_batch_norm: true use_pooling: true input_image_size: "3,64,64" }
train_config {
  optimizer { sgd { momentum: 0.9 } }
  batch_size_per_gpu: 32 n_epochs: 1 preprocess_mode: "torch"
  reg_config { type: "L2" scope: "Conv2D,Dense" weight_decay: 0.0005 }
  lr_config { cosine { learning_rate: 0.01 } }
}
"""

PLAIN, AMP_RECIPE = "plain FP32 loop", "AMP recipe loop"
TIMM, TIMM_BEST = "timm", "timm BF16 channels_last"
LIGHTNING, LIGHTNING_BF16 = "Lightning", "Lightning bf16-mixed"
DEFAULTS = (PLAIN, TIMM, LIGHTNING)
PEERS = (*DEFAULTS, AMP_RECIPE, TIMM_BEST, LIGHTNING_BF16)


def image_size(pixels: int) -> str:
    return f"3,{pixels},{pixels}"


def overrides(settings: Mapping[str, object]) -> tuple[str, ...]:
    """Of the spec's fields, by their paths."""
    return tuple(f"{field}={value}" for field, value in settings.items())


def options(settings: Mapping[str, object]) -> list[str]:
    """The same for the command line."""
    return [text for override in overrides(settings) for text in ("--set", override)]
