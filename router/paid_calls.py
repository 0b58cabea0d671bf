"""The table of paid calls, and one of its rows as an object."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from router.backends.protocol import Stored
from router.tables import metadata
from scrollintel.visual.v1.media_pb2 import MediaRef


class CallState(StrEnum):
    """What is known of a paid call; `PENDING` and `UNKNOWN` are open, the others final."""

    PENDING = "PENDING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    UNKNOWN = "UNKNOWN"


OPEN = (CallState.PENDING, CallState.UNKNOWN)
FINAL = (CallState.SUCCEEDED, CallState.FAILED)

paid_calls = sa.Table(
    "paid_calls",
    metadata,
    sa.Column("tenant", sa.String(128), primary_key=True),
    sa.Column("request_id", sa.String(64), primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("backend", sa.String(128), nullable=False),
    sa.Column(
        "state", sa.String(9), sa.CheckConstraint(f"state IN {tuple(map(str, CallState))}"), nullable=False
    ),
    sa.Column("reference", sa.String(64), nullable=False, unique=True),
    sa.Column("job", sa.Text, nullable=False, server_default=""),
    sa.Column("usd", sa.Double, nullable=False),
    sa.Column("seeds", sa.JSON, nullable=False),
    sa.Column("media", sa.JSON, nullable=False),
    sa.Column("reason", sa.String(64), nullable=False, server_default=""),
    sa.Column("owner", sa.String(128), nullable=False),
    sa.Column("lease_us", sa.BigInteger, nullable=False),
    sa.Column("created_us", sa.BigInteger, nullable=False),
    sa.Column("updated_us", sa.BigInteger, nullable=False),
    sa.Index("paid_calls_by_state", "backend", "state", "created_us"),
)


@dataclass(frozen=True, slots=True)
class Call:
    """One paid call.

    `attempt` counts the calls of a request, from 1. `reference` was sent to the provider, `job` is its id there, empty
    while it is not known. `usd` is what the call is expected to cost until it is known what it did cost. `seeds` has one
    for each picture that was asked for. `reason` says in a word why it is FAILED or UNKNOWN. `held` says whether
    somebody is at work on it. Times are in microseconds since the epoch, by the database's clock.
    """

    tenant: str
    request_id: str
    attempt: int
    backend: str
    state: CallState
    reference: str
    job: str
    usd: float
    seeds: tuple[int, ...]
    media: tuple[Stored, ...]
    reason: str
    owner: str
    held: bool
    created_us: int
    updated_us: int


def reference_of(tenant: str, request_id: str, attempt: int, backend: str) -> str:
    """Return what a call is named at its provider: 38 of a-z 0-9 -, the same whenever it is asked for."""
    named = "\0".join((tenant, request_id, str(attempt), backend))
    return f"vmesh-{hashlib.sha256(named.encode()).hexdigest()[:32]}"


def key_of(call: Call) -> tuple[sa.ColumnElement[bool], ...]:
    """Return the conditions that select a call's row."""
    named = {"tenant": call.tenant, "request_id": call.request_id, "attempt": call.attempt}
    return tuple(paid_calls.c[name] == value for name, value in named.items())


def call_of(row: sa.Row[Any], now: int) -> Call:
    """Return a row as a call, at a moment in microseconds by the database's clock."""
    values = dict(row._mapping)
    held = values.pop("lease_us") > now
    values["state"] = CallState(values["state"])
    values["seeds"] = tuple(values["seeds"])
    values["media"] = tuple(map(_unpacked, values["media"]))
    return Call(**values, held=held)


def pack(stored: Stored) -> dict[str, Any]:
    """Return what stands in the column `media` for one picture or video."""
    media = {field.name: getattr(stored.media, field.name) for field in MediaRef.DESCRIPTOR.fields}
    return {"index": stored.index, "seed": stored.seed, "media": media}


def _unpacked(packed: Mapping[str, Any]) -> Stored:
    return Stored(packed["index"], packed["seed"], MediaRef(**packed["media"]))
