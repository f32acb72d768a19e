"""TFRecord files written for tests, independently of what reads them: checksums bit by bit, features by protobuf."""

import io
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from PIL import Image

Values = Mapping[str, Sequence[bytes] | Sequence[float] | Sequence[int]]


def crc32c(content: bytes) -> int:
    """Castagnoli's, by its polynomial, reflected; RFC 3720, B.4."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(content: bytes) -> bytes:
    crc = crc32c(content)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) % 2**32)


def record(content: bytes) -> bytes:
    length = struct.pack("<Q", len(content))
    return length + masked(length) + content + masked(content)


def written(path: Path, examples: Iterable[Values]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(record(example(values)) for values in examples))
    return path


def example(values: Values) -> bytes:
    """A serialised tf.train.Example."""
    message = EXAMPLE()
    for name, value in values.items():
        feature = message.features.feature[name]
        kind = {bytes: "bytes_list", float: "float_list", int: "int64_list"}[type(value[0]) if value else int]
        getattr(feature, kind).value.extend(value)
        if not value:
            feature.int64_list.SetInParent()
    return bytes(message.SerializeToString())


def picture(colour: tuple[int, int, int] = (200, 30, 60), size: tuple[int, int] = (40, 30), form: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, form)
    return file.getvalue()


def _message_class() -> Any:
    """Example of tensorflow/core/example/example.proto and feature.proto, declared anew."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="test_example.proto", package="test_records", syntax="proto3")

    def message(name: str, *fields: tuple[str, int, int, int, str]) -> Any:
        made = file.message_type.add(name=name)
        for field_name, number, label, kind, type_name in fields:
            made.field.add(name=field_name, number=number, label=label, type=kind, type_name=type_name or None)
        return made

    one, many, own = field.LABEL_OPTIONAL, field.LABEL_REPEATED, field.TYPE_MESSAGE
    message("BytesList", ("value", 1, many, field.TYPE_BYTES, ""))
    message("FloatList", ("value", 1, many, field.TYPE_FLOAT, ""))
    message("Int64List", ("value", 1, many, field.TYPE_INT64, ""))
    feature = message(
        "Feature",
        ("bytes_list", 1, one, own, ".test_records.BytesList"),
        ("float_list", 2, one, own, ".test_records.FloatList"),
        ("int64_list", 3, one, own, ".test_records.Int64List"),
    )
    feature.oneof_decl.add(name="kind")
    for part in feature.field:
        part.oneof_index = 0
    features = message("Features", ("feature", 1, many, own, ".test_records.Features.FeatureEntry"))
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, label=one, type=field.TYPE_STRING)
    entry.field.add(name="value", number=2, label=one, type=own, type_name=".test_records.Feature")
    message("Example", ("features", 1, one, own, ".test_records.Features"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("test_records.Example"))


EXAMPLE = _message_class()
