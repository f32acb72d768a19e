"""By which number of its evaluation one network is better than another, and which way that number goes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tao_lite.metrics.counts import Evaluation
from tao_lite.metrics.joint import JointEvaluation, Result
from tao_lite.metrics.labels import LabelsEvaluation


@dataclass(frozen=True, kw_only=True)
class Metric:
    """`words` for people; `key` in files, with val_ before it; `of` gives the number of an evaluation."""

    name: str
    words: str
    key: str
    of: Callable[[Result], float]
    is_lower_better: bool = False

    def merit(self, value: float) -> float:
        """The value, turned so that higher is better; of a merit, the value."""
        return -value if self.is_lower_better else value

    @property
    def extra(self) -> bool:
        """Whether it is said beside accuracy and loss, which always are."""
        return self.key not in ("accuracy", "loss")

    def said(self, result: Result) -> dict[str, float]:
        """Its number by its key, where it is said beside accuracy and loss."""
        return {self.key: self.of(result)} if self.extra else {}


def _over_tasks(score: Callable[[Evaluation | LabelsEvaluation], float]) -> Callable[[Result], float]:
    """The score or, of several tasks, its mean over those that have labels."""
    return lambda result: result.mean(score) if isinstance(result, JointEvaluation) else score(result)


TOP1 = Metric(name="TOP1", words="top-1", key="accuracy", of=lambda result: result.top1)

METRICS: Mapping[str, Metric] = {
    one.name: one
    for one in (
        TOP1,
        Metric(name="MACRO_F1", words="macro F1", key="macro_f1", of=_over_tasks(lambda one: one.macro_f1)),
        Metric(
            name="BALANCED_ACCURACY",
            words="balanced accuracy",
            key="balanced_accuracy",
            of=_over_tasks(lambda one: one.balanced_accuracy),
        ),
        Metric(name="LOSS", words="loss", key="loss", of=lambda result: result.loss, is_lower_better=True),
    )
}
"""By the names of BestMetric in proto/classification.proto."""
