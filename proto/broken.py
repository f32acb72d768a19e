"""Ten broken specs for specs/README.md: a good one, and ten mistakes to put into it."""

from collections.abc import Iterator
from pathlib import Path

GOOD = """\
model_config {
  arch: "resnet"
  n_layers: 18
  use_batch_norm: true
  input_image_size: "3,224,224"
}
train_config {
  train_dataset_path: "data/train"
  optimizer { sgd { momentum: 0.9 } }
  batch_size_per_gpu: 64
  n_epochs: 80
  preprocess_mode: "torch"
  lr_config {
    soft_anneal {
      learning_rate: 0.05
      soft_start: 0.056
      annealing_points: [0.3, 0.6, 0.8]
      annealing_divider: 10
    }
  }
}
"""

# What is wrong, the part of GOOD, and what stands there instead.
MISTAKES = (
    ("A misspelt field", "n_epochs: 80", "n_epoch: 80"),
    ("A field in the wrong block", "n_epochs: 80", "n_epochs: 80 top_k: 3"),
    ("A value of another type", "n_epochs: 80", 'n_epochs: "eighty"'),
    ("A number out of range", "batch_size_per_gpu: 64", "batch_size_per_gpu: 0"),
    ("A word that is no choice", 'preprocess_mode: "torch"', 'preprocess_mode: "pytorch"'),
    ("Sizes in the order of TensorFlow", '"3,224,224"', '"224,224,3"'),
    ("A depth that the network does not come in", "n_layers: 18", "n_layers: 20"),
    ("Points in no order", "[0.3, 0.6, 0.8]", "[0.6, 0.3, 0.8]"),
    ("A variable that is not set", '"data/train"', '"$IMAGES_OF_MINE/train"'),
    ("A brace that is missing", "{ sgd { momentum: 0.9 } }", "{ sgd { momentum: 0.9 }"),
)


def sections() -> Iterator[str]:
    """Lines of the section: the good spec, then each mistake with what loading it says."""
    yield from ("```", *GOOD.splitlines(), "```")
    for number, (title, old, new) in enumerate(MISTAKES, start=1):
        assert GOOD.count(old) == 1, old
        yield from ("", f"{number}. {title}: `{new}`", "", "   ```")
        yield from (f"   {line}" for line in answer(GOOD.replace(old, new)))
        yield "   ```"


def answer(text: str) -> list[str]:
    """What loading the text for training says."""
    from tao_lite.errors import SpecError
    from tao_lite.spec import load
    from tao_lite.stages import preflight

    try:
        load.load_text(text, Path("spec.cfg"), check=preflight.check)
    except SpecError as error:
        return str(error).splitlines()
    return []
