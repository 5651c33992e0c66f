"""Our .proto against Envoy's own API as envoy-data-plane has it, field by field, in both directions.

The tests walk our descriptors, so a field that is added is covered, and one whose number or type is not Envoy's
fails. All of them are known to envoy-data-plane 2.2.0.
"""

import dataclasses
import datetime
import os
import subprocess
import sys
from pathlib import Path

import betterproto2
import pytest
from envoy_data_plane.envoy.config.core import v3 as core
from envoy_data_plane.envoy.service.ext_proc import v3 as ext_proc
from envoy_data_plane.envoy.type import v3 as envoy_type
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from extproc.transport import ext_proc_pb2 as pb

ROOT = Path(__file__).parents[3]
MESSAGES = sorted(pb.DESCRIPTOR.message_types_by_name.values(), key=lambda message: message.name)
FIELDS = [field for message in MESSAGES for field in message.fields]
ENUMS = [field for field in FIELDS if field.enum_type is not None]


ENCODED = {"oai.extproc.wire.ProcessingRequest.metadata_context": pb.Metadata}
"""Fields that are bytes here and a message in Envoy's API: the wire does not tell the two apart."""


def name_of(item):
    return getattr(item, "full_name", str(item)).removeprefix("oai.extproc.wire.")


def theirs_of(message: Descriptor) -> type:
    """Return Envoy's class for our message: the one of the same name."""
    return next(getattr(room, message.name) for room in (ext_proc, core, envoy_type) if hasattr(room, message.name))


def is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def fill(message: Message, field: FieldDescriptor) -> None:
    """Give `field` a value that is not its default, messages with all of theirs."""
    if is_map(field):
        getattr(message, field.name)["key"]["inner"] = "value"
    elif field.message_type is not None:
        fill_message(getattr(message, field.name).add() if field.is_repeated else getattr(message, field.name))
    elif field.is_repeated:
        getattr(message, field.name).extend([sample(field), sample(field)])
    else:
        setattr(message, field.name, sample(field))


def fill_message(message: Message) -> None:
    if message.DESCRIPTOR.full_name == "google.protobuf.Struct":
        message.update({"text": "a", "number": 1, "flag": True, "nested": {"x": None}})
    elif message.DESCRIPTOR.full_name == "google.protobuf.Duration":
        message.FromMilliseconds(1500)
    else:
        message.SetInParent()
        for field in message.DESCRIPTOR.fields:
            fill(message, field)


def sample(field: FieldDescriptor) -> object:
    if field.full_name in ENCODED:
        message = ENCODED[field.full_name]()
        fill_message(message)
        return message.SerializeToString()
    if field.enum_type is not None:
        return field.enum_type.values[-1].number
    types = FieldDescriptor
    samples = {types.TYPE_BOOL: True, types.TYPE_BYTES: b"\xff\x00", types.TYPE_STRING: "text", types.TYPE_INT32: 404}
    return samples[field.type]


def expected(message: Message) -> dict[str, object]:
    """Return our message as plain values, by field name."""
    values = dict(message.ListFields())
    for field in values:
        if field.full_name in ENCODED:
            values[field] = ENCODED[field.full_name].FromString(values[field])
    return {field.name: plain(value) for field, value in values.items()}


def plain(value: object) -> object:
    if isinstance(value, Message):
        if value.DESCRIPTOR.full_name == "google.protobuf.Duration":
            return datetime.timedelta(milliseconds=value.ToMilliseconds())
        if value.DESCRIPTOR.full_name.startswith("google.protobuf"):
            return value.SerializeToString(deterministic=True)
        return expected(value)
    if hasattr(value, "items"):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, str | bytes | bool | int):
        return value
    return [plain(item) for item in value]


def read(message: betterproto2.Message) -> dict[str, object]:
    """Return Envoy's message as plain values, by field name, without unset fields."""
    assert not message._unknown_fields
    values = {field.name: getattr(message, field.name) for field in dataclasses.fields(message)}
    return {name: read_value(value) for name, value in values.items() if is_set(message, name, value)}


def is_set(message: betterproto2.Message, name: str, value: object) -> bool:
    if message._betterproto.meta_by_field_name[name].optional:
        return value is not None
    return bool(value)


def read_value(value: object) -> object:
    if isinstance(value, betterproto2.Message):
        if "google" in type(value).__module__:
            return GetMessageClass(struct_descriptor()).FromString(bytes(value)).SerializeToString(deterministic=True)
        return read(value)
    if isinstance(value, dict):
        return {key: read_value(item) for key, item in value.items()}
    if isinstance(value, list):
        return [read_value(item) for item in value]
    return int(value) if isinstance(value, betterproto2.Enum) else value


def struct_descriptor() -> Descriptor:
    return pb.ProcessingResponse.DESCRIPTOR.fields_by_name["dynamic_metadata"].message_type


@pytest.mark.parametrize("field", FIELDS, ids=name_of)
def test_a_field_of_ours_is_the_same_field_of_envoys_in_both_directions(field):
    ours = GetMessageClass(field.containing_type)()
    fill(ours, field)
    theirs = theirs_of(field.containing_type).parse(ours.SerializeToString())
    assert read(theirs) == expected(ours)
    assert type(ours).FromString(bytes(theirs)) == ours


@pytest.mark.parametrize("message", MESSAGES, ids=name_of)
def test_every_message_of_ours_has_one_of_envoys(message):
    ours = GetMessageClass(message)()
    assert bytes(theirs_of(message).parse(ours.SerializeToString())) == b""


@pytest.mark.parametrize("field", ENUMS, ids=name_of)
def test_the_values_of_an_enum_are_envoys(field):
    metadata = theirs_of(field.containing_type)._betterproto.cls_by_field[field.name]
    assert {value.name: value.number for value in field.enum_type.values} == {
        value.name: value.value for value in metadata
    }


def test_every_request_that_envoy_can_send_is_known():
    theirs = ext_proc.ProcessingRequest._betterproto.meta_by_field_name.values()
    numbers = {field.number for field in theirs if field.group == "request"}
    assert {field.number for field in pb.ProcessingRequest.DESCRIPTOR.oneofs_by_name["request"].fields} == numbers


def test_the_checked_in_modules_equal_the_generators_output(tmp_path):
    command = [str(ROOT / "proto" / "generate"), str(tmp_path)]
    subprocess.run(command, check=True, env={**os.environ, "PYTHON": sys.executable})
    for name in ("ext_proc_pb2.py", "ext_proc_pb2.pyi"):
        assert (tmp_path / name).read_bytes() == (ROOT / "extproc" / "transport" / name).read_bytes()
