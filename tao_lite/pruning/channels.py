"""Which channels of a network are tied together, which must stay, and where each one is read.

Each output of a convolution or linear layer has a number. A tensor's layout is the list of the channel numbers along
its axis 1: a concatenation is a list concatenation, flatten repeats each number H*W times, an addition ties the numbers
that meet.
"""

from dataclasses import dataclass, field

Layout = list[int]


@dataclass
class Channels:
    """The channels of one network; layers by name, in the order of the computation."""

    outputs: dict[str, Layout] = field(default_factory=dict)
    inputs: dict[str, Layout] = field(default_factory=dict)
    _parents: list[int] = field(default_factory=list)
    _reasons: dict[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._parents)

    def new(self, count: int) -> Layout:
        """Numbers for channels that no layer had before."""
        layout = list(range(len(self), len(self) + count))
        self._parents.extend(layout)
        return layout

    def root(self, channel: int) -> int:
        """The lowest number among the channels tied to this one."""
        while self._parents[channel] != channel:
            self._parents[channel] = self._parents[self._parents[channel]]
            channel = self._parents[channel]
        return channel

    def tie(self, first: Layout, second: Layout) -> None:
        """From now on, channels at the same position are kept or cut together."""
        for pair in zip(first, second, strict=True):
            low, high = sorted(map(self.root, pair))
            self._parents[high] = low
            if high in self._reasons:
                self._reasons.setdefault(low, self._reasons[high])

    def keep(self, layout: Layout, reason: str) -> None:
        """From now on, these channels stay; the first reason given is remembered."""
        for channel in layout:
            self._reasons.setdefault(self.root(channel), reason)

    def why_kept(self, channel: int) -> str:
        """Why the channel must stay; empty where it may go."""
        return self._reasons.get(self.root(channel), "")

    def sources(self, layout: Layout) -> list[str]:
        """The convolutions and linear layers that make those channels of a layout that may go."""
        free = {self.root(channel) for channel in layout if not self.why_kept(channel)}
        return [name for name in self.inputs if not free.isdisjoint(map(self.root, self.outputs[name]))]

    def record(self, name: str, outputs: Layout, inputs: Layout | None = None) -> None:
        """Remembers what a layer writes and reads; a layer used twice has the same channels each time."""
        self.tie(self.outputs.setdefault(name, outputs), outputs)
        if inputs is not None:
            self.tie(self.inputs.setdefault(name, inputs), inputs)
