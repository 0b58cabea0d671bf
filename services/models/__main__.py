"""Run the model server: `python -m services.models`."""

from services.models.service import spec
from services.runtime.server import run

run(spec())
