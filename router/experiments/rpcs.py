"""The rpcs of RouterService that are about experiments and outcomes."""

import difflib
import re
import time
from collections.abc import Callable
from typing import Any

from router.experiments.engine import Experiments
from router.experiments.experiment import Experiment, Plan
from router.experiments.messages import experiment_of, plan_of
from router.experiments.rules import breaches, unknown_models
from router.experiments.shadow import Verdicts
from router.refusals import NEAR, SUGGESTIONS
from router.runs import Verdict
from scrollintel.visual.v1 import errors_pb2, router_pb2, router_pb2_grpc
from services.runtime import identity
from services.runtime.errors import MeshError

DEFAULT_PAGE = 50
PAGE_TOKEN = re.compile("[0-9a-f]{1,16}")

Context = Any  # grpc.aio.ServicerContext, unused: errors, deadlines and cancellation are the runtime's


class ExperimentRpcs(router_pb2_grpc.RouterServiceServicer):
    """Serves them. `models` tells which models there are."""

    def __init__(self, experiments: Experiments, verdicts: Verdicts, models: Callable[[], list[str]]) -> None:
        self._experiments = experiments
        self._verdicts = verdicts
        self._models = models

    async def ReportOutcome(
        self, request: router_pb2.ReportOutcomeRequest, _: Context
    ) -> router_pb2.ReportOutcomeResponse:
        """Take in how a result was judged."""
        await self._verdicts.judge(_verdict(request))
        return router_pb2.ReportOutcomeResponse()

    async def CreateExperiment(
        self, request: router_pb2.CreateExperimentRequest, _: Context
    ) -> router_pb2.CreateExperimentResponse:
        """Start an experiment."""
        plan = plan_of(request)
        _check(plan, self._models())
        created = await self._experiments.create(plan, request.request_id)
        return router_pb2.CreateExperimentResponse(experiment=experiment_of(created))

    async def GetExperiment(
        self, request: router_pb2.GetExperimentRequest, _: Context
    ) -> router_pb2.GetExperimentResponse:
        """Read an experiment and its results so far."""
        found = _found(request.id, await self._experiments.store.get(request.id))
        return router_pb2.GetExperimentResponse(experiment=await self._with_results(found))

    async def ListExperiments(
        self, request: router_pb2.ListExperimentsRequest, _: Context
    ) -> router_pb2.ListExperimentsResponse:
        """Read a page, and one experiment more to know whether there is a next."""
        size = request.page_size or DEFAULT_PAGE
        page = await self._experiments.store.page(_before(request.page_token), size + 1)
        return router_pb2.ListExperimentsResponse(
            experiments=map(experiment_of, page[:size]),
            next_page_token=f"{page[size - 1].sequence:x}" if len(page) > size else "",
        )

    async def StopExperiment(
        self, request: router_pb2.StopExperimentRequest, _: Context
    ) -> router_pb2.StopExperimentResponse:
        """End an experiment."""
        stopped = _found(request.id, await self._experiments.stop(request.id))
        return router_pb2.StopExperimentResponse(experiment=await self._with_results(stopped))

    async def _with_results(self, experiment: Experiment) -> router_pb2.Experiment:
        return experiment_of(experiment, await self._experiments.results_of(experiment))


def _verdict(request: router_pb2.ReportOutcomeRequest) -> Verdict:
    """Return the verdict of the tenant that asks. Raises MeshError FIELD_INVALID where it says nothing."""
    quality = request.quality
    if not (quality.HasField("overall") or request.HasField("unsafe") or request.HasField("rating")):
        raise _invalid("quality.overall", "must be given: it is what is learned from")
    return Verdict(
        request_id=request.request_id,
        tenant=identity.current().tenant,
        at=time.time(),
        quality=quality.overall.value if quality.HasField("overall") else None,
        unsafe=request.unsafe if request.HasField("unsafe") else None,
        rating=request.rating if request.HasField("rating") else None,
    )


def _check(plan: Plan, models: list[str]) -> None:
    """Raise MeshError FIELD_INVALID for a plan that breaks its rules, MODEL_UNKNOWN for a model that nobody serves."""
    broken = [(breach.field, breach.rule) for breach in breaches(plan)]
    if broken:
        (field, rule), *_ = broken
        reason = errors_pb2.ERROR_REASON_FIELD_INVALID
        raise MeshError(reason, f"{field}: {rule}", field=field, violations=broken)
    for index, breach in unknown_models(plan, models):
        name = plan.arms[index].model
        near = difflib.get_close_matches(name, models, SUGGESTIONS, NEAR) or models[:SUGGESTIONS]
        raise MeshError(
            errors_pb2.ERROR_REASON_MODEL_UNKNOWN,
            f"{breach.field}: {breach.rule}; use {' or '.join(near)}",
            field=breach.field,
            suggestions=near,
        )


def _before(token: str) -> int | None:
    """Return the sequence number that a page goes on before; None for the first page. Raises MeshError."""
    if not token:
        return None
    if not PAGE_TOKEN.fullmatch(token):
        raise _invalid("page_token", "is none of this service's")
    return min(int(token, 16), 2**63 - 1)


def _found(experiment_id: str, experiment: Experiment | None) -> Experiment:
    if experiment is None:
        message = f"id: there is no experiment {experiment_id!r}"
        raise MeshError(errors_pb2.ERROR_REASON_NOT_FOUND, message, field="id")
    return experiment


def _invalid(field: str, rule: str) -> MeshError:
    return MeshError(errors_pb2.ERROR_REASON_FIELD_INVALID, f"{field}: {rule}", field=field)
