import io

import pytest
import structlog

from services.runtime import telemetry


@pytest.fixture(autouse=True, scope="module")
def plain_logs():
    """Write logs as servers do: the pretty tracebacks of a terminal take most of a second each."""
    before = structlog.get_config()
    telemetry.configure_logs(io.StringIO())
    yield
    structlog.configure(**before)
