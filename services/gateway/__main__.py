"""Runs the gateway: `python -m services.gateway`."""

from services.gateway.service import spec
from services.runtime.server import run

if __name__ == "__main__":
    run(spec())
