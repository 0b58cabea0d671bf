from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.safety.category import JUDGED, Action, Category, Signal
from services.safety.policy import Policy, strongest
from services.safety.rulebook import load_policy, read
from tests.unit.safety.shipped import POLICY

LADDER = {"flag": 2, "block": 5}
PERSONAL = {"flag": 2, "redact": 3, "block": 5}


def policy(**changes: Any) -> Policy:
    thresholds = {category.value: dict(LADDER) for category in JUDGED} | {"personal_data": PERSONAL} | changes
    return Policy.parse({"version": "1", "link": "policy.md", "thresholds": thresholds})


@pytest.mark.parametrize(
    ("severity", "action"),
    [
        (0, Action.ALLOW),
        (1, Action.ALLOW),
        (2, Action.FLAG),
        (3, Action.REDACT),
        (4, Action.REDACT),
        (5, Action.BLOCK),
        (7, Action.BLOCK),
    ],
)
def test_action(severity: int, action: Action) -> None:
    assert policy().action(Category.PERSONAL_DATA, severity) is action


@given(st.sampled_from(Category), st.integers(0, 6))
def test_worse_is_never_treated_milder(category: Category, severity: int) -> None:
    assert POLICY.action(category, severity) <= POLICY.action(category, severity + 1)


def test_the_shipped_policy_blocks_the_worst_of_every_category() -> None:
    assert all(POLICY.action(category, 7) is Action.BLOCK for category in JUDGED)
    assert all(POLICY.action(category, 0) is Action.ALLOW for category in Category)


def test_judge_puts_the_worst_first() -> None:
    signals = [
        Signal(Category.VIOLENCE, 2, "c/1", "b"),
        Signal(Category.HATE, 6, "c/1", "a"),
        Signal(Category.HATE, 1, "c/1", "z"),
        Signal(Category.SEXUAL, 5, "c/1", "a"),
    ]
    findings = policy().judge(signals)
    assert [(finding.signal.severity, finding.action) for finding in findings] == [
        (6, Action.BLOCK),
        (5, Action.BLOCK),
        (2, Action.FLAG),
        (1, Action.ALLOW),
    ]
    assert strongest(findings) is Action.BLOCK
    assert strongest([]) is Action.ALLOW


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hate": {"flag": 2}}, "thresholds.hate: no severity blocks"),
        ({"hate": {"block": 8}}, "thresholds.hate.block: must be a whole number from 1 to 7"),
        ({"hate": {"block": 0}}, "thresholds.hate.block: must be a whole number from 1 to 7"),
        ({"hate": {"block": "4"}}, "thresholds.hate.block: must be a whole number from 1 to 7"),
        ({"hate": {"flag": 5, "block": 4}}, "thresholds.hate: a stronger action must not start at a lower"),
        ({"hate": {"ignore": 1, "block": 4}}, "thresholds.hate: unknown actions"),
        ({"rudeness": LADDER}, "thresholds: unknown categories"),
    ],
)
def test_parse_names_what_is_wrong(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        policy(**changes)


def test_parse_refuses_a_policy_that_forgets_a_category() -> None:
    data = read("policy.yaml")
    del data["thresholds"]["minors"]
    with pytest.raises(ValueError, match="no entry for"):
        Policy.parse(data)


def test_personal_data_alone_can_be_redacted() -> None:
    with pytest.raises(ValueError, match=r"thresholds\.hate\.redact: only personal_data can be redacted"):
        policy(hate={"redact": 3, "block": 5})


def test_personal_data_needs_nothing_that_blocks_and_may_be_left_alone() -> None:
    assert policy(personal_data={"redact": 1}).action(Category.PERSONAL_DATA, 7) is Action.REDACT
    for nothing in (POLICY, policy(personal_data={})):
        assert not nothing.reads_personal_data
        assert nothing.action(Category.PERSONAL_DATA, 7) is Action.ALLOW


def test_a_scale_that_never_blocks_is_refused(tmp_path: Any) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(str(read("policy.yaml") | {"nsfw_severities": [{"probability": 0.9, "severity": 3}]}))
    with pytest.raises(ValueError, match="no probability reaches"):
        load_policy(path)
