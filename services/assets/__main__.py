"""Run the asset server: `python -m services.assets`."""

from services.assets.service import spec
from services.runtime.server import run

run(spec())
