"""Triton as a child: found in its wheel, started on loopback, watched, restarted, and never left behind."""

from services.local.triton.server import Triton, TritonSettings, TritonState, TritonUnavailable

__all__ = ["Triton", "TritonSettings", "TritonState", "TritonUnavailable"]
