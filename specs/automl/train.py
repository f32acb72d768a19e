"""One trial of NVIDIA's search: its spec is ours, but for the results folder and the checkpoint of the trial before."""

import json
import os
import sys
from pathlib import Path

from tao_lite.cli.main import main

given = Path(sys.argv[1])
spec = json.loads(given.read_text(encoding="utf-8"))
results, parent = Path(spec.pop("results_dir")), spec.pop("resume_training_checkpoint_path", "")
trial = given.with_name("trial.json")
trial.write_text(json.dumps(spec), encoding="utf-8")
try:
    main(["train", "-e", str(trial), "-r", str(results), *(["--resume", parent] if parent else [])])
except SystemExit as ended:
    if ended.code:
        raise
# The search finds the checkpoint after an epoch by such a name only.
newest = (results / "weights" / "latest.pth").resolve()
link = results / f"model_epoch_{newest.stem.rpartition('_')[2]}.pth"
link.unlink(missing_ok=True)
os.link(newest, link)
