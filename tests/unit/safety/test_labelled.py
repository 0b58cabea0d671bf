"""The labelled prompts that the documented table comes from: enough of each kind, and split for good."""

from collections import Counter
from pathlib import Path

import yaml

from bench.safety.disguises import DISGUISES
from bench.safety.labelled import PROMPTS as PROMPTS_FILE
from bench.safety.labelled import Half, load
from services.safety.category import JUDGED, Action
from services.safety.normalisation import Disguises
from services.safety.policy import strongest
from services.safety.rulebook import read
from tests.unit.safety.shipped import POLICY, RULES

ATTACKS = PROMPTS_FILE.with_name("attacks.yaml")
PROMPTS = load()


def test_there_are_enough_of_every_kind_and_each_once() -> None:
    labels = Counter(prompt.label for prompt in PROMPTS)
    assert len({prompt.text for prompt in PROMPTS}) == len(PROMPTS) >= 600
    assert all(labels[category] >= 40 for category in JUDGED)
    assert labels["hard"] >= 150
    assert len({prompt.language for prompt in PROMPTS}) == 13


def test_the_split_is_even_and_depends_on_the_text_alone() -> None:
    halves = Counter(prompt.half for prompt in PROMPTS)
    assert abs(halves[Half.TUNE] - halves[Half.REPORT]) < 0.1 * len(PROMPTS)
    assert {p.text: p.half for p in reversed(load())} == {p.text: p.half for p in PROMPTS}


def test_disguises_hide_what_they_are_given() -> None:
    text = "a smiling cat"
    worn = {name: disguise(text) for name, disguise in DISGUISES.items()}
    assert len(set(worn.values()) - {text}) == len(DISGUISES)
    undone = Disguises.parse(read("disguises.yaml")).plain
    assert all(undone(worn[name]) == text for name in ("homoglyphs", "zero width", "full width", "accents"))


def test_attacks_are_refused_and_their_look_alikes_are_not() -> None:
    sent = yaml.safe_load(ATTACKS.read_text("utf-8"))
    assert [len(prompts) for prompts in sent.values()] == [30, 30]
    for kind, prompts in sent.items():
        for prompt in prompts:
            refused = strongest(POLICY.judge(RULES.check(prompt))) is Action.BLOCK
            assert refused == (kind == "attacks"), prompt


def test_what_was_missed_in_other_languages_is_refused_now() -> None:
    known_false_alarms = {"la reine de cœur décapite une fleur dessin animé"}
    for prompt in load(Path(__file__).with_name("other_languages.yaml")):
        refused = strongest(POLICY.judge(RULES.check(prompt.text))) is Action.BLOCK
        assert refused == (prompt.unsafe or prompt.text in known_false_alarms), prompt
