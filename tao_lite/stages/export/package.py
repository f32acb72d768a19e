"""Folders that a stranger can use without us: a network with a client, a check of it, and where it is from."""

import functools
import importlib.metadata
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from tao_lite.data.description import Kind
from tao_lite.errors import CheckpointError, DataError, RunError, refuse_missing
from tao_lite.files import reading, signature, sums, writing
from tao_lite.monitor import console
from tao_lite.run import Run, Summary
from tao_lite.spec.load import Spec
from tao_lite.stages.export import card, deepstream, gate, tao_deploy
from tao_lite.stages.export.export import PACKAGES, Form, Made, describe, make, refuse_tasks, without_accepted
from tao_lite.stages.export.gate import Wanted
from tao_lite.stages.export.references import draw
from tao_lite.stages.export.sbom import sbom
from tao_lite.stages.export.tao_deploy_files import NOTHING_ELSE, Extras
from tao_lite.stages.export.targets import TARGETS, Contents, Target
from tao_lite.training import runtimes
from tao_lite.training.deployed import Deployment
from tao_lite.training.trained import Trained

_log = logging.getLogger(__name__)

REFERENCES = "references"

_README = """# {title}

Classifies pictures as {classes}. Made by tao_lite, which it doesn't need{nor}.

{usage}
`check.py` replays the pictures in `references/` and says ok, or where this machine's answers differ. `preprocess.json`
says in numbers how a file becomes the network's input: whoever writes another client goes by it. `labels.txt` has the
classes in the order of the network's outputs. Where the network is from: `model_card.md`, `sbom.cdx.json`; whether a
file was changed: `sha256sum -c SHA256SUMS`.

Before this folder was kept, its client answered {num_pictures} as
{origin}: the same class for all, probabilities within {distance:.1e}.{not_run}
"""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is wanted: where, for what, how many validation pictures to compare, a key to sign by."""

    folder: Path
    runtimes: tuple[str, ...]
    """Keys of `TARGETS`. Of one the package is the folder itself, of several each has a folder of its name in it."""
    kind: Kind | None = None
    """What the graph takes; None: what suits the runtime."""
    verify: int = 500
    opset: int | None = None
    signing_key: Path | None = None
    licence: str = card.UNKNOWN
    extras: Extras = NOTHING_ELSE
    """What else a package for tao-deploy is to hold."""
    quantised: Path | None = None
    """The checkpoint as INT8 ONNX, which the package holds in its place; it says itself what it takes."""

    def forms(self) -> Iterator[tuple[str, Form]]:
        """What each runtime's network is to be like.

        Raises:
            RunError: one has no use for the kind that is asked for.
        """
        for name in dict.fromkeys(self.runtimes):
            target = TARGETS[name]
            if self.kind and self.kind not in target.kinds:
                raise RunError(f"--for {name} takes --input {' or '.join(target.kinds)}, not {self.kind}; leave it out")
            kind = self.kind or target.kinds[0]
            form = Form(
                kind=kind,
                opset=self.opset or (tao_deploy.OPSET if name == "tao-deploy" else None),
                for_deepstream=name == "deepstream" and kind == "tensor",
                for_tao_deploy=name == "tao-deploy",
                has_accepted=TARGETS[name].takes_accepted,
            )
            yield name, form


def package(spec: Spec, run: Run, model: Path, request: Request) -> Summary:
    """Write a package for each runtime; the summary is export.json in the results folder.

    Raises:
        CheckpointError: the model can't be read.
        RunError: something is missing or in the way, or a client answers otherwise than the network: nothing is kept.
    """
    refuse_missing("export", "export", *PACKAGES)
    forms, folder = dict(request.forms()), request.folder
    for name in forms:
        refuse_missing(f"--for {name}", TARGETS[name].extra, *TARGETS[name].needs)
    if request.extras.calibration:
        refuse_missing("--data_type int8 for tao-deploy", "import", "h5py")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"{folder}: is there already and not an empty folder; name another one, or remove it")
    if request.signing_key:
        signature.private_key(request.signing_key)
    trained = Trained.of(model, torch.device("cpu"), spec.experiment)
    refuse_tasks(trained, "--package")
    if "deepstream" in forms:
        deepstream.labels(trained.class_names)  # refuses some, before others are made
    if "tao-deploy" in forms:
        tao_deploy.refuse_unfit(trained.pipeline, folder)
    for name in [name for name, form in forms.items() if not form.has_accepted]:
        without_accepted(trained, forms[name], f"what runs packages for {name} reads probabilities alone")
    held: Trained | Deployment = trained
    made = functools.cache(functools.partial(make, trained))
    if request.quantised:
        held = Deployment.of(request.quantised, torch.device("cpu"), trained.experiment)
        forms = {name: replace(form, kind=held.description.kind) for name, form in forms.items()}
        content = reading.read(request.quantised, CheckpointError, max_bytes=runtimes.MAX_BYTES)
        made = functools.cache(lambda _: Made(content, held.description, 0.0))
    about = card.card(trained.path, trained.found, licence=request.licence)
    summaries = {}
    with writing.new_folder(folder) as temporary, tempfile.TemporaryDirectory() as drawings:
        wanted = _wanted(held, Path(drawings), request.verify)
        for name, form in forms.items():
            part = Path(name) if len(forms) > 1 else Path()
            contents = Contents(
                folder=temporary / part,
                trained=trained,
                form=form,
                description=held.description if isinstance(held, Deployment) else describe(trained, form),
                wanted=wanted,
                make=made,
                extras=request.extras,
                **({"origin": "the same INT8 file did before"} if request.quantised else {}),
            )
            summaries[name] = _fill(contents, name, about, request.signing_key)
            _tell(folder / part, name, wanted, summaries[name])
    summary = {"package": str(folder), "pictures": len(wanted.validation), "runtimes": summaries}
    writing.write_json(run.summary("export"), summary)
    return summary


def _wanted(held: Trained | Deployment, folder: Path, most: int) -> Wanted:
    drawn, validation = draw(folder / REFERENCES), _validation(held, folder, most)
    found = gate.expected(held, [*drawn, *validation])
    return Wanted(drawn={path: found.pop(path) for path in drawn}, validation=found)


def _validation(held: Trained | Deployment, folder: Path, most: int) -> Sequence[Path]:
    """Validation pictures, or none where they are gone, of which the log is told."""
    if not most:
        return ()
    try:
        return gate.pictures(held, folder, most)
    except DataError as error:
        _log.warning("the package is compared on the reference pictures only: %s", error)
        return ()


def _fill(contents: Contents, name: str, about: str, signing_key: Path | None) -> dict[str, Any]:
    """Write the package for the runtime of this name, if its client's answers are those of the network.

    Raises:
        RunError: the client answers otherwise, or can't be had.
    """
    folder, wanted, description, target = contents.folder, contents.wanted, contents.description, TARGETS[name]
    folder.mkdir(exist_ok=True)
    writing.write(folder / "labels.txt", contents.labels)
    writing.write(folder / "requirements.txt", _requirements(target))
    writing.write(folder / "model_card.md", about)
    writing.write(folder / "sbom.cdx.json", sbom(("train", "export", target.extra)))
    draw(folder / REFERENCES)
    references = list(gate.references(wanted.drawn, has_accepted=bool(description.reject)))
    writing.write_json(folder / "preprocess.json", {**description.to_dict(), "references": references})
    written = target.fill(contents)
    distance = gate.verify(description, wanted.all, gate.answers(written.client, list(wanted.all)))
    found = {"largest_difference": distance, "not_run": written.not_run, "other_answers": written.other_answers}
    writing.write(folder / "README.md", _readme(contents, name, found, written.usage))
    sums.write_sums(folder)
    if signing_key:
        signature.sign(folder, signing_key)
    return found


def _tell(folder: Path, name: str, wanted: Wanted, found: Mapping[str, Any]) -> None:
    answers = f"its client answers {wanted.words} as the network does"
    console.line(f"Wrote {folder} for {name}; {answers}, probabilities within {found['largest_difference']:.1e}")
    if found["not_run"]:
        console.line(f"Not run here: {found['not_run']}")


def _requirements(target: Target) -> str:
    def version(name: str) -> str:
        return (name == "numpy" and target.numpy) or importlib.metadata.version(name).partition("+")[0]

    return "".join(f"{name}=={version(name)}\n" for name in sorted({"numpy", "pillow", *target.needs}))


def _readme(contents: Contents, name: str, found: Mapping[str, Any], usage: str) -> str:
    trained = contents.trained
    names = ", ".join(trained.class_names[:10])
    more = len(trained.class_names) - 10
    return _README.format(
        title=f"Image classifier {trained.path.stem}, for {name}",
        classes=f"{names} and {more} more" if more > 0 else names,
        nor="" if name == "torch" else ", nor PyTorch",
        usage=usage,
        num_pictures=contents.wanted.words,
        origin=contents.origin,
        distance=found["largest_difference"],
        not_run=f"\nNot run there: {found['not_run']}." if found["not_run"] else "",
    )
