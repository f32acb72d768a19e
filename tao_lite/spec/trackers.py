"""The trackers of experiments that a spec turns on."""

from typing import Any

from google.protobuf.json_format import MessageToDict

from tao_lite.spec import classification_pb2 as pb

NAMES = ("wandb", "clearml", "mlflow")
"""Each has a field of VisualizerConfig, NAME_config."""


def asked(config: pb.VisualizerConfig) -> dict[str, dict[str, Any]]:
    """The settings of each tracker that is on, by its name."""
    is_on = {
        "wandb": config.wandb_config.enabled and config.wandb_config.mode != pb.WandBConfig.DISABLED,
        "clearml": config.HasField("clearml_config"),
        "mlflow": config.HasField("mlflow_config"),
    }
    return {
        name: MessageToDict(getattr(config, f"{name}_config"), preserving_proto_field_name=True)
        for name in NAMES
        if is_on[name]
    }
