"""Comments of YAML."""

from collections.abc import Iterator

import yaml

from tao_lite.spec.text.comments import Comment


def of(text: str) -> Iterator[Comment]:
    """All comments: what stands between two tokens, for there is nothing else but blanks."""
    end, line = 0, 1
    for token in yaml.scan(text, Loader=yaml.SafeLoader):
        start = token.start_mark.index
        for offset, part in enumerate(text[end:start].split("\n")):
            words = part.strip()
            if words.startswith("#"):
                yield Comment(line + offset, words, is_alone=offset > 0 or not text[:end].rpartition("\n")[2].strip())
        if token.end_mark.index >= end:
            end, line = token.end_mark.index, token.end_mark.line + 1
