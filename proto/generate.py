"""Generated code and the field reference from classification.proto; `--check` only compares with what is checked in."""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import grpc_tools
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto" / "classification.proto"
CODE = ("classification_pb2.py", "classification_pb2.pyi")
INTRODUCTION = """# Spec files

Every field a spec file can hold, made from `proto/classification.proto` by `make proto`. A field that is not set
has the default shown, else the zero of its type. `tao-lite spec check FILE` reports what is wrong in a file, with
line and column.
"""

Comments = dict[tuple[int, ...], str]


def generate(code: Path, docs: Path) -> None:
    """Write classification_pb2.py, its stubs, and the field reference README.md."""
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    with tempfile.TemporaryDirectory() as folder:
        description = Path(folder) / "set"
        arguments = [
            "protoc",
            f"-I{PROTO.parent}",
            f"-I{well_known}",
            f"--python_out={code}",
            f"--mypy_out=quiet:{code}",
        ]
        arguments += [f"--descriptor_set_out={description}", "--include_source_info", PROTO.name]
        if protoc.main(arguments) != 0:
            sys.exit(f"protoc could not read {PROTO}")
        (file,) = FileDescriptorSet.FromString(description.read_bytes()).file
    (docs / "README.md").write_text("\n".join(reference(file)) + "\n", encoding="utf-8")


def reference(file: FileDescriptorProto) -> Iterator[str]:
    """Lines of the field reference: a table for each message and enum, in the order of the schema."""
    # Imported only now: made of the code that was generated a moment ago.
    from tao_lite.spec import schema

    comments = {tuple(part.path): " ".join(part.leading_comments.split()) for part in file.source_code_info.location}
    yield INTRODUCTION.rstrip()
    for position, message in enumerate(file.message_type):
        if message.name == "Rule":
            continue
        if message.field:
            yield from _heading(message.name, comments[4, position])
            yield from ("| field | type | default | rule | meaning |", "|---|---|---|---|---|")
            known = schema.fields(schema.message(message.name))
            for index, field in enumerate(message.field):
                rule = _rule_words(known[field.name])
                cells = (
                    f"`{field.name}`",
                    _type(field, message),
                    _default(field),
                    rule,
                    comments[4, position, 2, index],
                )
                yield f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
        for index, enum in enumerate(message.enum_type):
            yield from _enum(f"{message.name}.{enum.name}", enum, comments, (4, position, 4, index))
    for position, enum in enumerate(file.enum_type):
        yield from _enum(enum.name, enum, comments, (5, position))


def _heading(name: str, comment: str) -> Iterator[str]:
    yield from ("", f"## {name}", "", comment, "")


def _enum(name: str, enum: EnumDescriptorProto, comments: Comments, path: tuple[int, ...]) -> Iterator[str]:
    yield from _heading(name, comments[path])
    yield from ("| value | meaning |", "|---|---|")
    for index, value in enumerate(enum.value):
        yield f"| `{value.name}` | {comments[(*path, 2, index)]} |"


def _type(field: FieldDescriptorProto, message: DescriptorProto) -> str:
    if not field.type_name:
        name = FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    else:
        name = field.type_name.removeprefix(".tao_lite.").removeprefix(f"{message.name}.")
    entry = next((inner for inner in message.nested_type if inner.name == name and inner.options.map_entry), None)
    if entry:
        key, value = (_type(inner, entry) for inner in entry.field)
        return f"map {key} to {value}"
    return f"{name}, repeated" if field.label == FieldDescriptorProto.LABEL_REPEATED else name


def _default(field: FieldDescriptorProto) -> str:
    return f"`{field.default_value}`" if field.HasField("default_value") else ""


def _rule_words(field: FieldDescriptor) -> str:
    """The rule beside a field in words, such as `required; >= 1`."""
    from tao_lite.spec import schema

    rule = schema.rule(field)
    words = []
    if rule.required:
        words.append("required")
    if rule.required_by:
        words.append(f"required by {', '.join(rule.required_by)}")
    words += [f"{sign} {limit:g}" for sign, limit, _ in schema.bounds(rule)]
    if rule.choices:
        words.append("one of " + ", ".join(rule.choices))
    if rule.warn_set:
        words.append("no effect")
    return "; ".join(words)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only compare with the files that are checked in")
    code, docs = ROOT / "tao_lite" / "spec", ROOT / "specs"
    if not parser.parse_args().check:
        generate(code, docs)
        return
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        generate(fresh, fresh)
        pairs = [(fresh / name, code / name) for name in CODE] + [(fresh / "README.md", docs / "README.md")]
        stale = [
            str(there.relative_to(ROOT))
            for made, there in pairs
            if not there.is_file() or made.read_bytes() != there.read_bytes()
        ]
    if stale:
        sys.exit(f"not what proto/classification.proto gives: {', '.join(stale)}; run make proto")


if __name__ == "__main__":
    main()
