"""Experiments on the wire: requests into plans, experiments and their results into messages."""

from datetime import timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from router.experiments.experiment import Arm, Experiment, Guardrails, Metric, Plan, State, Unit
from router.experiments.outcome import Tallies
from router.experiments.sequential import Sums
from router.experiments.tally import Tally
from scrollintel.visual.v1 import router_pb2

UNITS = {
    Unit.TENANT: router_pb2.EXPERIMENT_UNIT_TENANT,
    Unit.USER: router_pb2.EXPERIMENT_UNIT_USER,
    Unit.REQUEST: router_pb2.EXPERIMENT_UNIT_REQUEST,
}
METRICS = {
    Metric.QUALITY: router_pb2.EXPERIMENT_METRIC_QUALITY,
    Metric.SECONDS: router_pb2.EXPERIMENT_METRIC_SECONDS,
    Metric.COST: router_pb2.EXPERIMENT_METRIC_COST,
    Metric.RATING: router_pb2.EXPERIMENT_METRIC_RATING,
}
STATES = {
    State.RUNNING: router_pb2.EXPERIMENT_STATE_RUNNING,
    State.DECIDED: router_pb2.EXPERIMENT_STATE_DECIDED,
    State.GUARDED: router_pb2.EXPERIMENT_STATE_GUARDED,
    State.EXPIRED: router_pb2.EXPERIMENT_STATE_EXPIRED,
    State.STOPPED: router_pb2.EXPERIMENT_STATE_STOPPED,
}
_UNITS = {number: unit for unit, number in UNITS.items()}
_METRICS = {number: metric for metric, number in METRICS.items()}


def plan_of(request: router_pb2.CreateExperimentRequest) -> Plan:
    """Return the plan that a request asks for, with the defaults of what it leaves out; its rules are not checked."""
    default = Plan(())
    asked = request.guardrails
    return Plan(
        arms=tuple(Arm(arm.name, arm.model, arm.share, arm.shadow) for arm in request.arms),
        duration=(
            timedelta(microseconds=request.duration.ToMicroseconds())
            if request.HasField("duration")
            else default.duration
        ),
        unit=_UNITS[request.unit] if request.HasField("unit") else default.unit,
        metric=_METRICS[request.metric] if request.HasField("metric") else default.metric,
        guardrails=Guardrails(
            **{
                field.name: getattr(asked, field.name) for field, _ in asked.ListFields()
            }  # those that are there
        ),
    )


def experiment_of(experiment: Experiment, tallies: Tallies | None = None) -> router_pb2.Experiment:
    """Return an experiment, with its results where they are given."""
    plan, rails = experiment.plan, experiment.plan.guardrails
    duration = Duration()
    duration.FromTimedelta(plan.duration)
    return router_pb2.Experiment(
        id=experiment.id,
        arms=[
            router_pb2.ExperimentArm(name=arm.name, model=arm.model, share=arm.share, shadow=arm.shadow)
            for arm in plan.arms
        ],
        duration=duration,
        running=experiment.state is State.RUNNING,
        unit=UNITS[plan.unit],
        metric=METRICS[plan.metric],
        guardrails=router_pb2.Guardrails(
            error_rate=rails.error_rate, unsafe_rate=rails.unsafe_rate, cost_usd=rails.cost_usd
        ),
        state=STATES[experiment.state],
        reason=experiment.reason,
        winner=experiment.winner,
        started_at=_timestamp(experiment.started_at),
        ended_at=None if experiment.ended_at is None else _timestamp(experiment.ended_at),
        results=[]
        if tallies is None
        else [
            _result(arm.name, tallies.get(arm.name, Tally()), experiment.p_values.get(arm.name))
            for arm in plan.arms
        ],
    )


def _result(arm: str, tally: Tally, p_value: float | None) -> router_pb2.ArmResult:
    return router_pb2.ArmResult(
        arm=arm,
        requests=round(tally.failed.values),
        errors=round(tally.failed.total),
        quality=_mean(tally.quality),
        seconds=_mean(tally.seconds),
        cost_usd=_mean(tally.cost),
        unsafe=round(tally.unsafe.total),
        rating=_mean(tally.rating),
        p_value=p_value,
    )


def _mean(sums: Sums) -> float | None:
    return sums.total / sums.values if sums.values else None


def _timestamp(seconds: float) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromMicroseconds(round(seconds * 1e6))
    return timestamp
