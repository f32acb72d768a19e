"""Stub CUDA libraries, so that torchvision as the index has it, built for CUDA, loads beside a torch for CPUs.

stub_cuda.py SITE_PACKAGES FOLDER writes them to FOLDER. Only for the test's base image: every stub does nothing, and
only code that never runs without a GPU calls one. Needs nm, readelf and gcc.
"""

import subprocess
import sys
from pathlib import Path

_SYSTEM = ("libc.so.6", "libm.so.6", "libstdc++.so.6", "libgcc_s.so.1", "ld-linux-x86-64.so.2")


def main(site: Path, folder: Path) -> None:
    extensions = sorted(site.glob("torchvision/*.so"))
    libraries = [*site.glob("torch/lib/*.so*"), *(Path("/lib/x86_64-linux-gnu") / name for name in _SYSTEM)]
    missing = _symbols(extensions, "--undefined-only") - _symbols(libraries, "--defined-only")
    missing = {name for name in missing if name.startswith(("_Z", "__cuda", "cuda")) and not name.startswith("_ZTH")}
    for library in sorted(_needed(extensions)):
        is_runtime = library.startswith("libcudart")
        own = {name for name in missing if name.startswith(("__cuda", "cuda")) == is_runtime}
        _build(folder / library, set() if library == "libtorch_cuda.so" else own, versioned=is_runtime)


def _symbols(files: list[Path], which: str) -> set[str]:
    listing = (_output("nm", "-D", which, str(file)) for file in files)
    return {line.split()[-1].split("@")[0] for text in listing for line in text.splitlines() if line.strip()}


def _needed(extensions: list[Path]) -> set[str]:
    """CUDA libraries that the extensions ask the loader for."""
    entries = [line for file in extensions for line in _output("readelf", "-d", str(file)).splitlines()]
    return {line.split()[-1].strip("[]") for line in entries if "NEEDED" in line and "cuda" in line}


def _build(path: Path, names: set[str], *, versioned: bool) -> None:
    """A library with those functions; an allocator is data, for its address is stored."""
    source, script = path.with_suffix(".s"), path.with_suffix(".map")
    source.write_text("".join(map(_stub, sorted(names))) + '.section .note.GNU-stack,"",@progbits\n')
    script.write_text(f"{path.name} {{ global: *; }};\n")
    version = [f"-Wl,--version-script={script}"] if versioned else []
    options = ["-shared", "-nostdlib", f"-Wl,-soname,{path.name}", *version]
    subprocess.run(["gcc", *options, "-o", str(path), str(source)], check=True)
    source.unlink()
    script.unlink()


def _stub(name: str) -> str:
    if name.endswith("9allocatorE"):
        return f".data\n.globl {name}\n.type {name},@object\n.size {name},8\n.align 8\n{name}: .quad 0\n"
    return f".text\n.globl {name}\n.type {name},@function\n{name}: xor %eax,%eax\nret\n"


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
