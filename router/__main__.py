"""`python -m router`: the router as a process of its own."""

from router.configuration import ConfigurationError
from router.service import spec
from services.runtime.errors import MeshError
from services.runtime.server import run

if __name__ == "__main__":
    try:
        run(spec())
    except (ConfigurationError, MeshError) as error:
        raise SystemExit(str(error)) from None
