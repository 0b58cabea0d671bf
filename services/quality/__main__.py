"""Run the quality server: `python -m services.quality`."""

from services.quality.service import spec
from services.runtime.server import run

run(spec())
