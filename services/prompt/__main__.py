"""Run the prompt server: `python -m services.prompt`."""

from services.prompt.service import spec
from services.runtime.server import run

run(spec())
