"""The table of stages, and what the schema says of them."""

from collections.abc import Iterator

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from tao_lite.spec import schema
from tao_lite.spec.stages import STAGES


def all_fields(message: Descriptor) -> Iterator[FieldDescriptor]:
    for field in schema.fields(message).values():
        yield field
        inner = schema.block_type(field)
        if inner:
            yield from all_fields(inner)


def test_every_stage_that_is_named_is_a_row() -> None:
    rules = [schema.rule(field) for field in all_fields(schema.EXPERIMENT)]
    named = {stage for rule in rules for stage in (*rule.required_by, *rule.read_by)}
    asked_as = {row.asks_as for row in STAGES.values() if row.asks_as}
    assert asked_as < named < set(STAGES)


_PATHS = ("_path", "_dir", "_root", "label_map", "exclude", "relabel")


def test_every_field_that_is_named_as_a_path_says_what_it_leads_to_and_who_reads_it() -> None:
    for field in all_fields(schema.EXPERIMENT):
        rule, is_named = schema.rule(field), field.name.endswith(_PATHS)
        holder = field.containing_type
        is_path = is_named and holder is not None and holder.name != "WandBConfig"  # no field of which is read
        assert (rule.HasField("path"), bool(rule.read_by)) == (is_path, is_path), field.full_name
