"""Triton as a child: found in its wheel, started on loopback, watched, restarted, and never left behind."""

from services.local.triton.install import TritonNotInstalledError
from services.local.triton.server import Triton, TritonState, TritonUnavailableError
from services.local.triton.settings import TritonSettings

__all__ = ["Triton", "TritonNotInstalledError", "TritonSettings", "TritonState", "TritonUnavailableError"]
