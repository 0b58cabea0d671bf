"""What a server writes about a fault: where it was, and nothing of what callers sent."""

import io
import json

import pytest
import structlog

from services.runtime import telemetry


@pytest.fixture
def stream():
    before = structlog.get_config()
    stream = io.StringIO()
    telemetry.configure_logs(stream)
    yield stream
    structlog.configure(**before)


def test_a_traceback_is_logged_without_the_variables_that_hold_a_prompt(stream):
    def handle(prompt):
        raise RuntimeError("a fault")

    try:
        handle("my name is Alice")
    except RuntimeError:
        structlog.get_logger().exception("unhandled")
    (line,) = stream.getvalue().splitlines()
    (told,) = json.loads(line)["exception"]
    assert (told["exc_type"], told["exc_value"]) == ("RuntimeError", "a fault")
    assert told["frames"][-1]["name"] == "handle"
    assert "Alice" not in line
