import pytest

from scrollintel.visual.v1 import errors_pb2, generation_pb2
from scrollintel.visual.v1.generation_pb2 import Completed, Failed, GenerationResult
from services.orchestrator import defaults, store
from services.orchestrator.pipeline import Work
from services.orchestrator.store import Generation, Store
from services.runtime.errors import MeshError
from tests.unit.orchestrator.scripted import image_request


def generation(request_id="", tenant="local", prompt="a cat"):
    request = image_request(prompt, request_id)
    work = Work(store.new_id(), defaults.fill(request.spec))
    return Generation(work, tenant, request_id, defaults.fingerprint(request))


def finished(kept, **fields):
    made = generation(**fields)
    kept.add(made)
    made.end(Failed(status=MeshError(errors_pb2.ERROR_REASON_MODEL_FAILED, "x").status()))
    return made


def reason(raised):
    return errors_pb2.ErrorReason.Name(raised.value.reason)


def test_the_oldest_finished_are_forgotten_first_and_running_ones_never():
    kept = Store(3)
    running = generation(request_id="r")
    kept.add(running)
    old = [finished(kept, request_id=f"f{number}") for number in range(5)]
    assert len(kept) == 3
    assert kept.get("local", running.id) is running
    assert [each.id for each in kept.page("local", 10, "")[0]] == [old[4].id, old[3].id, running.id]
    assert kept.requested("local", "f0", old[0].fingerprint) is None
    assert kept.requested("local", "r", running.fingerprint) is running


def test_running_ones_are_kept_beyond_the_bound():
    kept = Store(2)
    running = [generation() for _ in range(4)]
    for each in running:
        kept.add(each)
    assert len(kept) == 4  # their number is bounded by admission
    for each in running:
        each.end(Completed(result=GenerationResult(state=generation_pb2.GENERATION_STATE_SUCCEEDED)))
    kept.add(generation())
    assert len(kept) == 2


def test_a_request_id_names_one_piece_of_work_of_one_tenant():
    kept = Store(10)
    first = generation(request_id="r")
    kept.add(first)
    assert kept.requested("local", "r", first.fingerprint) is first
    assert kept.requested("other", "r", first.fingerprint) is None
    assert kept.requested("local", "", first.fingerprint) is None
    with pytest.raises(MeshError) as raised:
        kept.requested("local", "r", generation(prompt="a dog").fingerprint)
    assert reason(raised) == "ERROR_REASON_REQUEST_ID_REUSED"


def test_a_released_request_id_can_start_anew_and_does_not_release_its_successor():
    kept = Store(10)
    first, second = generation(request_id="r"), generation(request_id="r")
    kept.add(first)
    kept.release_request(first)
    assert kept.requested("local", "r", first.fingerprint) is None
    kept.add(second)
    kept.forget(first)
    assert kept.requested("local", "r", first.fingerprint) is second


def test_tenants_do_not_see_one_another():
    kept = Store(10)
    mine, theirs = finished(kept, tenant="a"), finished(kept, tenant="b")
    assert kept.get("a", mine.id) is mine
    with pytest.raises(MeshError) as raised:
        kept.get("a", theirs.id)
    assert reason(raised) == "ERROR_REASON_NOT_FOUND"
    assert kept.page("a", 10, "")[0] == [mine]


def test_pages_show_everything_once_newest_first():
    kept = Store(100)
    ids = [finished(kept).id for _ in range(7)]
    seen, token = [], ""
    while True:
        page, token = kept.page("local", 3, token)
        seen += [each.id for each in page]
        finished(kept)  # what comes later does not shift the pages
        if not token:
            break
    assert seen == ids[::-1]


@pytest.mark.parametrize("token", ["x", "-1", "1.5", "²"])
def test_a_token_that_was_never_given_is_refused(token):
    with pytest.raises(MeshError) as raised:
        Store(10).page("local", 3, token)
    assert (reason(raised), raised.value.field) == ("ERROR_REASON_FIELD_INVALID", "page_token")


@pytest.mark.parametrize(
    ("reason_of_end", "state"),
    [
        (errors_pb2.ERROR_REASON_CANCELLED, generation_pb2.GENERATION_STATE_CANCELLED),
        (errors_pb2.ERROR_REASON_DEADLINE_EXCEEDED, generation_pb2.GENERATION_STATE_CANCELLED),
        (errors_pb2.ERROR_REASON_MODEL_FAILED, generation_pb2.GENERATION_STATE_FAILED),
        (errors_pb2.ERROR_REASON_INTERNAL, generation_pb2.GENERATION_STATE_FAILED),
    ],
)
def test_states_follow_the_end_and_only_the_first_end_counts(reason_of_end, state):
    one = generation()
    one.end(Failed(status=MeshError(reason_of_end, "why").status()))
    one.end(Completed(result=GenerationResult(state=generation_pb2.GENERATION_STATE_SUCCEEDED)))
    message = one.message()
    assert (message.state, message.error.message, message.HasField("result")) == (state, "why", False)
    assert len(one.log) == 1
