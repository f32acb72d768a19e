"""`tao-lite verify`: exit code 0 for a package as it was packed, 2 and a line for each file that differs."""

import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from tao_lite.cli.main import main
from tao_lite.files.signature import sign
from tao_lite.files.sums import SIGNATURE, SUMS, write_sums
from tests.files.test_signature import write_keys
from tests.files.test_sums import flip

FILES = ("1/model.onnx", "README.md", "client.py", "preprocess.json")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "package"
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"content of {name}\n")
    write_sums(folder)
    return folder


@pytest.fixture
def public(tmp_path: Path, package: Path) -> Path:
    """The key that verifies the package's signature."""
    private, public = write_keys(tmp_path, ed25519.Ed25519PrivateKey.generate())
    sign(package, private)
    return public


def verify(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Exit code, output and errors."""
    with pytest.raises(SystemExit) as end:
        main(["verify", *map(str, words)])
    said = capsys.readouterr()
    assert isinstance(end.value.code, int)
    return end.value.code, said.out, said.err


def test_a_package_as_it_was_packed_is_ok(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(capsys, package) == (0, f"{package}: ok, as in SHA256SUMS\n", "")


def test_a_signature_is_checked_with_a_key_and_said_without(
    package: Path, public: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = f"{package}: ok, as in SHA256SUMS, which {public} has signed\n"
    assert verify(capsys, package, "--key", public) == (0, said, "")
    unchecked = "SHA256SUMS.sig was not checked; give the signer's public key with --key\n"
    assert verify(capsys, package) == (0, f"{package}: ok, as in SHA256SUMS\n", unchecked)


@pytest.mark.parametrize("name", [*FILES, SUMS, SIGNATURE])
def test_one_flipped_byte_in_any_file_names_it(
    package: Path, public: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flip(package / name, 5)
    code, out, err = verify(capsys, package, "--key", public)
    assert code == 2
    assert name in (out + err)
    assert (name in FILES) == out.startswith(f"{name}: was changed")


def test_every_difference_has_a_line(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flip(package / "client.py", 0)
    (package / "README.md").unlink()
    (package / "1" / "extra\x1b[2J").touch()
    assert verify(capsys, package) == (
        2,
        "1/extra\\x1b[2J: is new\nREADME.md: is missing\nclient.py: was changed, or line 3 of SHA256SUMS was\n",
        f"{package}: is not as it was packed: 3 files differ\n",
    )


def test_a_signature_that_is_missing_or_does_not_fit_is_an_error(
    tmp_path: Path, package: Path, public: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_keys(tmp_path, ed25519.Ed25519PrivateKey.generate())
    code, out, err = verify(capsys, package, "--key", public)
    assert (code, out) == (2, "")
    assert err.startswith(f"Error: {package / SIGNATURE}: is not the signature of SHA256SUMS by {public}: ")
    (package / SIGNATURE).unlink()
    code, out, err = verify(capsys, package, "--key", public)
    assert (code, out) == (2, "")
    assert err.startswith(f"Error: {package / SIGNATURE}: is missing: the package was not signed")


def test_a_folder_that_is_no_package_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = f"Error: {tmp_path}: has no SHA256SUMS; is it a package that tao-lite export has made?\n"
    assert verify(capsys, tmp_path) == (2, "", said)


def test_verify_imports_nothing_that_takes_long(package: Path, public: Path) -> None:
    code = (
        "import sys\nfrom tao_lite.cli.main import main\n"
        f"try:\n    main(['verify', {str(package)!r}, '--key', {str(public)!r}])\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "heavy = {'torch', 'torchvision', 'numpy', 'PIL', 'tensorboard', 'rich', 'yaml'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
