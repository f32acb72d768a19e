"""The signature is the one that openssl makes of SHA256SUMS, and nothing else passes for it."""

import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from tao_lite.errors import RunError
from tao_lite.files.signature import private_key, sign, verify_signature
from tao_lite.files.sums import SIGNATURE, SUMS, write_sums
from tests.conftest import ROOT
from tests.files.test_sums import flip

PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
FORM = serialization.PrivateFormat


def write_keys(folder: Path, key: PrivateKey, passphrase: str = "", form: FORM = FORM.PKCS8) -> tuple[Path, Path]:
    """PEM files of the private and the public key."""
    private, public = folder / "key.pem", folder / "public.pem"
    pem = serialization.Encoding.PEM
    protection = (
        serialization.BestAvailableEncryption(passphrase.encode()) if passphrase else serialization.NoEncryption()
    )
    private.write_bytes(key.private_bytes(pem, form, protection))
    public.write_bytes(key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    return private, public


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    return write_keys(tmp_path, ed25519.Ed25519PrivateKey.generate())


@pytest.fixture
def package(tmp_path: Path, keys: tuple[Path, Path]) -> Path:
    folder = tmp_path / "package"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"network")
    write_sums(folder)
    sign(folder, keys[0])
    return folder


def openssl(*words: object) -> str:
    """What openssl says; the test is skipped where it is not there."""
    try:
        done = subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True, check=True)
    except FileNotFoundError:
        pytest.skip("needs the program openssl")
    return done.stdout


def test_openssl_makes_keys_and_signatures_for_us_and_verifies_ours(tmp_path: Path, package: Path) -> None:
    """By the lines of specs/guides/deployment.md."""
    private, public = tmp_path / "k.pem", tmp_path / "p.pem"
    openssl("genpkey", "-algorithm", "ed25519", "-out", private)
    openssl("pkey", "-in", private, "-pubout", "-out", public)
    sign(package, private)
    verify_signature(package, public)
    what = ("-rawin", "-in", package / SUMS)
    said = openssl("pkeyutl", "-verify", "-pubin", "-inkey", public, *what, "-sigfile", package / SIGNATURE)
    assert said == "Signature Verified Successfully\n"
    openssl("pkeyutl", "-sign", "-inkey", private, *what, "-out", tmp_path / "theirs.sig")
    assert (tmp_path / "theirs.sig").read_bytes() == (package / SIGNATURE).read_bytes()


def test_another_key_a_changed_list_and_a_changed_signature_do_not_pass(
    tmp_path: Path, package: Path, keys: tuple[Path, Path]
) -> None:
    public = keys[1]
    for name in (SUMS, SIGNATURE):
        whole = (package / name).read_bytes()
        for place in range(len(whole)):
            flip(package / name, place)
            with pytest.raises(RunError, match=r"SHA256SUMS\.sig: is not the signature of SHA256SUMS by "):
                verify_signature(package, public)
            (package / name).write_bytes(whole)
    verify_signature(package, public)
    for content in (b"", b"0" * 63, b"0" * 65):
        (package / SIGNATURE).write_bytes(content)
        with pytest.raises(RunError, match="is not the signature"):
            verify_signature(package, public)
    sign(package, keys[0])
    write_keys(tmp_path, ed25519.Ed25519PrivateKey.generate())
    with pytest.raises(RunError) as caught:
        verify_signature(package, public)
    assert str(caught.value) == (
        f"{package / SIGNATURE}: is not the signature of SHA256SUMS by {public}: one of both was changed, or somebody "
        "else has signed; trust nothing in this folder"
    )


def test_a_missing_signature_and_a_folder_without_sums_are_said(package: Path, keys: tuple[Path, Path]) -> None:
    (package / SIGNATURE).unlink()
    with pytest.raises(RunError, match="is missing: the package was not signed, or its signature was removed"):
        verify_signature(package, keys[1])
    (package / SUMS).unlink()
    with pytest.raises(RunError, match="SHA256SUMS: no such file"):
        sign(package, keys[0])


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        (ec.generate_private_key(ec.SECP256R1()), "E[Cl]\\w+"),
        (rsa.generate_private_key(public_exponent=65537, key_size=2048), "RSA\\w+"),
    ],
    ids=["ec", "rsa"],
)
def test_keys_of_another_kind_are_refused(tmp_path: Path, package: Path, key: PrivateKey, kind: str) -> None:
    private, public = write_keys(tmp_path, key)
    with pytest.raises(RunError, match=f"holds a key of the kind {kind}, and an Ed25519 key is needed; make one with"):
        sign(package, private)
    with pytest.raises(RunError, match=f"holds a key of the kind {kind}, and an Ed25519 key is needed; ask who signed"):
        verify_signature(package, public)


@pytest.mark.parametrize("form", [FORM.PKCS8, FORM.TraditionalOpenSSL])
def test_a_key_with_a_passphrase_is_refused_with_the_line_that_opens_it(tmp_path: Path, form: FORM) -> None:
    key = ec.generate_private_key(ec.SECP256R1()) if form == FORM.TraditionalOpenSSL else None
    private, _ = write_keys(tmp_path, key or ed25519.Ed25519PrivateKey.generate(), "secret", form)
    with pytest.raises(RunError) as caught:
        private_key(private)
    assert str(caught.value) == (
        f"{private}: is protected by a passphrase; write an open copy, where nobody else reads it, with openssl pkey "
        f"-in {private} -out OPEN"
    )


def test_what_is_no_such_key_is_refused(tmp_path: Path, package: Path, keys: tuple[Path, Path]) -> None:
    private, public = keys
    broken, certificate, text = tmp_path / "broken.pem", tmp_path / "certificate.pem", tmp_path / "text.pem"
    broken.write_bytes(private.read_bytes().replace(b"MC4C", b"MC4D"))
    certificate.write_text("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
    text.write_text("ssh-ed25519 AAAA")
    make = "make one with openssl genpkey -algorithm ed25519 -out KEY"
    for path, said in (
        (public, f"holds a public key, and a private key is needed; {make}"),
        (certificate, f"holds a certificate, and a private key is needed; {make}"),
        (text, f"is no PEM file, and a private key is needed; {make}"),
        (broken, f"the private key in it can't be read; {make}"),
        (tmp_path / "absent.pem", "no such file; check the path"),
        (tmp_path, "is a folder, not a regular file"),
    ):
        with pytest.raises(RunError) as caught:
            sign(package, path)
        assert str(caught.value) == f"{path}: {said}"
    with pytest.raises(
        RunError, match="holds a private key, and a public key is needed; make it with openssl pkey -in"
    ):
        verify_signature(package, private)


def test_without_cryptography_the_way_to_get_it_is_said(package: Path, keys: tuple[Path, Path]) -> None:
    code = (
        "import sys; from pathlib import Path; sys.path.append(sys.argv[3])\n"
        "from tao_lite.errors import RunError; from tao_lite.files.signature import sign\n"
        "try: sign(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "except RunError as error: print(error)"
    )
    words = [sys.executable, "-I", "-S", "-c", code, package, keys[0], ROOT]  # -S: without installed packages
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=True)
    assert done.stdout == "signatures need cryptography; install it with pip install 'tao-lite[sign]'\n"
