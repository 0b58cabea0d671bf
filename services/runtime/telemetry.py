"""Traces, metrics and logs: OpenTelemetry set up once a process, and the few calls that servers make."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import structlog
from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import StatusCode
from prometheus_client import start_http_server

from services.runtime import tracebacks
from services.runtime.settings import ServerSettings

tracer = trace.get_tracer("visual-mesh")
meter = metrics.get_meter("visual-mesh")

# The SDK's own bounds are made for milliseconds: in seconds all calls of the mesh would fall into the first one.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60, 120, 300, 600)

_provider: TracerProvider | None = None


def seconds_histogram(name: str, description: str) -> metrics.Histogram:
    """Return an instrument for durations in seconds, from a millisecond to ten minutes."""
    return meter.create_histogram(
        name, unit="s", description=description, explicit_bucket_boundaries_advisory=SECONDS
    )


def configure(service: str, settings: ServerSettings) -> None:
    """Set up traces and metrics for this process; the first call decides, later ones change nothing."""
    global _provider
    if _provider is not None:
        return
    resource = Resource.create({"service.name": service, "service.namespace": "visual-mesh"})
    _provider = TracerProvider(
        resource=resource, sampler=ParentBased(TraceIdRatioBased(settings.trace_ratio))
    )
    if settings.otlp_endpoint:
        _provider.add_span_processor(
            BatchSpanProcessor(OTLPSpanExporter(settings.otlp_endpoint, insecure=True))
        )
    trace.set_tracer_provider(_provider)
    metrics.set_meter_provider(MeterProvider(resource=resource, metric_readers=[PrometheusMetricReader()]))
    if settings.metrics_port:
        start_http_server(settings.metrics_port)


def observe_spans(processor: SpanProcessor) -> None:
    """Hand every finished span to `processor` as well; for tests and tools, after `configure`."""
    if _provider is None:
        raise RuntimeError("call configure before observe_spans")
    _provider.add_span_processor(processor)


@contextmanager
def span(name: str, **attributes: str | int | float | bool) -> Iterator[trace.Span]:
    """Record a piece of work inside the current call; of what it raises, the kind and never the text."""
    with tracer.start_as_current_span(
        name, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as current:
        try:
            yield current
        except Exception as error:
            current.set_status(trace.Status(StatusCode.ERROR, type(error).__name__))
            raise


def trace_id() -> str:
    """Return the id of the current trace in hex, for a caller to quote; empty outside a recorded trace."""
    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else ""


def _add_trace(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    if identifier := trace_id():
        event["trace_id"] = identifier
    return event


_TRACEBACKS = structlog.processors.ExceptionRenderer(tracebacks.as_dicts)


def configure_logs(stream: TextIO = sys.stderr, level: int = logging.INFO) -> None:
    """Write logs as one JSON object a line, each with the id of its trace, and none with an exception's own text."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _add_trace,
            _TRACEBACKS,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(tracebacks.LineFormatter("%(message)s"))
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING), force=True)
