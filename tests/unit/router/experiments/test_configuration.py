"""experiments.yaml: read as it is meant, refused with the line that is wrong."""

from datetime import timedelta
from pathlib import Path

import pytest

from router import experiments
from router.configuration import ConfigurationError
from router.experiments.configuration import load_experiments
from router.experiments.experiment import Arm, Guardrails, Metric, Plan, Unit

MODELS = {"alpha", "beta", "gamma"}
GOOD = """\
experiments:
  - id: alpha-against-beta
    unit: user
    metric: cost
    days: 14
    arms:
      - {name: control, model: alpha, share: 0.9}
      - {name: other, model: beta, share: 0.1}
      - name: copy
        model: gamma
        share: 0.05
        shadow: true
    guardrails: {error_rate: 0.01}
"""
SECOND = GOOD.removeprefix("experiments:\n")


def refused(tmp_path: Path, text: str) -> str:
    file = tmp_path / "experiments.yaml"
    file.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load_experiments(file, MODELS)
    return str(caught.value)


def test_a_file_is_read_as_it_is_meant(tmp_path):
    file = tmp_path / "experiments.yaml"
    file.write_text(GOOD)
    assert load_experiments(file, MODELS) == {
        "alpha-against-beta": Plan(
            arms=(Arm("control", "alpha", 0.9), Arm("other", "beta", 0.1), Arm("copy", "gamma", 0.05, True)),
            duration=timedelta(days=14),
            unit=Unit.USER,
            metric=Metric.COST,
            guardrails=Guardrails(0.01, 0.02, 0.10),
        )
    }


def test_the_file_of_the_router_holds_none():
    assert load_experiments(Path(experiments.__file__).parents[1] / "experiments.yaml", ()) == {}


def test_the_example_of_the_router_is_a_good_one(tmp_path):
    lines = (Path(experiments.__file__).parents[1] / "experiments.yaml").read_text().splitlines()
    example = [line[2:] for line in lines[lines.index("# experiments:") :] if line.startswith("# ")]
    file = tmp_path / "experiments.yaml"
    file.write_text("\n".join(example))
    used = {"text_to_image_house", "text_to_image_next", "text_to_image_tiny"}
    (plan,) = load_experiments(file, used).values()
    assert [arm.share for arm in plan.arms] == [0.9, 0.1, 0.05, 0.05]


@pytest.mark.parametrize(
    ("was", "becomes", "line", "words"),
    [
        ("share: 0.1}", "share: 0.2}", 6, "must sum to 1, not to 1.1"),
        ("name: other", "name: control", 8, "two arms are called control"),
        ("model: gamma", "model: delta", 10, "no model is called delta"),
        ("share: 0.9}", "share: 1.1}", 7, "less than or equal to 1"),
        ("share: 0.9}", "share: 0.9, shadow: true}", 7, "the first arm is the control"),
        ("days: 14", "days: 91", 5, "less than or equal to 90"),
        ("days: 14", "days: 0", 5, "greater than 0"),
        ("days: 14", "day: 14", 5, "Extra inputs are not permitted"),
        ("metric: cost", "metric: beauty", 4, "'quality', 'seconds', 'cost' or 'rating'"),
        ("metric: cost", "metric: rating", 12, "nobody rates"),
        ("metric: cost", "metric: quality", 12, "a shadow of the control's model"),
        ("error_rate: 0.01", "error_rate: -0.01", 13, "greater than or equal to 0"),
        ("error_rate: 0.01", "errors: 0.01", 13, "Extra inputs are not permitted"),
        ("id: alpha-against-beta", "id: Alpha", 2, "String should match pattern"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path, was, becomes, line, words):
    assert was in GOOD
    told = refused(tmp_path, GOOD.replace(was, becomes, 1))
    assert told.startswith(f"experiments.yaml:{line}: ")
    assert words in told


def test_two_of_one_name_are_refused_with_the_line_of_the_second(tmp_path):
    assert refused(tmp_path, GOOD + SECOND).startswith("experiments.yaml:14: experiments.1.id: ")
