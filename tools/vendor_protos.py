"""Write the third-party protos that ours import, as text, under third_party/.

googleapis ships its text in the `googleapis-common-protos` wheel and is copied. protovalidate ships only a compiled
descriptor, from which this prints the file again: declarations, options and extension ranges are kept, comments are
not in a descriptor. Run it after either package moves: `python tools/vendor_protos.py`.
"""

import importlib.resources
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from google.protobuf import (  # noqa: F401  the three register types that validate.proto imports
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    field_mask_pb2,
    text_format,
    timestamp_pb2,
)
from protovalidate._gen.buf.validate import validate_pb

ROOT = Path(__file__).resolve().parent.parent / "third_party"
GOOGLEAPIS = ("google/rpc/status.proto",)
INDENT = "  "

Field = descriptor_pb2.FieldDescriptorProto
TYPE_NAMES = {number: name.removeprefix("TYPE_").lower() for name, number in Field.Type.items()}
LABELS = {
    Field.LABEL_OPTIONAL: "optional ",
    Field.LABEL_REQUIRED: "required ",
    Field.LABEL_REPEATED: "repeated ",
}
MAX_FIELD_NUMBER = 536870912


def option_value(field: Any, value: Any) -> str:
    """Return one option's value in proto syntax."""
    if field.type == field.TYPE_MESSAGE:
        return "{ " + text_format.MessageToString(value, as_one_line=True) + " }"
    if field.type == field.TYPE_ENUM:
        return str(field.enum_type.values_by_number[value].name)
    if field.type == field.TYPE_STRING:
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'"{escaped}"'
    if field.type == field.TYPE_BOOL:
        return "true" if value else "false"
    return str(value)


def options(message: Any) -> list[str]:
    """Return an options message as `name = value` pairs, repeated values one by one."""
    return [
        f"{f'(.{field.full_name})' if field.is_extension else field.name} = {option_value(field, item)}"
        for field, value in message.ListFields()
        for item in (value if field.is_repeated else [value])
    ]


def bracketed(pairs: list[str]) -> str:
    """Return pairs as a field's option list, or nothing."""
    return f" [{', '.join(pairs)}]" if pairs else ""


def field_line(field: Any, indent: str, *, label: bool = True) -> str:
    """Return the declaration of one field."""
    pairs = options(field.options)
    if field.HasField("default_value"):
        pairs.insert(0, f"default = {field.default_value}")
    kind = field.type_name or TYPE_NAMES[field.type]
    return f"{indent}{LABELS[field.label] if label else ''}{kind} {field.name} = {field.number}{bracketed(pairs)};"


def reserved_lines(message: Any, indent: str, *, end_is_exclusive: bool) -> Iterator[str]:
    """Yield reserved numbers and names."""
    for span in message.reserved_range:
        last = span.end - 1 if end_is_exclusive else span.end
        yield (
            f"{indent}reserved {span.start};"
            if last == span.start
            else f"{indent}reserved {span.start} to {last};"
        )
    for name in message.reserved_name:
        yield f'{indent}reserved "{name}";'


def enum_lines(enum: Any, indent: str) -> Iterator[str]:
    """Yield an enum."""
    inner = indent + INDENT
    yield f"{indent}enum {enum.name} {{"
    yield from (f"{inner}option {pair};" for pair in options(enum.options))
    for value in enum.value:
        yield f"{inner}{value.name} = {value.number}{bracketed(options(value.options))};"
    yield from reserved_lines(enum, inner, end_is_exclusive=False)
    yield f"{indent}}}"


def member_lines(message: Any, entries: dict[str, Any], indent: str) -> Iterator[str]:
    """Yield a message's fields: maps by their short form, oneof members under their oneof."""
    printed: set[int] = set()
    for field in message.field:
        entry = entries.get(field.type_name.rsplit(".", 1)[-1])
        if entry is not None:
            key, value = entry.field
            kinds = f"map<{TYPE_NAMES[key.type]}, {value.type_name or TYPE_NAMES[value.type]}>"
            yield f"{indent}{kinds} {field.name} = {field.number}{bracketed(options(field.options))};"
        elif not field.HasField("oneof_index") or field.proto3_optional:
            yield field_line(field, indent)
        elif field.oneof_index not in printed:
            printed.add(field.oneof_index)
            oneof = message.oneof_decl[field.oneof_index]
            yield f"{indent}oneof {oneof.name} {{"
            yield from (f"{indent}{INDENT}option {pair};" for pair in options(oneof.options))
            for member in message.field:
                if member.HasField("oneof_index") and member.oneof_index == field.oneof_index:
                    yield field_line(member, indent + INDENT, label=False)
            yield f"{indent}}}"


def message_lines(message: Any, indent: str) -> Iterator[str]:
    """Yield a message with everything nested in it."""
    inner = indent + INDENT
    entries = {nested.name: nested for nested in message.nested_type if nested.options.map_entry}
    yield f"{indent}message {message.name} {{"
    yield from (f"{inner}option {pair};" for pair in options(message.options))
    for nested in message.nested_type:
        if nested.name not in entries:
            yield from message_lines(nested, inner)
    for enum in message.enum_type:
        yield from enum_lines(enum, inner)
    yield from member_lines(message, entries, inner)
    for span in message.extension_range:
        last = "max" if span.end >= MAX_FIELD_NUMBER else span.end - 1
        yield f"{inner}extensions {span.start} to {last};"
    yield from reserved_lines(message, inner, end_is_exclusive=True)
    yield f"{indent}}}"


def file_lines(file: Any) -> Iterator[str]:
    """Yield a whole file."""
    yield "// Printed by tools/vendor_protos.py from the descriptor in the protovalidate wheel."
    yield "// Copyright Buf Technologies, Inc. Licensed under the Apache License, Version 2.0."
    yield f'syntax = "{file.syntax or "proto2"}";'
    yield f"package {file.package};"
    yield from (f'import "{name}";' for name in file.dependency)
    yield from (f"option {pair};" for pair in options(file.options))
    for extension in file.extension:
        yield f"extend {extension.extendee} {{"
        yield field_line(extension, INDENT)
        yield "}"
    for enum in file.enum_type:
        yield from enum_lines(enum, "")
    for message in file.message_type:
        yield from message_lines(message, "")


def write(path: Path, lines: Iterable[str]) -> None:
    """Write lines to a file, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def main() -> None:
    """Vendor both."""
    raw = validate_pb.desc().proto.to_binary()
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(raw)
    # Parsed a second time: only now are the file's own options known, which it uses on itself.
    file = descriptor_pb2.FileDescriptorProto.FromString(raw)
    write(ROOT / "protovalidate" / file.name, file_lines(file))
    for name in GOOGLEAPIS:
        target = ROOT / "googleapis" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with importlib.resources.as_file(
            importlib.resources.files("google").joinpath(name.removeprefix("google/"))
        ) as source:
            shutil.copyfile(source, target)


if __name__ == "__main__":
    main()
