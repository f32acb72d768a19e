"""Where the user's caches are, and which folder there stands for a URL: its name is the URL, so that it leads back."""

import os
import re
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

REMOTE = "remote"
"""Folder, below that of caches, of those that stand for URLs."""
SHARDS = ".shards"
"""Folder, in one that stands for a URL, of the files that are fetched when they are needed."""

_SCHEMES = ("s3", "gs", "https", "http")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_MOST_IN_A_NAME = 255


def cache_home() -> Path:
    """Where the user's programs keep what they can make or fetch again."""
    folder = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # A relative folder counts as none by the XDG specification; Path.home raises where there is no home.
    return folder if folder.is_absolute() else Path(os.path.expanduser("~/.cache"))  # noqa: PTH111


def own_cache() -> Path:
    """Where our caches are unless the spec says else."""
    return cache_home() / "tao_lite"


def is_url(text: str) -> bool:
    """Whether the text is a URL, of whatever scheme."""
    return _URL.match(text) is not None


def problem(url: str) -> str:
    """Why the URL can't be that of a folder of files, with what to do; empty if it can. It quotes no secret."""
    shown, parts = hidden(url), urlsplit(url)
    if "@" in parts.netloc:
        return f'"{shown}" holds credentials, which a spec is no place for; take them out and export them as variables'
    if parts.query or parts.fragment:
        return f'"{shown}" must end with the path: a signed URL is of one file, and its signature is a secret'
    if parts.scheme not in _SCHEMES:
        return (
            f'"{shown}" begins with {parts.scheme}://, must be {", ".join(f"{one}://" for one in _SCHEMES)} or file://'
        )
    if not parts.netloc:
        return f'"{shown}" names no bucket or server'
    return f'"{shown}" is too long' if len(quote(url, safe="")) > _MOST_IN_A_NAME else ""


def hidden(url: str) -> str:
    """The URL without what may be secret in it."""
    parts = urlsplit(url)
    _, at, server = parts.netloc.rpartition("@")
    return f"{parts.scheme}://{'***' if at else ''}{at}{server}{parts.path}{'?***' if parts.query else ''}"


def stand_in(url: str, caches: Path) -> Path:
    """The folder that stands for the URL or, of a file:// URL, the path that it means."""
    if url.lower().startswith("file://"):
        return Path(unquote(urlsplit(url).path))
    return caches / REMOTE / quote(url.rstrip("/"), safe="")


def url_of(folder: Path) -> str:
    """The URL that the folder stands for; empty for any other folder."""
    return unquote(folder.name) if folder.parent.name == REMOTE and "%3A%2F%2F" in folder.name else ""


def fetched(file: Path) -> tuple[str, str]:
    """URL of the folder and name of a file that is fetched when it is needed; empty texts for any other file."""
    url = url_of(file.parent.parent) if file.parent.name == SHARDS else ""
    return (url, file.name) if url else ("", "")
