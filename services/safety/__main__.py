"""Run the safety server: `python -m services.safety`."""

from services.runtime.server import run
from services.safety.service import spec

run(spec())
