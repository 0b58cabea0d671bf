import protovalidate
from hypothesis import given, settings
from hypothesis import strategies as st

from scrollintel.visual.v1 import spec_pb2
from scrollintel.visual.v1.generation_pb2 import GenerationSpec
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


def test_a_fingerprint_covers_spec_and_objective_and_nothing_else():
    first = image_request(request_id="a")
    other_id = image_request(request_id="b")
    other_id.previews = True
    other_spec = image_request(prompt="a dog")
    other_objective = image_request()
    other_objective.objective = spec_pb2.OBJECTIVE_COST
    assert defaults.fingerprint(first) == defaults.fingerprint(other_id)
    assert len({defaults.fingerprint(each) for each in (first, other_spec, other_objective)}) == 3
