"""Store: the files in a folder behind a URL, by fsspec. What fails is tried anew, within a bounded time.

Credentials are the libraries' affair, which take them from the environment; what is said names no more than the URL.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

from tao_lite.errors import StoreError, brief, refuse_missing
from tao_lite.files.places import hidden, problem

PART_BYTES = 2**23
"""Of one request: long enough that its latency counts little, short enough to be asked for again."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_LONGEST_ANSWER = 30.0
_SLOWEST = 2**19
"""Bytes a second that a store must take."""
_NO_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError", "ProfileNotFound")
_PACKAGES = {"s3": ("fsspec", "s3fs"), "gs": ("fsspec", "gcsfs"), "https": ("fsspec", "aiohttp")}

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Entry(NamedTuple):
    """Bytes of a file in a store, and what changes with its content."""

    size: int
    state: str


class Store:
    """list, read and write files directly in the folder. For several threads."""

    def __init__(self, url: str, timeout_seconds: float) -> None:
        """`timeout_seconds` is how long one request may fail in all.

        Raises:
            StoreError: the URL can't be that of a store.
            RunError: a package is missing.
        """
        if why := problem(url):
            raise StoreError(why)
        self.url, self._timeout = hidden(url), timeout_seconds
        scheme = url.partition("://")[0]
        refuse_missing(self.url, "remote", *_PACKAGES.get(scheme, _PACKAGES["https"]))
        import fsspec.core

        logging.getLogger("s3fs").setLevel(logging.ERROR)  # it warns of attempts, as we do
        self._files: Any
        self._files, self._folder = fsspec.core.url_to_fs(url, **_options(scheme, self._answer_seconds))
        # Our own attempts are the ones that count, and the time that they take.
        if scheme == "s3":
            self._files.retries = 1
        self._is_told = threading.Event()

    @property
    def _answer_seconds(self) -> float:
        return min(_LONGEST_ANSWER, self._timeout)

    def list(self) -> dict[str, Entry]:
        """The files by their names; none where there is no such folder.

        Raises:
            StoreError: the store fails or refuses.
        """
        try:
            found = self._tried("", lambda: self._call("ls", self._folder, detail=True))
        except FileNotFoundError:
            return {}
        files = {entry["name"].rpartition("/")[2]: entry for entry in found if entry["type"] == "file"}
        return {name: _entry(entry if entry["size"] is not None else self._info(name)) for name, entry in files.items()}

    def read(self, name: str) -> bytes:
        """The content of a small file.

        Raises:
            FileNotFoundError: there is none.
            StoreError: as list.
        """
        content: bytes = self._tried(name, lambda: self._call("cat_file", f"{self._folder}/{name}"))
        return content

    def parts(self, name: str, size: int) -> Iterator[bytes]:
        """The content of a file of that many bytes, by parts of PART_BYTES.

        Raises:
            FileNotFoundError: there is none.
            StoreError: as list, or it has fewer bytes, or the server gives no parts.
        """
        for start in range(0, size, PART_BYTES):
            end = min(start + PART_BYTES, size)

            def part(start: int = start, end: int = end) -> bytes:
                content: bytes = self._call("cat_file", f"{self._folder}/{name}", start=start, end=end)
                if len(content) == end - start:
                    return content
                raise OSError(f"{len(content):,} bytes came of the {end - start:,} from {start:,} on")

            yield self._tried(name, part)

    def write(self, name: str, content: bytes) -> None:
        """Put a file there, whole or not at all.

        Raises:
            StoreError: as list.
        """
        try:
            more = len(content) / _SLOWEST
            self._tried(name, lambda: self._call("pipe_file", f"{self._folder}/{name}", content, _more_seconds=more))
        except FileNotFoundError as error:
            raise StoreError(f"{self.url}/{name}: can't be written ({_reason(error)}); is the bucket there?") from error

    def remove(self, name: str) -> None:
        """Remove a file, if it is there.

        Raises:
            StoreError: as list.
        """
        try:
            self._tried(name, lambda: self._call("rm_file", f"{self._folder}/{name}"))
        except FileNotFoundError:
            return

    def _info(self, name: str) -> dict[str, Any]:
        """Of a file of which a listing says no more than its name, as those of web servers."""
        found: dict[str, Any] = self._tried(name, lambda: self._call("info", f"{self._folder}/{name}"))
        return found

    def _call(self, method: str, *arguments: Any, _more_seconds: float = 0, **named: Any) -> Any:
        """The result of a method of fsspec's, within a bounded time."""
        import fsspec.asyn

        function = getattr(self._files, f"_{method}")
        seconds = self._answer_seconds + _more_seconds
        return fsspec.asyn.sync(self._files.loop, function, *arguments, timeout=seconds, **named)

    def _tried(self, name: str, act: Callable[[], T]) -> T:
        """What `act` returns; called anew, after longer and longer pauses, while the store fails.

        Raises:
            FileNotFoundError: there is no such thing.
            StoreError: it fails for too long, or refuses.
        """
        place, until, pause = "/".join(filter(None, (self.url, name))), time.monotonic() + self._timeout, _FIRST_PAUSE
        while True:
            try:
                found = act()
            except FileNotFoundError:
                raise
            except Exception as error:
                if _is_refusal(error):
                    raise StoreError(f"{place}: access was refused ({_reason(error)}); {_ACCESS}") from error
                if time.monotonic() + pause > until:
                    raise StoreError(f"{place}: {_gave_up(self._timeout, error)}") from error
                if not self._is_told.is_set():
                    self._is_told.set()
                    _log.warning("%s: the store fails (%s); tried anew for %g s", place, _reason(error), self._timeout)
            else:
                self._is_told.clear()
                return found
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)


_ACCESS = (
    "export credentials that may use the bucket, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
    "or have its policy changed"
)


def _gave_up(seconds: float, error: Exception) -> str:
    return (
        f"the store fails for {seconds:g} s ({_reason(error)}); check the network and AWS_ENDPOINT_URL, or raise "
        "dataset_config.store_timeout_seconds, then give the same command again"
    )


def _is_refusal(error: Exception) -> bool:
    return isinstance(error, PermissionError) or type(error).__name__ in _NO_CREDENTIALS


def _reason(error: Exception) -> str:
    return brief(str(error).strip() or type(error).__name__)[1:-1]


def _entry(found: dict[str, Any]) -> Entry:
    state = found.get("ETag") or found.get("etag") or found.get("md5Hash") or found.get("mtime") or ""
    return Entry(int(found.get("size") or 0), str(state).strip('"'))


def _options(scheme: str, seconds: float) -> dict[str, Any]:
    """What a library is told: no attempts and no listings of its own."""
    if scheme == "s3":
        config = {"connect_timeout": seconds, "read_timeout": seconds, "retries": {"max_attempts": 1}}
        return {"config_kwargs": config, "use_listings_cache": False}
    return {"use_listings_cache": False}
