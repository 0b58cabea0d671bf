"""What a server writes about a fault: where it was, and nothing of what callers sent."""

import asyncio
import gc
import io
import json

import pytest
import structlog
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from scrollintel.visual.v1.errors_pb2 import ERROR_REASON_INTERNAL as INTERNAL
from services.runtime import telemetry
from services.runtime.errors import MeshError
from services.runtime.settings import ServerSettings


@pytest.fixture
def stream():
    before = structlog.get_config()
    stream = io.StringIO()
    telemetry.configure_logs(stream)
    yield stream
    structlog.configure(**before)


PROMPT = "my name is Alice"


def fail(prompt):
    try:
        int(prompt)  # whose error quotes it
    except ValueError as error:
        error.add_note(prompt)
        raise RuntimeError(f"cannot draw {prompt}") from error


def test_a_traceback_is_logged_without_variables_and_texts_that_hold_a_prompt(stream):
    try:
        fail(PROMPT)
    except RuntimeError:
        structlog.get_logger().exception("unhandled")
    (line,) = stream.getvalue().splitlines()
    last, first = json.loads(line)["exception"]
    assert (last["exc_type"], first["exc_type"]) == ("RuntimeError", "ValueError")
    assert first["frames"][-1]["name"] == "fail"
    assert "Alice" not in line


def test_exceptions_of_a_group_are_told_without_their_texts(stream):
    try:
        raise ExceptionGroup(
            "draw Alice", [ValueError("Alice"), MeshError(INTERNAL, "no style is called Alice")]
        )
    except ExceptionGroup:
        structlog.get_logger().exception("unhandled")
    assert "Alice" not in stream.getvalue()
    assert '"exc_value": "INTERNAL"' in stream.getvalue()


async def test_what_libraries_log_of_an_exception_is_its_kind_and_its_place(stream):
    async def forgotten():
        fail(PROMPT)

    task = asyncio.create_task(forgotten())
    await asyncio.wait([task])
    del task  # nobody asks for what it raised: asyncio logs it
    gc.collect()
    told = stream.getvalue()
    assert "Task exception was never retrieved" in told
    assert "RuntimeError" in told
    assert "in fail" in told
    assert "Alice" not in told


def test_a_span_tells_the_kind_of_what_was_raised():
    telemetry.configure("test", ServerSettings())
    exporter = InMemorySpanExporter()
    telemetry.observe_spans(SimpleSpanProcessor(exporter))
    with pytest.raises(RuntimeError), telemetry.span("work"):
        fail(PROMPT)
    (span,) = exporter.get_finished_spans()
    exporter.shutdown()
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "RuntimeError")
    assert not span.events
