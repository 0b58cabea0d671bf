"""Runs the orchestrator: `python -m services.orchestrator`."""

from services.orchestrator.service import spec
from services.runtime.server import run

if __name__ == "__main__":
    run(spec())
