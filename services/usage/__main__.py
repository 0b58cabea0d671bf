"""Run the usage server: `python -m services.usage`."""

from services.runtime.server import run
from services.usage.service import spec

run(spec())
