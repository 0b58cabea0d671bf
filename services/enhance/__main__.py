"""Run the enhancement server: `python -m services.enhance`."""

from services.enhance.service import spec
from services.runtime.server import run

run(spec())
