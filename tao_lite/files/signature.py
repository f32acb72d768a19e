"""The signature of SHA256SUMS: plain Ed25519 with a key in a PEM file, as openssl makes, signs and verifies it.

Its 64 bytes depend on nothing but file and key: two packages that are equal stay so when they are signed.
"""

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tao_lite.errors import RunError
from tao_lite.files import reading, writing
from tao_lite.files.sums import SIGNATURE, SUMS

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

T = TypeVar("T")

_MOST_BYTES = 2**16
_LABEL = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----")
_MAKE = "make one with openssl genpkey -algorithm ed25519 -out KEY"
_MAKE_PUBLIC = "make it with openssl pkey -in KEY -pubout -out PUBLIC"


def private_key(path: Path) -> "Ed25519PrivateKey":
    """The key in a PEM file, to sign with.

    Raises:
        RunError: it holds none, another kind, or one with a passphrase; or cryptography is not installed.
        ReadError: the system can't read it now.
    """
    _refuse_missing()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = _loaded(path, "private key", lambda content: load_pem_private_key(content, password=None), _MAKE)
    if not isinstance(key, Ed25519PrivateKey):
        raise RunError(f"{path}: holds {_kind(key)}, and an Ed25519 key is needed; {_MAKE}")
    return key


def public_key(path: Path) -> "Ed25519PublicKey":
    """The key in a PEM file, to verify with.

    Raises:
        RunError: it holds none or another kind; or cryptography is not installed.
        ReadError: the system can't read it now.
    """
    _refuse_missing()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    key = _loaded(path, "public key", load_pem_public_key, _MAKE_PUBLIC)
    if not isinstance(key, Ed25519PublicKey):
        raise RunError(f"{path}: holds {_kind(key)}, and an Ed25519 key is needed; ask who signed for theirs")
    return key


def sign(folder: Path, private_key_pem: Path) -> None:
    """Write SHA256SUMS.sig beside the folder's SHA256SUMS.

    Raises:
        RunError: as private_key, or there is no SHA256SUMS, or the signature can't be written.
        ReadError: the system can't read a file now.
    """
    key = private_key(private_key_pem)
    writing.write(folder / SIGNATURE, key.sign(reading.read(folder / SUMS, RunError, max_bytes=reading.MAX_TEXT_BYTES)))


def verify_signature(folder: Path, public_key_pem: Path) -> None:
    """Return where SHA256SUMS.sig is the signature of SHA256SUMS by that key.

    Raises:
        RunError: it isn't, or is missing; or as public_key.
        ReadError: the system can't read a file now.
    """
    key, path = public_key(public_key_pem), folder / SIGNATURE
    from cryptography.exceptions import InvalidSignature

    content = reading.read(folder / SUMS, RunError, max_bytes=reading.MAX_TEXT_BYTES)
    if path.is_symlink() or not path.is_file():
        raise RunError(f"{path}: is missing: the package was not signed, or its signature was removed")
    try:
        key.verify(reading.read(path, RunError, max_bytes=_MOST_BYTES), content)
    except InvalidSignature as error:
        raise RunError(
            f"{path}: is not the signature of {SUMS} by {public_key_pem}: one of both was changed, or somebody else "
            "has signed; trust nothing in this folder"
        ) from error


def _refuse_missing() -> None:
    if importlib.util.find_spec("cryptography") is None:
        raise RunError("signatures need cryptography; install it with pip install 'tao-lite[sign]'")


def _loaded(path: Path, what: str, load: Callable[[bytes], T], remedy: str) -> T:
    """What `load` makes of the PEM file, whose label has to end like `what`."""
    from cryptography.exceptions import UnsupportedAlgorithm

    content = reading.read(path, RunError, max_bytes=_MOST_BYTES)
    label = _LABEL.search(content)
    if not label:
        raise RunError(f"{path}: is no PEM file, and a {what} is needed; {remedy}")
    found = label[1].decode().lower()
    if not found.endswith(what):
        raise RunError(f"{path}: holds a {found}, and a {what} is needed; {remedy}")
    try:
        return load(content)
    except TypeError as error:
        raise RunError(
            f"{path}: is protected by a passphrase; write an open copy, where nobody else reads it, with openssl pkey "
            f"-in {path} -out OPEN"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise RunError(f"{path}: the {found} in it can't be read; {remedy}") from error


def _kind(key: object) -> str:
    """The kind of another key, as cryptography calls it."""
    return f"a key of the kind {type(key).__name__.lstrip('_')}"
