"""From the options of a command to a running stage: logging, spec, processes, device, results folder."""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tao_lite.cli.log import log_to
from tao_lite.errors import RunError
from tao_lite.machine import distributed, host
from tao_lite.machine.nodes import ALONE, Nodes
from tao_lite.run import Run, Summary, best_of
from tao_lite.spec.load import Spec, load_text, read
from tao_lite.spec.paths import is_deployed
from tao_lite.spec.stages import STAGES
from tao_lite.stages import preflight

if TYPE_CHECKING:
    from tao_lite.machine.distributed import World

Stage = Callable[[Spec, Run], Summary]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What every stage's command takes; see `tao-lite train --help`."""

    # The words of the command line, all of them.
    arguments: tuple[str, ...]
    results_dir: Path | None
    overrides: tuple[str, ...]
    key: str | None
    gpus: int | None
    gpu_index: tuple[int | str, ...]
    num_processes: int | None
    log_file: Path | None
    verbose: bool
    nodes: Nodes = ALONE

    @property
    def count(self) -> int:
        """Processes to start."""
        return self.num_processes or max(self.gpus or len(self.gpu_index), 1)


def start(stage_name: str, stage: Stage, options: Options, *, spec_file: Path | None, model: Path | None) -> int:
    """Run the stage with the spec in the file, else with the one inside the model; the exit code.

    Raises:
        TaoLiteError: as the stage, and for a spec, device or folder that can't be used.
    """
    log_to(options.log_file, is_verbose=options.verbose)
    spec = _spec(stage_name, options, spec_file, model)
    if options.gpu_index:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, options.gpu_index))
    num_processes = options.count
    if num_processes > 1 and not STAGES[stage_name].is_parallel:
        raise RunError(f"{stage_name} runs in one process; leave -np out, and --gpus above 1")
    network = spec.experiment.eval_config.model_path if stage_name == "evaluate" else ""
    if network and is_deployed(Path(network)) and (num_processes > 1 or distributed.launched()):
        raise RunError(f"{network}: a deployed network runs in one process; leave -np out, and --gpus above 1")
    timeout = spec.experiment.train_config.communication_timeout_seconds
    if (num_processes > 1 or not options.nodes.is_one) and not distributed.launched():
        return distributed.launch(num_processes, options.arguments, nodes=options.nodes, timeout_seconds=timeout)
    is_gpu_wanted = False if options.gpus == 0 else bool(options.gpus or options.gpu_index) or None
    world = start_world(is_gpu_wanted, timeout)
    with world.together():
        if world.is_main:
            if options.key:
                _log.info("-k is not needed: the files of tao_lite are not encrypted")
            for note in spec.notes:
                _log.info("%s (converted)", note)
            for warning in spec.warnings:
                _log.warning("%s", warning)
        stage(spec, Run(results=results_folder(options.results_dir, spec_file, model), world=world))
    return 0


def _spec(stage_name: str, options: Options, spec_file: Path | None, model: Path | None) -> Spec:
    # Specs of other families name their folder of results in paths.
    given = [f"results_dir={options.results_dir}"] if options.results_dir else []
    overrides = (*options.overrides, *given)
    load_spec = partial(load_text, stage=stage_name, overrides=overrides, check=preflight.check, running=True)
    source = spec_source(options.results_dir, spec_file, model)
    if source == spec_file:
        return load_spec(read(source), source)
    if stage_name in ("evaluate", "inference") and is_deployed(source):
        from tao_lite.training import deployed

        return load_spec(deployed.spec(source), source)
    from tao_lite import checkpoint

    return load_spec(checkpoint.spec(source), source)


def spec_source(results_dir: Path | None, spec_file: Path | None, model: Path | None) -> Path:
    """What holds the spec: the file, else the model, else the best network of the results folder.

    Raises:
        RunError: none of them is given.
    """
    source = spec_file or model or (best_of(results_dir) if results_dir else None)
    if source is None:
        raise RunError("give a spec file with -e or a checkpoint with -m, or the results folder of a run with -r")
    return source


def results_folder(results_dir: Path | None, spec_file: Path | None, model: Path | None) -> Path:
    """-r, else the folder of the run that the model is from, else results/NAME for NAME.cfg."""
    if results_dir:
        return results_dir
    if model and model.absolute().parent.name == "weights":
        return model.parent.parent
    return Path("results") / (spec_file or model or Path("run")).stem


def start_world(is_gpu_wanted: bool | None = None, timeout_seconds: int = distributed.TIMEOUT_SECONDS) -> "World":
    """This process's place among the others, ready to compute; None takes the first GPU if there is one."""
    host.keep_freed_memory()
    import torch

    if is_gpu_wanted is None:
        is_gpu_wanted = torch.cuda.is_available()
    # The fastest kernels of convolutions are found by trial, once for each shape.
    torch.backends.cudnn.benchmark = True
    world = distributed.start("cuda" if is_gpu_wanted else "cpu", timeout_seconds)
    if not distributed.launched():
        host.set_threads()
    return world
