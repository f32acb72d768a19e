"""preprocess.json, which says the whole way from a picture's file to an answer."""

import json
from pathlib import Path

HERE = Path(__file__).resolve().parent
WAY = json.loads((HERE / "preprocess.json").read_text(encoding="utf-8"))
