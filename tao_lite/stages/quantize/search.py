"""The search for the layers that have to stay in float, so that the rest in INT8 is accurate enough."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING

from tao_lite.errors import InaccurateError, listed
from tao_lite.metrics.best import Metric
from tao_lite.metrics.counts import Evaluation
from tao_lite.monitor import console
from tao_lite.stages.quantize import placing
from tao_lite.stages.quantize.graph import Graph
from tao_lite.stages.quantize.judge import Judge
from tao_lite.stages.quantize.placing import Layout, Ranges
from tao_lite.training.validation import best_metric

if TYPE_CHECKING:
    from onnx import ModelProto

LARGEST_SHARE_IN_FLOAT = 0.5
"""Of the weights. With more of them in float it is no INT8 network."""

_NUM_TOLD = 5


@dataclass(frozen=True)
class Found:
    """A file, what it is worth, and its layers in float, by node."""

    content: bytes
    evaluation: Evaluation
    in_float: Sequence[str] = ()


@dataclass(kw_only=True, eq=False)
class Search:
    """State, for it keeps what was measured on the way."""

    graph: Graph
    ranges: Ranges
    layout: Layout
    fp32: bytes
    judge: Judge
    max_drop: float
    before: Evaluation
    """In FP32, of the network that is to be replaced."""
    divergences: dict[str, float] = field(default_factory=dict)
    """What each layer alone changes, by node; empty where nobody had to ask."""

    def whole(self) -> Found:
        """The file with all layers in INT8."""
        return self._with([])

    def spare(self, found: Found) -> Found:
        """A file whose loss is allowed, with as few layers in float as halving finds, where that of `found` is not.

        Raises:
            InaccurateError: there is none.
        """
        console.line(
            f"In INT8 {self.metric.words} is {self.value(found.evaluation):.4f}, {self.drop(found):.4f} worse than in "
            "FP32: looking for the layers that lose most, one by one"
        )
        self._measure_layers()
        order = sorted(self.divergences, key=lambda layer: -self.divergences[layer])
        fails, holds = 0, self._most(order)
        if holds:
            found = self._with(order[:holds])
        if not self.holds(found):
            raise self._refusal(found, order)
        while holds - fails > 1:
            middle = (fails + holds) // 2
            tried = self._with(order[:middle])
            if self.holds(tried):
                holds, found = middle, tried
            else:
                fails = middle
        return found

    @property
    def metric(self) -> Metric:
        """By which files are compared."""
        return best_metric(self.judge.experiment.train_config)

    def value(self, evaluation: Evaluation) -> float:
        """The metric of an evaluation."""
        return self.metric.of(evaluation)

    def drop(self, found: Found) -> float:
        """How much better FP32 is than the file in the metric: in top-1, a share of the validation images."""
        before, after = (self.metric.merit(self.value(one)) for one in (self.before, found.evaluation))
        return before - after

    def layers_in_float(self, found: Found) -> Mapping[str, float]:
        """Name and divergence of each."""
        return {self.graph.layers[node]: self.divergences[node] for node in found.in_float}

    def holds(self, found: Found) -> bool:
        """Whether its loss is allowed."""
        return self.drop(found) <= self.max_drop + 1e-9

    def _with(self, in_float: Sequence[str]) -> Found:
        content = self._content([layer for layer in self.graph.layers if layer not in in_float])
        evaluation = self.judge.evaluate(content, f"Validation in INT8, {len(in_float)} layers in float")
        return Found(content, evaluation, tuple(in_float))

    def _most(self, order: Sequence[str]) -> int:
        """How many of the layers, in this order, may be in float."""
        sizes = self.graph.sizes
        room = LARGEST_SHARE_IN_FLOAT * sum(sizes.values())
        return sum(total <= room for total in accumulate(sizes[layer] for layer in order))

    def _measure_layers(self) -> None:
        reference = self.judge.answers(self.fp32)
        with console.Progress() as bar:
            bar.begin("Layers", len(self.graph.layers))
            for number, layer in enumerate(self.graph.layers):
                self.divergences[layer] = self.judge.divergence(self._content([layer]), reference)
                bar.advance(number + 1)

    def _content(self, layers: Sequence[str]) -> bytes:
        return _described(placing.place(self.graph, self.ranges, self.layout, layers), self.fp32)

    def _refusal(self, found: Found, order: Sequence[str]) -> InaccurateError:
        worst = listed(f"{self.graph.layers[layer]} ({self.divergences[layer]:.2g})" for layer in order[:_NUM_TOLD])
        found_there = f"{self.value(found.evaluation):.4f}, in FP32 {self.value(self.before):.4f}"
        return InaccurateError(
            f"quantize: with {len(found.in_float)} of {len(order)} layers in float, half of the weights at most, INT8 "
            f"loses {self.drop(found):.4f} of {self.metric.words} ({found_there}), more than "
            f"quantize_config.max_accuracy_drop, {self.max_drop:g}; nothing was written. Alone, these change its "
            f"answers most (divergence in nats): {worst}. Try another quantize_config.method or more "
            "num_images, or allow more"
        )


def _described(message: "ModelProto", original: bytes) -> bytes:
    """The file, with what the exported one says of itself."""
    import onnx

    message.metadata_props.extend(onnx.ModelProto.FromString(original).metadata_props)
    content: bytes = message.SerializeToString()
    return content
