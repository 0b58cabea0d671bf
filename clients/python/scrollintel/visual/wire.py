"""How wire values read in Python: words for enums, floats for durations, aware datetimes for timestamps."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeVar

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

Word = TypeVar("Word", bound=StrEnum)


def prefix(descriptor: EnumDescriptor) -> str:
    """Return what every name of a protobuf enum starts with, such as `STAGE_`."""
    return descriptor.values_by_number[0].name.removesuffix("UNSPECIFIED")


def word(kind: type[Word], descriptor: EnumDescriptor, number: int) -> Word:
    """Return the Python word for a protobuf enum's number; a number this client does not know is `unknown`."""
    value = descriptor.values_by_number.get(number)
    name = value.name.removeprefix(prefix(descriptor)).lower() if value else ""
    try:
        return kind(name)
    except ValueError:
        return kind("unknown")


def number(descriptor: EnumDescriptor, name: str) -> int | None:
    """Return the protobuf number for a Python word, or None when there is no such word."""
    value = descriptor.values_by_name.get(prefix(descriptor) + name.upper())
    return value.number if value and value.number else None


def words(descriptor: EnumDescriptor) -> list[str]:
    """Return every Python word of a protobuf enum but the unspecified one."""
    return [v.name.removeprefix(prefix(descriptor)).lower() for v in descriptor.values if v.number]


def seconds(duration: Duration) -> float:
    """Return a duration in seconds."""
    return duration.seconds + duration.nanos / 1e9


def moment(timestamp: Timestamp) -> datetime:
    """Return a timestamp as a datetime in UTC."""
    return timestamp.ToDatetime(tzinfo=UTC)
