"""LeftOut: what a data set loses on its way to the network, counted once by class and reason; and what is too much."""

import logging
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tao_lite.errors import DataError

MAX_SHARE_OF_CLASS = 0.1
"""Of a class that has lost more, users are warned."""
LOGGED = 20
NUM_NAMED = 3

_log = logging.getLogger(__name__)


class Reason(NamedTuple):
    """Why something is left out: how JSON and sentences call it, and what brings it back.

    `keeps` is the value of the spec's `field` with which nothing is left out for it. It may be meant so by the user.
    """

    key: str
    text: str
    field: str = ""
    keeps: str = ""
    is_meant: bool = False

    def __str__(self) -> str:
        return f"{self.text} ({self.field})" if self.field else self.text


UNREADABLE = Reason("unreadable", "unreadable")
WRONG_LABEL = Reason("wrong_label", "wrongly labelled")
UNLABELLED = Reason("unlabelled", "pictures without label file")
NO_OBJECTS = Reason("no_objects", "pictures without objects", is_meant=True)
DOUBLE = Reason("double", "second files of a frame")
DOUBLE_ID = Reason("double_id", "second ones of an id")
CROWD = Reason("crowd", "crowds", is_meant=True)
NO_PICTURE = Reason("no_picture", "labels without picture")
SUFFIX = Reason("suffix", "not read by their suffix")
NO_CLASS = Reason("no_class", "in no class folder")
NO_LABEL = Reason("no_label", "without a label in any task")
OUTSIDE = Reason("outside", "links out of their folder")
SYSTEM = Reason("system", "of systems and programs", is_meant=True)
DONT_CARE = Reason("dont_care", "DontCare", is_meant=True)
EXCLUDED = Reason("excluded", "excluded by a list", "dataset_config.exclude", is_meant=True)
IGNORED = Reason("ignored", "of ignored classes", "dataset_config.kitti.ignored_classes", is_meant=True)


class Loss(NamedTuple):
    """What a data set has lost, in a sentence; it is an error where nothing should be trained on the rest."""

    is_error: bool
    text: str
    about: tuple[str, ...] = ()
    """Class and reasons: a warning of the same is not repeated."""


Losses = Mapping[tuple[Reason, str], int]
"""How many examples, by reason and class; the class is empty where it is not known."""


class LeftOut:
    """What is left out of one data set. May be told from several threads.

    `name` is how messages call the data set. With `fail`, the first problem ends the run, and `remedy` is said; at most
    `max_bad_share` may be unreadable. Problems are logged, the first of them, unless is_logged is false.
    """

    def __init__(
        self,
        name: str = "the data set",
        *,
        fail: bool = False,
        remedy: str = "repair it, or set dataset_config.on_bad_example: SKIP to go on without it",
        max_bad_share: float = 1,
        is_logged: bool = True,
    ) -> None:
        self.name, self.fail, self.max_bad_share = name, fail, max_bad_share
        self._remedy = remedy
        self._is_logged = is_logged
        self._problems: dict[tuple[str, str], None] = {}
        self._counts: Counter[tuple[Reason, str]] = Counter()
        self._of_epoch: Counter[str] = Counter()
        self._named: dict[Reason, list[str]] = {}
        self._warned: set[tuple[str, ...]] = set()
        self._lock = threading.Lock()

    def __call__(self, place: str, problem: str, reason: Reason = UNREADABLE, labels: Sequence[str] = ("",)) -> None:
        """Note, once, that `place` (a path, or path:line) was left out because of `problem`.

        `labels`: the classes of the examples that are lost with it; none where these are counted by `unread`.

        Raises:
            DataError: the policy is FAIL.
        """
        if self.fail:
            raise DataError(f"{place}: {problem}; {self._remedy}")
        with self._lock:
            if (place, problem) in self._problems:
                return
            self._problems[place, problem] = None
            count = len(self._problems)
            self._name(reason, place)
            for label in labels:
                self._counts[reason, label] += 1
        if self._is_logged and count <= LOGGED:
            _log.warning("%s: %s", place, problem)
            if count == LOGGED:
                _log.warning("further problems are counted, not shown")

    def count(self, reason: Reason, label: str = "", place: str = "", *, number: int = 1) -> None:
        """Count what is no problem: a filter left it out."""
        with self._lock:
            self._counts[reason, label] += number
            self._name(reason, place)

    def state(self) -> dict[str, Any]:
        """Plain values from which `restore` makes the same again."""
        return {
            "problems": list(self._problems),
            "counts": [[reason, label, number] for (reason, label), number in self._counts.items()],
            "named": [[reason, places] for reason, places in self._named.items()],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Have noted what another one had."""
        self._problems = dict.fromkeys((place, problem) for place, problem in state["problems"])
        self._counts = Counter({(Reason(*reason), label): number for reason, label, number in state["counts"]})
        self._named = {Reason(*reason): places for reason, places in state["named"]}

    def unread(self, counts: Mapping[str, int]) -> None:
        """Take in how many images of each class could not be read in an epoch; most of them are the same in each."""
        with self._lock:
            self._of_epoch |= Counter(counts)

    @property
    def problems(self) -> list[tuple[str, str]]:
        """The places and problems that were told, in their order."""
        return list(self._problems)

    @property
    def counts(self) -> Losses:
        unread = Counter({(UNREADABLE, label): number for label, number in self._of_epoch.items()})
        return self._counts + unread

    def number(self, reason: Reason) -> int:
        return _by_reason(self.counts)[reason]

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    def __str__(self) -> str:
        """How many were left out and why, and by which field of the spec."""
        return ", ".join(f"{number} {reason}" for reason, number in _by_reason(self.counts).most_common()) or "none"

    def values(self) -> dict[str, Any]:
        """Plain values for JSON: total; reasons, and classes with their reasons, each with its number; some names."""
        classes: dict[str, dict[str, int]] = {}
        for (reason, label), number in sorted(self.counts.items(), key=lambda item: (item[0][1], item[0][0].key)):
            if label:
                classes.setdefault(label, {})[reason.key] = number
        return {
            "total": self.total,
            "reasons": {reason.key: number for reason, number in _by_reason(self.counts).most_common()},
            "classes": classes,
            "examples": {reason.key: places for reason, places in self._named.items()},
        }

    def losses(self, kept: Mapping[str, int], lost: Losses | None = None) -> list[Loss]:
        """What is wrong with what is left, errors first: `kept` examples of each class, beside those `lost`.

        Of an error: nothing can be read, or too much of the whole can't, or a class has gone.
        """
        lost = self.counts if lost is None else lost
        return sorted([*self._of_whole(kept, lost), *_of_classes(kept, lost)], key=lambda loss: not loss.is_error)

    def verify(self, kept: Mapping[str, int], lost: Losses | None = None) -> None:
        """Warn, once, of what `losses` finds.

        Raises:
            DataError: it finds an error.
        """
        for loss in self.losses(kept, lost):
            if loss.is_error:
                raise DataError(f"{self.name}: {loss.text}")
            if loss.about not in self._warned:
                self._warned.add(loss.about)
                _log.warning("%s: %s", self.name, loss.text)

    def is_too_much(self, num_unread: int, num_examples: int) -> bool:
        """Whether so many of the examples may not be unreadable."""
        return num_unread > self.max_bad_share * num_examples

    def _of_whole(self, kept: Mapping[str, int], lost: Losses) -> Iterator[Loss]:
        num_kept, num_unread = sum(kept.values()), _by_reason(lost)[UNREADABLE]
        total = num_kept + num_unread
        if num_unread and (not num_kept or self.is_too_much(num_unread, total)):
            place, problem = next(((place, f": {text}") for place, text in self._problems), ("", ""))
            such = f", such as {place}{problem}" if place else ""
            limit = f" (dataset_config.max_bad_share is {self.max_bad_share:g})" if num_kept else ""
            remedy = f"repair or remove them{limit}, or bring back the disk that they are on"
            yield Loss(True, f"{num_unread} of {total} examples can't be read{such}; {remedy}")

    def _name(self, reason: Reason, place: str) -> None:
        named = self._named.setdefault(reason, [])
        if place and len(named) < NUM_NAMED and place not in named:
            named.append(place)


def lines(reports: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A line for each data set of which something was left out; its values as of `LeftOut.values`."""
    return [
        f"{name}: left out {values['total']}: "
        + ", ".join(f"{number} {key.replace('_', ' ')}" for key, number in values["reasons"].items())
        for name, values in reports.items()
        if values["total"]
    ]


def _of_classes(kept: Mapping[str, int], lost: Losses) -> Iterator[Loss]:
    reasons: dict[str, Counter[Reason]] = {}
    for (reason, label), number in lost.items():
        if label and number and not reason.is_meant:
            reasons.setdefault(label, Counter())[reason] += number
    for label, counts in sorted(reasons.items()):
        number, left = counts.total(), kept.get(label, 0)
        why = ", ".join(f"{count} {reason}" for reason, count in counts.most_common())
        if not left:
            yield Loss(True, f"class {label!r} has lost all of its {number} examples: {why}; {_remedy(counts)}")
        elif number > MAX_SHARE_OF_CLASS * (number + left):
            text = f"class {label!r} has lost {number} of {number + left} examples: {why}; {_remedy(counts)}"
            yield Loss(False, text, (label, *sorted(reason.key for reason in counts)))


def _remedy(reasons: Iterable[Reason]) -> str:
    fields = [f"set {reason.field}: {reason.keeps}" for reason in reasons if reason.keeps]
    others = ["repair or convert the others" if fields else "repair or convert them"]
    return " and ".join([*fields, *(others if any(not reason.keeps for reason in reasons) else [])])


def _by_reason(losses: Losses) -> Counter[Reason]:
    counts: Counter[Reason] = Counter()
    for (reason, _), number in losses.items():
        counts[reason] += number
    return counts
