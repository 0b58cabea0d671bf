"""A wrong file is refused with the line that is wrong; the files that ship are right."""

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationInfo, field_validator

from router.configuration import ConfigurationError, Fault, Strict, load
from router.demand import Objective, Tier
from router.entries import load_entries
from router.policy import load_policy
from router.settings import BACKENDS_FILE, WEIGHTS_FILE
from tests.unit.router.scripted import entry

ROOT = Path(__file__).parents[3]


def changed(tmp_path: Path, source: Path, old: str, new: str) -> Path:
    text = source.read_text()
    assert old in text
    path = tmp_path / source.name
    path.write_text(text.replace(old, new, 1))
    return path


def line_of(path: Path, text: str) -> int:
    return next(number for number, line in enumerate(path.read_text().splitlines(), 1) if text in line)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("quality: 0.8,", "quality: -0.8,", "objectives.quality.quality: Input should be greater than"),
        (
            "quality: 0.8,",
            "beauty: 0.8,",
            "objectives.quality.beauty: no scorer is called beauty",
        ),
        (
            "quality: 0.8,",
            "quality: 0.9,",
            "objectives.quality: the weights must sum to 1, not to 1.1",
        ),
        ("  cost: {", "  price: {", "objectives.price"),
        (
            "half_score_usd: 0.04",
            "half_score_usd: 0",
            "scales.half_score_usd: Input should be greater than 0",
        ),
        ("half_score_usd:", "half_score_eur:", "scales.half_score_eur: Extra inputs are not permitted"),
        ("objectives:", "objectives: [", "is not YAML"),
        ("  reserve: 1", "  share: 1", r"weights\.yaml:\d+: share: comes twice"),
        ("  share: 0.02", "  share: 2", "exploration.share: Input should be less than or equal to 1"),
        ("  share: 0.02", "  sharing: 0.02", "exploration.sharing: Extra inputs are not permitted"),
    ],
)
def test_wrong_weights_are_refused(tmp_path, old, new, told):
    with pytest.raises(ConfigurationError, match=told.replace("[", r"\[")):
        load_policy(changed(tmp_path, WEIGHTS_FILE, old, new))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("steps: 24", "steps: 240", "defaults.steps 240 is more than limits.steps 100"),
        ("{draft: 0.5, standard: 1, high: 2}", "{draft: 0.5}", "tiers must hold high, standard too"),
        ("images: 16", "images: 17", "images: Input should be less than or equal to 16"),
        ("modality: text-to-image", "modality: text-to-smell", "modality: Input should be"),
        ("remedy: run", "remedies: run", "remedies: Extra inputs are not permitted"),
        ("quality: 0.5 #", "quality: .nan #", "quality: Input should be"),
    ],
)
def test_wrong_backends_are_refused(tmp_path, old, new, told):
    with pytest.raises(ConfigurationError, match=told):
        load_entries(changed(tmp_path, BACKENDS_FILE, old, new))


def test_the_fault_is_told_with_its_line(tmp_path):
    path = changed(tmp_path, BACKENDS_FILE, "images: 16", "images: 17")
    with pytest.raises(
        ConfigurationError, match=rf"^backends\.yaml:{line_of(path, 'images: 17')}: backends.0.limits"
    ):
        load_entries(path)


@pytest.mark.parametrize(
    ("old", "new"), [("quality: 0.8,", "beauty: 0.8,"), ("quality: 0.8,", "quality: 0.9,")]
)
def test_a_rule_over_several_items_is_told_with_the_line_of_the_one_that_breaks_it(tmp_path, old, new):
    path = changed(tmp_path, WEIGHTS_FILE, old, new)
    with pytest.raises(
        ConfigurationError, match=rf"^weights\.yaml:{line_of(path, new)}: objectives\.quality"
    ):
        load_policy(path)


def test_validators_see_what_other_files_say(tmp_path):
    class Names(Strict):
        names: tuple[str, ...]

        @field_validator("names")
        @classmethod
        def _free(cls, names: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
            for index, name in enumerate(names):
                if name in info.context["taken"]:
                    raise Fault(f"{name} is taken", at=(index,))
            return names

    path = tmp_path / "names.yaml"
    path.write_text("names:\n  - a\n  - b\n")
    assert load(path, Names, taken={"c"}).names == ("a", "b")
    with pytest.raises(ConfigurationError, match=r"^names\.yaml:3: names\.1: b is taken$"):
        load(path, Names, taken={"b"})


def test_two_of_a_name_are_refused(tmp_path):
    path = tmp_path / "backends.yaml"
    text = BACKENDS_FILE.read_text()
    path.write_text(text + text[text.index("  - name:") :])
    with pytest.raises(ConfigurationError, match="two backends are called triton/text_to_image_house"):
        load_entries(path)


def test_each_fault_is_told_once(tmp_path):
    path = changed(tmp_path, BACKENDS_FILE, "images: 16", "images: 17")
    with pytest.raises(ConfigurationError) as caught:
        load_entries(path)
    assert len(str(caught.value).splitlines()) == 1


def test_no_backends_are_refused(tmp_path):
    path = tmp_path / "backends.yaml"
    path.write_text("backends: []\n")
    with pytest.raises(ConfigurationError, match="must hold at least one backend"):
        load_entries(path)


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(ConfigurationError, match=r"weights\.yaml: cannot be read"):
        load_policy(tmp_path / "weights.yaml")


def test_every_objective_has_weights():
    assert load_policy(WEIGHTS_FILE).weights.keys() == set(Objective)


def test_the_backends_that_ship_are_models_that_triton_serves():
    for one in load_entries(BACKENDS_FILE):
        for model in (one.model, *one.requires):
            assert (ROOT / "model_repository" / model / "config.pbtxt").is_file(), model
        config = (ROOT / "model_repository" / one.model / "config.pbtxt").read_text()
        assert f'key: "concurrency" value {{ string_value: "{one.concurrency}" }}' in config


def test_the_backends_that_ship_agree_with_the_catalogue():
    """The router may not import the catalogue (they are strangers), so the two are held together here."""
    for one in load_entries(BACKENDS_FILE):
        model = yaml.safe_load((ROOT / "services/models/catalogue" / f"{one.model}.yaml").read_text())
        defaults, limits = model["defaults"], model["limits"]
        assert model["task"] == one.modality
        assert (one.defaults.steps, one.defaults.guidance_scale) == (
            defaults["steps"],
            defaults["guidance_scale"],
        )
        assert one.limits.steps == limits["steps"]["maximum"]
        assert one.limits.images == limits["num_images"]["maximum"]
        assert one.sizes == ((defaults["width"], defaults["height"]),)
        assert list(one.requires) == model["requires"]


@pytest.mark.parametrize(
    ("default", "most", "steps"),
    [(24, 100, (12, 24, 48)), (1, 100, (1, 1, 2)), (80, 100, (40, 80, 100))],
)
def test_tiers_scale_the_default_within_the_limit(default, most, steps):
    one = entry(defaults={"steps": default, "guidance_scale": 1}, limits={"steps": most, "images": 1})
    assert tuple(one.steps_by_tier()[tier] for tier in (Tier.DRAFT, Tier.STANDARD, Tier.HIGH)) == steps
