"""The paths that a command reads and writes, from its options and its spec. Imports no torch."""

import contextlib
import os
import pickletools
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tao_lite.errors import LaunchError
from tao_lite.files.places import cache_home, own_cache, url_of
from tao_lite.launcher.mounts import absolute
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec import paths
from tao_lite.spec.paths import Replaced, path_fields
from tao_lite.spec.stages import STAGES
from tao_lite.spec.trackers import NAMES, asked

# Options that name what is written; every other path of the command line is read.
_WRITTEN_OPTIONS = ("output_path", "output_file")
_LOG, _RESULTS, _SPEC = "log_file", "results_dir", "spec_file"
_TABLES = "group_by"  # FILE:COLUMN each

# What a container has its own of.
_OWN_INSIDE = re.compile(r"PATH|HOME|SHELL|LD_.*|PYTHON.*")
_SECRET = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE)S?$|CREDENTIAL", re.IGNORECASE)
_MAX_PICKLE_BYTES = 2**26

OnHost = Callable[[Path], Path]
"""The host's path of one in the container."""


@dataclass
class Needs:
    """Absolute paths, as the container sees them. `writes` and `caches` are folders; a run can do without the latter.

    `log` is a file that is appended to. `downloads`: weights may have to be fetched. `tells`: trackers get the numbers.
    `stores`: data or results are at a URL.
    """

    reads: set[Path]
    writes: set[Path]
    caches: set[Path] = field(default_factory=set)
    log: Path | None = None
    downloads: bool = False
    tells: bool = False
    stores: bool = False


def of_command(
    stage: str, options: Mapping[str, Any], experiment: pb.Experiment, results: Path, on_host: OnHost
) -> Needs:
    """What the stage needs, run with these options; only the paths among their values count."""
    paths = {name: value for name, value in options.items() if isinstance(value, Path)}
    written = [absolute(paths[name]).parent for name in _WRITTEN_OPTIONS if name in paths]
    if stage == "export" and "output_file" not in paths and "model" in paths:
        written.append(absolute(paths["model"]).parent)
    not_read = (*_WRITTEN_OPTIONS, _LOG, _RESULTS)
    needs = Needs({absolute(path) for name, path in paths.items() if name not in not_read}, {results, *written})
    needs.reads |= {absolute(Path(file)) for one in options.get(_TABLES, ()) if (file := one.rpartition(":")[0])}
    needs.log = absolute(paths[_LOG]) if _LOG in paths else None
    _add_spec(needs, stage, experiment, on_host)
    # What belongs to an OpenVINO IR lies beside it.
    needs.reads |= {path.parent for path in needs.reads if path.suffix.lower() == ".xml"}
    return needs


def of_trackers() -> set[str]:
    """Environment variables that the trackers' libraries read."""
    return {name for name in os.environ if name.startswith(tuple(f"{one.upper()}_" for one in NAMES))}


def of_stores() -> set[str]:
    """Environment variables that say where object storage is, and who asks."""
    return {name for name in os.environ if name.startswith("AWS_")}


def variables(replaced: Replaced) -> set[str]:
    """Environment variables that the paths of a spec name and that are set; the run inside expands them anew.

    Raises:
        LaunchError: one of them holds a secret, which no container needs to find a file.
    """
    names = {name: path for path, (text, _) in replaced.items() for name in paths.variables(text) if name in os.environ}
    for name, path in names.items():
        if _SECRET.search(name):
            raise LaunchError(
                f"{path}: ${name} has the name of a secret and is not given to a container; "
                "export the folder under another name"
            )
    return {name for name in names if not _OWN_INSIDE.fullmatch(name)}


def spec_inside(model: Path) -> str:
    """The spec that a checkpoint carries; empty where it has none.

    The file's pickle is read for its strings, without running it as unpickling would: the one after "spec" is the spec.
    """
    with contextlib.suppress(OSError, zipfile.BadZipFile, ValueError, StopIteration), zipfile.ZipFile(model) as archive:
        entry = next(info for info in archive.infolist() if info.filename.endswith("/data.pkl"))
        if entry.file_size <= _MAX_PICKLE_BYTES:
            strings = (text for _, text, _ in pickletools.genops(archive.read(entry)) if isinstance(text, str))
            next(text for text in strings if text == "spec")
            return next(strings)
    return ""


def _add_spec(needs: Needs, stage: str, experiment: pb.Experiment, on_host: OnHost) -> None:
    row = STAGES[stage]
    if row.uses_data:
        for text in _values(experiment, pb.Rule.DATA):
            if url_of(Path(text)):
                needs.stores = True
            else:
                needs.reads |= _data(absolute(Path(text)), experiment, on_host)
        needs.caches = _caches(experiment, is_needed=needs.stores)
    needs.stores |= row.trains and bool(experiment.train_config.mirror)
    root = absolute(Path(experiment.train_config.train_dataset_path))
    if row.trains and experiment.dataset_config.HasField("sample") and not on_host(root).exists():
        needs.writes.add(root.parent)  # The sample data set is drawn beside it and then renamed.
    for text in _values(experiment, pb.Rule.FILE, pb.Rule.WEIGHTS):
        if "://" in text:
            needs.downloads = row.trains
        elif not paths.is_published(text):
            needs.reads.add(absolute(Path(text)))
    needs.tells = row.trains and bool(asked(experiment.train_config.visualizer))
    if needs.downloads:
        names = {"TORCH_HOME": "torch", "HF_HOME": "huggingface"}
        needs.caches |= {Path(os.environ.get(name) or cache_home() / folder) for name, folder in names.items()}
    needs.writes |= {
        absolute(Path(one.value)).parent
        for one in path_fields(experiment)
        if one.rule.path == pb.Rule.WRITTEN and stage in one.rule.read_by
    }


def _caches(experiment: pb.Experiment, *, is_needed: bool) -> set[Path]:
    """The folder of decoded images and fetched shards, if the run may use one on disk."""
    if not is_needed and experiment.dataset_config.cache not in (pb.Cache.AUTO, pb.Cache.DISK):
        return set()
    return {absolute(Path(text)) for text in _values(experiment, pb.Rule.CACHE)} or {own_cache()}


def _values(experiment: pb.Experiment, *kinds: "pb.Rule.Path.ValueType") -> Iterator[str]:
    """The paths of these kinds."""
    return (one.value for one in path_fields(experiment) if one.rule.path in kinds)


def _data(path: Path, experiment: pb.Experiment, on_host: OnHost) -> set[Path]:
    """The folders that hold a data set: a file, or how the names of its files begin, has the others beside it."""
    place = on_host(path)
    if place.is_dir():
        folder = path
    elif place.parent.is_dir() and any(one.name.startswith(place.name) for one in place.parent.iterdir()):
        folder = paths.data_folder(path)
    else:
        return {path}
    data = experiment.dataset_config
    return {absolute(folder / data.yolo_root), absolute(folder / data.coco_image_dir)}
