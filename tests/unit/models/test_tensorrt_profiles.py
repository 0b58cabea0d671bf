import pytest

from services.models.entry import Model, Profile
from services.models.tensorrt.profiles import ProfileError, engine_profiles


def entry(**fields):
    return Model.model_validate(
        {
            "name": "sdxl",
            "title": "SDXL",
            "family": "sdxl",
            "task": "text-to-image",
            "source": {"kind": "none"},
            "licence": {"spdx": "MIT", "commercial_use": True, "attribution": "nobody"},
            "converter": "copy",
            "precisions": ["fp16"],
            "memory_mib": 1,
        }
        | fields
    )


SIZES = [[1024, 1024], [1152, 896], [896, 1152]]
UNET = {
    "sample": (None, 4, None, None),
    "timestep": (None,),
    "encoder_hidden_states": (None, 77, 2048),
    "fixed": (3, 3),
}


def profile(low, usual, high):
    return {"min": low, "opt": usual, "max": high}


def test_follow_the_sizes_for_a_denoiser_with_two_rows_a_picture():
    profiles = engine_profiles(entry(sizes=SIZES), "unet", UNET, {})
    assert profiles == {
        "sample": Profile(min=(1, 4, 112, 112), opt=(2, 4, 128, 128), max=(8, 4, 144, 144)),
        "timestep": Profile(min=(1,), opt=(2,), max=(8,)),
        "encoder_hidden_states": Profile(min=(1, 77, 2048), opt=(2, 77, 2048), max=(8, 77, 2048)),
    }


def test_count_pixels_or_latents_as_the_input_does():
    model = entry(sizes=SIZES, limits={"num_images": {"minimum": 1, "maximum": 2}})
    decoder = engine_profiles(model, "vae_decoder", {"latents": (None, 4, None, None)}, {}, 4)
    assert decoder == {"latents": Profile(min=(1, 4, 224, 224), opt=(1, 4, 256, 256), max=(2, 4, 288, 288))}
    encoder = engine_profiles(model, "vae_encoder", {"image": (None, 3, None, None)}, {})
    assert encoder["image"].opt == (1, 3, 1024, 1024)


def test_take_in_the_shapes_that_the_engine_is_checked_at():
    profiles = engine_profiles(entry(sizes=SIZES), "unet", UNET, {"sample": (1, 4, 32, 16)})
    assert profiles["sample"] == Profile(min=(1, 4, 32, 16), opt=(2, 4, 128, 128), max=(8, 4, 144, 144))


def test_are_the_catalogue_s_where_it_has_any():
    given = profile([1, 4, 64, 64], [2, 4, 64, 64], [2, 4, 128, 128])
    profiles = engine_profiles(entry(sizes=SIZES, profiles={"unet": {"sample": given}}), "unet", UNET, {})
    assert profiles["sample"] == Profile(**given)
    assert profiles["timestep"] == Profile(min=(1,), opt=(2,), max=(8,))


@pytest.mark.parametrize(
    ("fields", "component", "inputs", "message"),
    [
        (
            {},
            "unet",
            UNET,
            r"sdxl: profiles\.unet\.sample: axis 2 is free and its lengths are not known: give min",
        ),
        ({}, "model", {"words": (None, None)}, r"profiles\.model\.words: axis 1 is free"),
        (
            {"profiles": {"unet": {"simple": profile([1], [1], [1])}}},
            "unet",
            UNET,
            r"profiles\.unet\.simple: there is no such input; there are: sample, timestep",
        ),
        (
            {"profiles": {"unet": {"timestep": profile([1, 1], [1, 1], [1, 1])}}},
            "unet",
            {"timestep": (None,)},
            r"profiles\.unet\.timestep: has 2 axes, the graph's input has 1",
        ),
        (
            {"profiles": {"unet": {"timestep": profile([0], [1], [1])}}},
            "unet",
            {"timestep": (None,)},
            r"timestep: axis 0: min must be at least 1; 0 given",
        ),
        (
            {"profiles": {"unet": {"sample": profile([1, 3, 8, 8], [1, 3, 8, 8], [1, 3, 8, 8])}}},
            "unet",
            {"sample": (None, 4, None, None)},
            r"sample: axis 1 is 4 in the graph; 3 to 3 given",
        ),
    ],
)
def test_name_what_is_missing_or_wrong(fields, component, inputs, message):
    with pytest.raises(ProfileError, match=message):
        engine_profiles(entry(**fields), component, inputs, {})


def test_refuse_a_given_profile_that_could_never_be_verified():
    given = {"unet": {"timestep": profile([2], [2], [4])}}
    with pytest.raises(
        ProfileError, match=r"timestep: must take in \[1\], the shape at which the engine is held"
    ):
        engine_profiles(entry(profiles=given), "unet", {"timestep": (None,)}, {"timestep": (1,)})


def test_the_schema_refuses_what_decreases():
    with pytest.raises(ValueError, match="must not decrease"):
        entry(profiles={"unet": {"sample": profile([2], [1], [4])}})
