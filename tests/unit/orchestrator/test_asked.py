import pytest

from scrollintel.visual.v1 import errors_pb2, spec_pb2
from scrollintel.visual.v1.generation_pb2 import CompareModelsRequest, GenerateRequest, GenerationSpec
from services.orchestrator import asked, defaults
from services.runtime.errors import MeshError
from tests.unit.orchestrator.scripted import image_request

MODELS = ["house", "sdxl", "dalle"]


def made(request, tenant="local"):
    return asked.generation(tenant, request, defaults.fingerprint(request)).work


def comparison(request_id="", **fields):
    spec = image_request(**fields).spec
    return CompareModelsRequest(request_id=request_id, spec=spec, models=MODELS)


def test_what_was_asked_reaches_the_router():
    request = image_request(request_id="r", seed=3)
    request.objective, request.max_cost_usd, request.user = spec_pb2.OBJECTIVE_COST, 0.0, "ada"
    work = made(request)
    execution = work.execution(work.spec.image)
    assert (execution.generation_id, execution.objective) == (work.id, spec_pb2.OBJECTIVE_COST)
    assert (execution.HasField("max_cost_usd"), execution.max_cost_usd) == (True, 0.0)
    assert execution.user == "ada"
    plain = made(image_request())
    assert not plain.execution(plain.spec.image).HasField("max_cost_usd")


def test_the_same_request_is_named_and_seeded_alike_whenever_it_is_sent():
    first, again = made(image_request(request_id="r")), made(image_request(request_id="r"))
    assert first.id != again.id
    assert first.request_id == again.request_id != first.id
    assert first.spec == again.spec
    assert len(first.request_id) <= 64
    others = [
        made(image_request(request_id="s")),
        made(image_request("a dog", "r")),
        made(image_request(), "b"),
    ]
    assert len({first.request_id, *(other.request_id for other in others)}) == 4


def test_a_request_without_a_name_goes_by_its_generation():
    first, again = made(image_request()), made(image_request())
    assert (first.request_id, again.request_id) == (first.id, again.id)
    assert first.spec.image.seed != again.spec.image.seed


@pytest.mark.parametrize("request_id", ["", "r"])
def test_compared_models_draw_the_same_with_the_same_seed(request_id):
    requests = dict(asked.compared("local", comparison(request_id)))
    assert list(requests) == MODELS
    assert [each.spec.image.model_preference for each in requests.values()] == MODELS
    assert len({each.spec.image.seed for each in requests.values()}) == 1
    assert len({each.request_id for each in requests.values()}) == (3 if request_id else 1)
    assert requests["house"].request_id == request_id


def test_a_named_comparison_keeps_its_seed_and_a_given_seed_stays():
    again = [dict(asked.compared("local", comparison("r")))["sdxl"].spec.image.seed for _ in range(2)]
    assert again[0] == again[1]
    assert dict(asked.compared("local", comparison("r", seed=5)))["sdxl"].spec.image.seed == 5


@pytest.mark.parametrize(
    ("request_", "reason", "field"),
    [
        (comparison(model_preference="house"), errors_pb2.ERROR_REASON_FIELD_INVALID, asked.PREFERENCE),
        (
            CompareModelsRequest(spec=GenerationSpec(video={"prompt": "a walk"}), models=MODELS),
            errors_pb2.ERROR_REASON_UNIMPLEMENTED,
            "spec.video",
        ),
        (
            CompareModelsRequest(spec=GenerationSpec(enhancement={}), models=MODELS),
            errors_pb2.ERROR_REASON_UNIMPLEMENTED,
            "spec.enhancement",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(request_, reason, field):
    with pytest.raises(MeshError) as raised:
        list(asked.compared("local", request_))
    assert (raised.value.reason, raised.value.field) == (reason, field)


def test_a_kind_that_is_not_served_is_named():
    with pytest.raises(MeshError) as raised:
        made(GenerateRequest(spec=GenerationSpec(video={"prompt": "a walk"})))
    assert raised.value.field == "spec.video"
