import protovalidate
from hypothesis import given, settings
from hypothesis import strategies as st

from scrollintel.visual.v1 import spec_pb2
from scrollintel.visual.v1.generation_pb2 import CompareModelsRequest, GenerationSpec
from scrollintel.visual.v1.spec_pb2 import ImageSpec
from services.orchestrator import defaults
from tests.unit.orchestrator.scripted import image_request


def spec(**fields):
    return GenerationSpec(image=ImageSpec(prompt="a cat", **fields))


def test_everything_that_does_not_depend_on_the_model_is_filled_in():
    filled = defaults.fill(spec(), seed=lambda: 11).image
    assert filled == ImageSpec(
        prompt="a cat",
        width=1024,
        height=1024,
        num_images=1,
        quality=spec_pb2.QUALITY_TIER_STANDARD,
        seed=11,
        enhancement_level=spec_pb2.ENHANCEMENT_LEVEL_STANDARD,
    )


def test_what_was_given_stays():
    given_spec = spec(
        width=300,
        height=400,
        num_images=3,
        quality=spec_pb2.QUALITY_TIER_HIGH,
        seed=0,
        enhancement_level=spec_pb2.ENHANCEMENT_LEVEL_NONE,
        guidance_scale=0.0,
        steps=9,
    )
    assert defaults.fill(given_spec, seed=lambda: 11) == given_spec


@settings(deadline=None)
@given(st.sampled_from(["", "16:9", "1:1", "3:4"]), st.none() | st.integers(600, 900))
def test_a_filled_spec_is_valid_and_filling_it_again_changes_nothing(ratio, width):
    fields = {"aspect_ratio": ratio} | ({} if width is None else {"width": width})
    filled = defaults.fill(spec(**fields))
    protovalidate.validate(filled)
    assert defaults.fill(filled) == filled


def test_filling_leaves_the_callers_spec_alone():
    asked = spec(aspect_ratio="16:9")
    defaults.fill(asked)
    assert asked == spec(aspect_ratio="16:9")


def test_provenance_names_the_filled_spec():
    same = [
        defaults.provenance(defaults.fill(each, lambda: 5))
        for each in (spec(), spec(seed=5), spec(width=1024))
    ]
    assert len(set(same)) == 1
    assert len(same[0]) == 64
    assert defaults.provenance(defaults.fill(spec(), lambda: 6)) != same[0]


def test_drawn_seeds_differ_and_are_in_range():
    seeds = {defaults.draw_seed() for _ in range(50)}
    assert len(seeds) > 45
    assert all(0 <= seed < defaults.SEED_LIMIT for seed in seeds)


def test_a_fingerprint_covers_all_but_name_and_previews():
    first = image_request(request_id="a")
    other_id = image_request(request_id="b")
    other_id.previews = True
    other_spec = image_request(prompt="a dog")
    other_objective = image_request()
    other_objective.objective = spec_pb2.OBJECTIVE_COST
    other_limit, other_user = image_request(), image_request()
    other_limit.max_cost_usd = 0.0  # own models alone, which is not the same as no limit
    other_user.user = "ada"
    assert defaults.fingerprint(first) == defaults.fingerprint(other_id)
    others = (first, other_spec, other_objective, other_limit, other_user)
    assert len({defaults.fingerprint(each) for each in others}) == len(others)


def test_a_comparison_is_never_the_same_work_as_a_generation_or_as_one_of_other_models():
    spec = image_request().spec
    asked = [
        CompareModelsRequest(spec=spec, models=models) for models in (["a", "b"], ["b", "a"], ["a", "c"])
    ]
    asked.append(CompareModelsRequest(spec=spec, models=["a", "b"], max_cost_usd=1))
    prints = {defaults.fingerprint(each) for each in asked} | {defaults.fingerprint(image_request())}
    assert len(prints) == len(asked) + 1


def test_a_name_is_the_works_own_and_fits_the_contract():
    names = {
        defaults.work_name(*each)
        for each in (("a", "r", "f"), ("b", "r", "f"), ("a", "s", "f"), ("a", "r", "g"), ("ar", "", "f"))
    }
    assert len(names) == 5
    assert all(len(name) == 64 for name in names)
    assert defaults.work_name("a", "r", "f") in names


def test_the_seed_of_a_name_is_always_the_same_and_in_range():
    seeds = [defaults.seed_of(defaults.work_name("a", str(number), "f")) for number in range(50)]
    assert len(set(seeds)) == 50
    assert all(0 <= seed < defaults.SEED_LIMIT for seed in seeds)
    assert defaults.seed_of("x") == defaults.seed_of("x")
