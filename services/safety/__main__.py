"""Run the safety server: `python -m services.safety`."""

from services.runtime.errors import MeshError
from services.runtime.server import run
from services.safety.service import spec

try:
    run(spec())
except MeshError as error:  # a setting that is wrong, by its name and rule
    raise SystemExit(str(error)) from None
