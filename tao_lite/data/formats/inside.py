"""Inside: files that a file of labels names, none of them outside a folder."""

import os
from pathlib import Path

from tao_lite.errors import brief
from tao_lite.files.noting import note


class Inside:
    """Finds what is named below a folder; state, for it keeps which folders there it has looked at."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._below = os.path.join(os.path.realpath(root), "")  # noqa: PTH118 - ends with a slash
        self._is_inside: dict[str, bool] = {}

    def path(self, name: str) -> Path:
        """The path that a name, of Windows too, means below the folder, whether or not it is there.

        Raises:
            ValueError: it leads out, by itself or through a link to a folder.
        """
        place = os.path.normpath(os.path.join(self.root, name.replace("\\", "/")))  # noqa: PTH118 - a million of them
        folder = os.path.dirname(place)  # noqa: PTH120 - likewise
        if folder not in self._is_inside:
            note(folder)
            is_below = Path(place).is_relative_to(self.root)
            self._is_inside[folder] = is_below and os.path.join(os.path.realpath(folder), "").startswith(self._below)  # noqa: PTH118 - ends with a slash
        if not self._is_inside[folder] or "\0" in name:
            raise ValueError(f"{brief(name)} leads out of {self.root}")
        return Path(place)

    def holds(self, name: str) -> bool:
        """Whether the file is there."""
        try:
            return self.path(name).is_file()
        except ValueError:
            return False
