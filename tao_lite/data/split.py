"""How the images of an optimizer step are split into batches, whatever the number of processes."""

from typing import NamedTuple


class Split(NamedTuple):
    """A batch is one of all processes together."""

    batch: int  # images
    accumulation: int  # batches of a step

    @property
    def step(self) -> int:
        """Images of an optimizer step."""
        return self.batch * self.accumulation


def split(step: int, *, num_processes: int, smallest: int, largest: int) -> Split:
    """The fewest equal batches of so many images that give no process more than `largest` of them at once.

    A step whose batches would leave a process fewer than `smallest` has larger batches; a step too small for a single
    one is made larger.
    """
    least = smallest * num_processes
    counts = [count for count in range(1, step // least + 1) if step % count == 0]
    if not counts:
        return Split(least, 1)
    count = next((count for count in counts if step <= count * largest * num_processes), counts[-1])
    return Split(step // count, count)
