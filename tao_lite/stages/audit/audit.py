"""Audit: list the examples of a spec whose labels are probably wrong, and write a page to look through them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from tao_lite.data.example import Example
from tao_lite.errors import refuse_missing
from tao_lite.files import writing
from tao_lite.monitor import console
from tao_lite.run import Run, Summary
from tao_lite.spec import classification_pb2 as pb
from tao_lite.stages.audit import rows as audit_rows
from tao_lite.stages.audit.evidence import gather
from tao_lite.stages.audit.rows import HEADER, Finding
from tao_lite.stages.dataset import pictures
from tao_lite.stages.dataset.check import input_size


def audit(experiment: pb.Experiment, run: Run, model: Path | None = None) -> Summary:
    """Write audit.csv, audit.html and audit.json.

    Raises:
        TaoLiteError: data, network or folds can't be used.
    """
    refuse_missing("audit", "train", "jinja2")
    from tao_lite.stages.audit.page import page

    evidence = gather(experiment, run, model)
    neighbours = None if evidence.features is None else audit_rows.neighbours_of(evidence.features)
    rows = audit_rows.listed(evidence, neighbours, _of_pictures(evidence.examples, input_size(experiment)))
    cells = audit_rows.table(evidence, rows)
    writing.write(run.audit_csv, writing.csv_text([HEADER, *cells]))
    writing.write(run.audit_page, page(evidence, rows, neighbours))
    counts = Counter(reason for row in rows for reason in row.reasons)
    summary = {
        "images": len(evidence.examples),
        "listed": len(rows),
        "reasons": dict(counts),
        "probabilities_by": evidence.by,
        "audit_csv": str(run.audit_csv),
        "audit_page": str(run.audit_page),
    }
    writing.write_json(run.summary("audit"), summary)
    said = ", ".join(f"{count} {reason}" for reason, count in counts.items()) or "none is doubtful"
    console.line(f"Audited {len(evidence.examples)} images by {evidence.by}: {said}")
    console.line(f"Wrote {run.audit_csv}, and {run.audit_page} to look through them")
    return summary


def _of_pictures(examples: Sequence[Example], size: tuple[int, int] | None) -> Iterator[Finding]:
    """Examples whose picture may be at fault; `size` is what the network reads."""
    groups = list(pictures.by_picture(examples).values())
    return ((one.path, one.box, one.reason) for one in pictures.findings(groups, pictures.pictures(groups), size))
