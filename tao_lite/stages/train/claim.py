"""A folder of several trainings is of one spec, however often the command is given."""

from collections.abc import Collection

from google.protobuf import text_format

from tao_lite.errors import RunError
from tao_lite.files import reading, writing
from tao_lite.run import Run
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec import resolved
from tao_lite.spec.load import Spec

ELSEWHERE = "choose another folder with -r"


def claim(spec: Spec, run: Run, may_change: Collection[str] = ()) -> None:
    """Make the folder this spec's, but for the fields that may change.

    Raises:
        RunError: it holds trainings of another spec, or another run.
    """
    if run.spec.is_file():
        found = text_format.Parse(reading.read_text(run.spec, RunError), pb.Experiment())
        changes = [
            "{}: {} -> {}".format(*one) for one in resolved.differences(found, spec.written) if one[0] not in may_change
        ]
        if changes:
            raise RunError(
                f"{run.results}: holds a run with other settings ({'; '.join(changes)}); {ELSEWHERE}, or delete "
                "this one"
            )
    run.world.barrier()
    if run.is_main:
        writing.write(run.spec, spec.text())
