"""What an operator's classifier of violence means to the policy, and that one which can say nothing passes nothing."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from services.safety.category import Category
from services.safety.labels import Meaning, parse_labels
from services.safety.nsfw import Scale
from services.safety.pictures.checker import NeedsWeights, Opinion
from services.safety.pictures.classifier import judge
from services.safety.pictures.violence import MODEL, Violence
from services.safety.policy import PolicyError
from services.safety.policybook import PolicyBook
from services.safety.rulebook import read
from tests.unit.safety.checkers import GREY, shown
from tests.unit.safety.shipped import RULES

STEPS = [{"probability": 0.5, "severity": 3}]
MEANINGS = {
    "gore": Meaning(Category.VIOLENCE, Scale(((0.5, 3), (0.9, 6)))),
    "cutting": Meaning(Category.SELF_HARM, Scale(((0.8, 4),))),
}


def test_labels_become_findings_of_their_categories() -> None:
    opinion = judge({"gore": 0.95, "cutting": 0.85, "picnic": 1.0}, MEANINGS, "violence/1")
    assert [(signal.category, signal.severity, signal.evidence) for signal in opinion.signals] == [
        (Category.VIOLENCE, 6, "gore 0.950"),
        (Category.SELF_HARM, 4, "cutting 0.850"),
    ]
    assert opinion.risk == 0.95


def test_of_labels_that_exclude_one_another_those_that_mean_the_same_are_added() -> None:
    """Where a picture may have several, each counts by itself."""
    same = MEANINGS | {"blood": MEANINGS["gore"]}
    (signal,) = judge({"blood": 0.4, "gore": 0.5, "picnic": 0.1}, same, "violence/1").signals
    assert (signal.severity, signal.evidence) == (6, "gore 0.500, blood 0.400")
    (alone,) = judge({"blood": 0.4, "gore": 0.5, "picnic": 0.9}, same, "violence/1").signals
    assert (alone.severity, alone.evidence) == (3, "gore 0.500")


def test_a_label_below_its_first_step_is_no_finding() -> None:
    opinion = judge({"gore": 0.4, "picnic": 0.6}, MEANINGS, "violence/1")
    assert (list(opinion.signals), opinion.risk) == ([], 0.4)


def test_labels_of_which_the_policy_knows_none_are_no_pass() -> None:
    with pytest.raises(ValueError, match="has none of the classifier's labels"):
        judge({"LABEL_0": 0.1, "LABEL_1": 0.9}, MEANINGS, "violence/1")


@dataclass
class ScriptedTriton:
    """Has a classifier, or none."""

    models: tuple[str, ...] = (MODEL,)
    labels: list[bytes] = field(default_factory=lambda: [b"harmless", b"Violence"])
    probabilities: NDArray[np.float32] = field(default_factory=lambda: np.array([0.1, 0.9], np.float32))

    async def index(self, timeout: float) -> dict[str, str]:
        return dict.fromkeys(self.models, "READY")

    async def infer(self, model: str, inputs: dict[str, Any], timeout: float) -> dict[str, Any]:
        return {"labels": np.array(self.labels, np.object_), "probabilities": self.probabilities}


async def look(triton: Any) -> Opinion | NeedsWeights:
    return await Violence(triton, 1.0).check(shown(GREY))


async def test_without_a_classifier_nothing_was_looked_for() -> None:
    assert await look(ScriptedTriton(models=("nsfw_open_nsfw",))) == NeedsWeights()


async def test_the_shipped_policy_knows_violence() -> None:
    opinion = await look(ScriptedTriton())
    assert isinstance(opinion, Opinion)
    ((category, severity),) = [(signal.category, signal.severity) for signal in opinion.signals]
    assert (category, severity) == (Category.VIOLENCE, 5)


async def test_of_two_outputs_with_one_label_the_surer_counts() -> None:
    triton = ScriptedTriton((MODEL,), [b"violence", b"Violence"], np.array([0.9, 0.1], np.float32))
    opinion = await look(triton)
    assert isinstance(opinion, Opinion)
    assert opinion.risk == pytest.approx(0.9)


@pytest.mark.parametrize("probabilities", [[0.1], [np.nan, 0.1], [0.1, 1.5]])
async def test_an_answer_that_is_none_is_no_pass(probabilities: list[float]) -> None:
    with pytest.raises(ValueError, match="no probabilities for 2 labels"):
        await look(ScriptedTriton(probabilities=np.array(probabilities, np.float32)))


@pytest.mark.parametrize(
    ("entry", "path"),
    [
        ({"gore": {"category": "violence"}}, "violence_labels.gore"),
        ({"gore": {"category": "gore", "severities": STEPS}}, "violence_labels.gore.category"),
        ({"gore": {"category": ["violence"], "severities": STEPS}}, "violence_labels.gore.category"),
        # What is done about personal data need not stand in a policy: the finding would let everything pass.
        ({"card": {"category": "personal_data", "severities": STEPS}}, "violence_labels.card.category"),
        ({"gore": {"category": "violence", "severities": []}}, "violence_labels.gore.severities"),
        (
            {
                "gore": {"category": "violence", "severities": STEPS},
                "Gore": {"category": "hate", "severities": STEPS},
            },
            "violence_labels.Gore",
        ),
        ({"gore": 5}, "violence_labels.gore"),
        (["gore"], "violence_labels"),
    ],
)
def test_a_mistake_in_the_policy_is_named(entry: Any, path: str) -> None:
    with pytest.raises(PolicyError) as caught:
        PolicyBook.parse(read("policy.yaml") | {"violence_labels": entry}, RULES.disguises)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_policy_without_labels_has_none() -> None:
    given = {key: value for key, value in read("policy.yaml").items() if key != "violence_labels"}
    assert PolicyBook.parse(given, RULES.disguises).violence == {}
    assert parse_labels("violence_labels", {}) == {}
