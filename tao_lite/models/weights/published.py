"""Weights that torchvision and timm publish: which there are for an architecture, and their tensors."""

import contextlib
import re
import sys
import urllib.error
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import cast
from urllib.parse import urlsplit

import huggingface_hub
import timm
import torch
import torchvision
from torch import Tensor, nn

from tao_lite.errors import CheckpointError
from tao_lite.models import architectures
from tao_lite.models.weights import weight_files
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.bind import did_you_mean

TORCHVISION = "torchvision://"
TIMM = "timm://"

Normalisation = tuple[tuple[float, ...], tuple[float, ...]]
IMAGENET: Normalisation = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALVES: Normalisation = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
# torchvision's loader lets these change their input from IMAGENET to what they were trained with.
_TRAINED_WITH_HALVES = ("googlenet", "inception_v3")

# Architectures whose name in timm is another.
_TIMM = {"mobilenet_v1": "mobilenetv1_100", "darknet": "darknet53", "cspdarknet": "cspdarknet53"}


def models(model_config: pb.ModelConfig) -> dict[str, str]:
    """Library -> its name of the spec's network, or "" where it has none."""
    library, _, name = model_config.arch.rpartition("/")
    # timm's names may end in the tag of weights.
    name = name.partition(".")[0]
    in_torchvision = name if library == "torchvision" else "" if library else _row_name(model_config)
    in_timm = name if library == "timm" else "" if library else _timm_name(model_config)
    return {
        "torchvision": _namesake(in_torchvision or in_timm, _of_torchvision()),
        "timm": _namesake(in_timm or in_torchvision, timm.list_models()),
    }


def normalisation(model_config: pb.ModelConfig) -> Normalisation:
    """What most published weights of the spec's network expect of images."""
    return HALVES if models(model_config)["torchvision"] in _TRAINED_WITH_HALVES else IMAGENET


def skeleton(library: str, model: str) -> nn.Module:
    """The library's network for ImageNet's classes, holding no numbers."""
    with torch.device("meta"):
        if library == "timm":
            return timm.create_model(model)
        # What draws its first weights with scipy takes a minute to do so.
        options = {"init_weights": False} if model in _TRAINED_WITH_HALVES else {}
        return cast("nn.Module", torchvision.models.get_model(model, **options))


def read_torchvision(source: str, model_config: pb.ModelConfig) -> tuple[Mapping[str, Tensor], Normalisation]:
    """Tensors of torchvision's file, from torch's cache or downloaded and checked against its hash.

    Raises:
        CheckpointError: torchvision lacks the network or the weights, failed download, damaged file.
    """
    model = models(model_config)["torchvision"]
    if not model:
        raise CheckpointError(f"{source}: torchvision has no {_missing(model_config, _of_torchvision())}")
    choices, name = torchvision.models.get_model_weights(model).__members__, source.removeprefix(TORCHVISION)
    if name not in choices:
        raise CheckpointError(f"{source}: {model} has {', '.join(choices)}{did_you_mean(name, choices)}")
    weights = choices[name]
    cached = Path(torch.hub.get_dir()) / "checkpoints" / PurePosixPath(urlsplit(weights.url).path).name
    # torch announces a download on stdout, which belongs to the summary.
    with weight_files.clear_errors(cached), contextlib.redirect_stdout(sys.stderr):
        if cached.exists():
            weight_files.refuse_by_content(cached)
        try:
            tensors = weights.get_state_dict(progress=False, check_hash=True, map_location="cpu", weights_only=True)
        except urllib.error.URLError as error:
            raise CheckpointError(
                f"{source}: {weights.url} can't be downloaded ({error.reason}); "
                f"put that file into {cached.parent}, or give its path as train_config.pretrained_model_path"
            ) from error
    transforms = weights.transforms()
    return tensors, HALVES if model in _TRAINED_WITH_HALVES else (tuple(transforms.mean), tuple(transforms.std))


def read_timm(source: str, model_config: pb.ModelConfig) -> tuple[Mapping[str, Tensor], Normalisation]:
    """Tensors of timm's weights of that tag, from its cache or downloaded.

    Raises:
        CheckpointError: timm lacks the network or the tag, failed download, damaged file.
    """
    model = models(model_config)["timm"]
    if not model:
        raise CheckpointError(f"{source}: timm has no {_missing(model_config, timm.list_models())}")
    tags = {name.partition(".")[2]: name for name in timm.list_pretrained(f"{model}.*")}
    tag = source.removeprefix(TIMM).removeprefix(f"{model}.")
    if tag not in tags:
        listed = f"has {', '.join(tags)}{did_you_mean(tag, tags)}" if tags else "has no weights"
        raise CheckpointError(f"{source}: timm's {model} {listed}")
    config = timm.get_pretrained_cfg(tags[tag])
    assert config
    with _clear_timm_errors(source, config.hf_hub_id, str(config.url)):
        network = timm.create_model(tags[tag], pretrained=True)
    return network.state_dict(), (tuple(config.mean), tuple(config.std))


@contextlib.contextmanager
def _clear_timm_errors(source: str, repository: str | None, url: str) -> Iterator[None]:
    """Turn what timm's loading raises into an error that names the file; torch and the hub raise many types."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except OSError as error:
        file = huggingface_hub.hf_hub_url(repository, "model.safetensors") if repository else url
        reason = next(iter(str(error).splitlines()), "")[:120].rstrip(".") or type(error).__name__
        raise CheckpointError(
            f"{source}: {file} can't be downloaded ({reason}); "
            "fetch that file elsewhere and give its path as train_config.pretrained_model_path"
        ) from error
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "")[:120].rstrip(".")
        raise CheckpointError(
            f"{source}: the weights that timm holds for it can't be used ({type(error).__name__}: {reason}); "
            "clear its cache and start again"
        ) from error


def _row_name(model_config: pb.ModelConfig) -> str:
    with_bias = pb.ModelConfig()
    with_bias.CopyFrom(model_config)
    # Published weights have biases where the architecture has them; what becomes of them is said on assignment.
    with_bias.use_bias = True
    return architectures.find(model_config).torchvision(with_bias)


def _timm_name(model_config: pb.ModelConfig) -> str:
    is_53 = model_config.arch not in ("darknet", "cspdarknet") or model_config.n_layers == 53
    return _TIMM.get(model_config.arch, "") if is_53 else ""


def _of_torchvision() -> list[str]:
    return cast("list[str]", torchvision.models.list_models(module=torchvision.models))


def _namesake(name: str, others: list[str]) -> str:
    """A library's name of the network: theirs differ by underlines and timm's width in percent; "" for none."""
    return name if name in others else next((other for other in others if name and _bare(other) == _bare(name)), "")


def _bare(name: str) -> str:
    return re.sub(r"_100$|_", "", name)


def _missing(model_config: pb.ModelConfig, names: list[str]) -> str:
    """The network that a library lacks, those of its family that it has, and what to do."""
    arch = model_config.arch.rpartition("/")[2]
    wanted = architectures.find(model_config).torchvision(model_config) or arch
    family = [name for name in names if re.fullmatch(re.sub(r"\d+$", r"\\d+", wanted), name)]
    depth = "change model_config.n_layers" if family else "change model_config.arch"
    return (
        f"{wanted}, only {', '.join(family) or 'other architectures'}; "
        f"{depth}, or leave train_config.pretrained_model_path out"
    )
