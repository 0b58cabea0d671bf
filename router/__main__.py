"""`python -m router`: the router as a process of its own."""

from router.service import spec
from services.runtime.server import run

if __name__ == "__main__":
    run(spec())
