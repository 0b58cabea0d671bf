"""What the database adds up is what one finds by adding up by hand."""

import random
from collections import defaultdict
from statistics import fmean

import pytest

from router.experiments.experiment import Unit
from router.experiments.sequential import Sums
from router.experiments.tally import Tally
from router.performance import open_performance
from router.runs import OK, Run, Verdict
from router.tables import metadata
from services.runtime.database import open_database
from tests.unit.router.performance.remembered import Listener, run, verdict

OUTCOMES = (OK, OK, OK, "MODEL_FAILED", "CANCELLED")
Requests = dict[tuple[str, str, str], list[tuple[Run, list[Verdict]]]]


def by_hand(requests: Requests, unit: Unit) -> dict[str, Tally]:
    """Return the tallies of requests, each with its runs and the verdicts on them, by arm, tenant and request id."""
    values: dict[tuple[str, str], dict[object, list[float]]] = defaultdict(lambda: defaultdict(list))
    arms = set()
    for (arm, tenant, request_id), ended in requests.items():
        if all(run.outcome == "CANCELLED" for run, _ in ended):
            continue
        arms.add(arm)
        whose = {Unit.TENANT: tenant, Unit.USER: ended[0][0].unit, Unit.REQUEST: (tenant, request_id)}
        who = whose[unit]
        said = [verdict for _, verdicts in ended for verdict in verdicts]
        values[arm, "failed"][who].append(float(all(run.outcome != OK for run, _ in ended)))
        values[arm, "unsafe"][who].append(float(any(verdict.unsafe for verdict in said)))
        if any(run.outcome == OK for run, _ in ended):
            took = [run for run, _ in ended if run.outcome != "CANCELLED"]
            values[arm, "seconds"][who].append(sum(run.seconds + run.waited + run.loading for run in took))
            values[arm, "cost"][who].append(sum(run.usd for run, _ in ended))
            for name in ("quality", "rating"):
                if measured := [getattr(one, name) for one in said if getattr(one, name) is not None]:
                    values[arm, name][who].append(fmean(measured))
    return {arm: Tally(**{name: sums(values[arm, name]) for name in Tally.__slots__}) for arm in arms}


def sums(values: dict[object, list[float]]) -> Sums:
    units = [(len(one), sum(one)) for one in values.values()]
    return Sums(
        len(units), sum(n for n, _ in units), sum(s for _, s in units), sum(n * n for n, _ in units),
        sum(n * s for n, s in units), sum(s * s for _, s in units),
    )  # fmt: skip


@pytest.mark.parametrize("unit", list(Unit))
async def test_requests_are_added_up_by_arm_and_unit(database_url: str, unit: Unit) -> None:
    rng = random.Random(7)
    requests: Requests = defaultdict(list)
    async with (
        open_database(database_url, "the performance database", metadata) as database,
        open_performance(database, Listener(), "one") as performance,
    ):
        for number in range(60):
            tenant, request_id = f"tenant {rng.randrange(9)}", f"r{number}"
            arm, user = rng.choice(["control", "other", "shadow"]), f"user {rng.randrange(9)}"
            for attempt in range(1, rng.choice([2, 2, 3])):
                ended = run(
                    request_id, tenant=tenant, attempt=attempt, outcome=rng.choice(OUTCOMES), experiment="e", arm=arm,
                    seconds=rng.random(), waited=rng.random(), loading=rng.choice([0.0, 2.5]), usd=rng.random(),
                    shadow=arm == "shadow", unit=user,
                )  # fmt: skip
                requests[arm, tenant, request_id].append((ended, []))
                performance.record(ended)
        performance.record(run("r0", experiment="another", arm="control"))
        performance.record(run("r0"))
        for (arm, tenant, request_id), ended in requests.items():
            for _ in range(rng.choice([0, 1, 3])):
                said = verdict(
                    request_id, tenant=tenant, quality=rng.choice([None, rng.random()]),
                    unsafe=rng.choice([None, False, True]), rating=rng.choice([None, rng.randint(1, 5)]),
                )  # fmt: skip
                if any(run.outcome == OK for run, _ in ended):
                    await performance.judge(said, shadow=arm == "shadow")
                    for one, verdicts in ended:
                        if one.outcome == OK:
                            verdicts.append(said)
        found = await performance.of_experiment("e", unit)
        assert await performance.of_experiment("none", unit) == {}
    expected = by_hand(requests, unit)
    assert found.keys() == expected.keys() == {"control", "other", "shadow"}
    for arm, tally in expected.items():
        for name in Tally.__slots__:
            assert getattr(found[arm], name) == pytest.approx(getattr(tally, name), abs=1e-4), (arm, name)
