"""Generated code, the field reference and specs/automl from classification.proto, and tables of coming_from_tao.md.

`--check` only compares with what is checked in.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import automl
import broken
import differences
import families
import grpc_tools
from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, EnumDescriptor

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto" / "classification.proto"
SPEC, DOCS = ROOT / "tao_lite" / "spec", ROOT / "specs"
GUIDE = DOCS / "guides" / "coming_from_tao.md"
CODE = ("classification_pb2.py", "classification_pb2.pyi", "meanings.json")
INTRODUCTION = """# Spec files

Every field a spec file can hold, made from `proto/classification.proto` by `make proto`. A field that is not set
has the default shown, else the zero of its type. `tao-lite spec check FILE` reports what is wrong in a file, with
line and column; `tao-lite spec docs FIELD` prints what is said here of a field.

A file named `.json`, `.yaml` or `.yml` holds the same names as objects and lists, and a map as one object; or those of
TAO's newer tasks, [field by field](guides/coming_from_tao.md#specs-of-classification_tf2-and-classification_pyt). The
first two lines of each file here tell editors and linters of text format which schema it follows.

What the fields are for is told by the guides: [data](guides/data.md), [training](guides/training.md),
[precision](guides/precision.md), [networks and weights](guides/networks_and_weights.md),
[transfer learning](guides/transfer.md), [several tasks](guides/multitask.md), [pruning](guides/pruning.md),
[search](guides/search.md), [monitoring](guides/monitoring.md),
[weak groups and heat maps](guides/groups_and_heat_maps.md),
[deployment](guides/deployment.md), [coming from TAO](guides/coming_from_tao.md) and
[the files of a run](guides/files_of_a_run.md).
"""
BROKEN = """
## Ten broken specs and what they say

Each is this spec with one mistake. All mistakes of a file are told at once, with line, column, field, value and remedy.
"""

Words = dict[str, str]


def write_code(folder: Path) -> None:
    """Write classification_pb2.py, its stubs, and the meanings of the fields."""
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    with tempfile.TemporaryDirectory() as scratch:
        description = Path(scratch) / "set"
        arguments = [
            "protoc",
            f"-I{PROTO.parent}",
            f"-I{well_known}",
            f"--python_out={folder}",
            f"--plugin=protoc-gen-mypy={Path(sys.executable).with_name('protoc-gen-mypy')}",
            f"--mypy_out=quiet:{folder}",
        ]
        arguments += [f"--descriptor_set_out={description}", "--include_source_info", PROTO.name]
        if protoc.main(arguments) != 0:
            sys.exit(f"protoc could not read {PROTO}")
        (file,) = FileDescriptorSet.FromString(description.read_bytes()).file
    text = json.dumps(meanings(file), indent=1, ensure_ascii=False)
    (folder / "meanings.json").write_text(text + "\n", encoding="utf-8")


def meanings(file: FileDescriptorProto) -> Words:
    """The comments of the schema by name: Experiment, Experiment.eval_config, Compat.Mode, Compat.Mode.CORRECTED."""
    comments = {tuple(part.path): " ".join(part.leading_comments.split()) for part in file.source_code_info.location}
    found: Words = {}
    for position, message in enumerate(file.message_type):
        found |= _message_meanings(message, comments, (4, position))
    for position, enum in enumerate(file.enum_type):
        found |= _enum_meanings(enum.name, enum, comments, (5, position))
    return found


def _message_meanings(message: DescriptorProto, comments: dict[tuple[int, ...], str], path: tuple[int, ...]) -> Words:
    found = {message.name: comments[path]}
    if message.name == "Rule":
        return {}
    for index, field in enumerate(message.field):
        found[f"{message.name}.{field.name}"] = comments[(*path, 2, index)]
    for index, enum in enumerate(message.enum_type):
        found |= _enum_meanings(f"{message.name}.{enum.name}", enum, comments, (*path, 4, index))
    return found


def _enum_meanings(
    name: str, enum: EnumDescriptorProto, comments: dict[tuple[int, ...], str], path: tuple[int, ...]
) -> Words:
    values = {f"{name}.{value.name}": comments[(*path, 2, index)] for index, value in enumerate(enum.value)}
    return {name: comments[path]} | values


def documents() -> Iterator[tuple[Path, str]]:
    """Each page that is made here, whole or in part, with what it has to be."""
    yield DOCS / "README.md", "\n".join(reference()) + "\n"
    for path, text in automl.documents():
        yield DOCS / path, text
    yield GUIDE, families.put(differences.put(GUIDE.read_text(encoding="utf-8")))


def reference() -> Iterator[str]:
    """Lines of specs/README.md: broken specs, then a table for each message and enum, in the order of the schema."""
    # Imported only now: made of the code that was generated a moment ago.
    from tao_lite.spec import classification_pb2 as pb

    yield from (INTRODUCTION.rstrip(), BROKEN, *broken.sections())
    for message in pb.DESCRIPTOR.message_types_by_name.values():
        if message.name == "Rule":
            continue
        if message.fields:
            yield from _message(message)
        for enum in message.enum_types:
            yield from _enum(enum)
    for enum in pb.DESCRIPTOR.enum_types_by_name.values():
        yield from _enum(enum)


def _message(message: "Descriptor") -> Iterator[str]:
    from tao_lite.spec import reference as words
    from tao_lite.spec import schema

    yield from ("", f"## {message.name}", "", words.meaning(message), "")
    yield from ("| field | type | default | rule | meaning |", "|---|---|---|---|---|")
    for name, field in schema.fields(message).items():
        default = words.default_words(field)
        kind = words.type_words(field).removeprefix(f"{message.name}.")
        cells = (f"`{name}`", kind, f"`{default}`" if default else "", words.rule_words(field), words.meaning(field))
        yield f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _enum(enum: "EnumDescriptor") -> Iterator[str]:
    from tao_lite.spec import reference as words

    yield from ("", f"## {enum.full_name.partition('.')[2]}", "", words.meaning(enum), "")
    yield from ("| value | meaning |", "|---|---|")
    yield from (f"| `{value.name}` | {words.meaning(enum, value.name)} |" for value in enum.values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only compare with the files that are checked in")
    if not parser.parse_args().check:
        write_code(SPEC)
        for path, text in documents():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return
    with tempfile.TemporaryDirectory() as folder:
        write_code(Path(folder))
        stale = [name for name in CODE if not _same(Path(folder) / name, SPEC / name)]
    # The documents are made of the code that is checked in, so they can be compared only where that is right.
    if not stale:
        stale = [str(path.relative_to(ROOT)) for path, text in documents() if not _says(path, text)]
    if stale:
        sys.exit(
            f"not what proto/, tao_lite/compat.py and tao_lite/spec/families/ give: {', '.join(stale)}; run make proto"
        )


def _says(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


def _same(made: Path, there: Path) -> bool:
    return there.is_file() and made.read_bytes() == there.read_bytes()


if __name__ == "__main__":
    main()
