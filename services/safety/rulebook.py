"""The rule set and the policy as they are shipped beside this module, or as an operator's files give them."""

from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from services.safety.likeness import Exemplars
from services.safety.normalisation import Disguises
from services.safety.nsfw import Scale
from services.safety.policy import Policy
from services.safety.policyfile import load_book
from services.safety.rules import RuleSet


def read(name: str, instead: Path | None = None) -> Any:
    """Read a data file of this package, or the operator's file `instead`."""
    text = instead.read_text("utf-8") if instead else files(__package__).joinpath(name).read_text("utf-8")
    return yaml.safe_load(text)


def load_rules(path: Path | None = None) -> RuleSet:
    """Load the rule set; raises ValueError naming the rule that is wrong."""
    return RuleSet.parse(read("rules.yaml", path), load_disguises(), read("languages.yaml"))


def load_exemplars() -> Exemplars:
    """Load the exemplars; raises ValueError naming what is wrong."""
    return Exemplars.parse(read("exemplars.yaml"))


def load_disguises() -> Disguises:
    """Load the tables of look-alikes."""
    return Disguises.parse(read("disguises.yaml"))


def load_policy(path: Path | None = None) -> tuple[Policy, Scale]:
    """Load the default policy and the scale of picture scores; raises ValueError naming the entry that is wrong."""
    book = load_book(path, load_disguises())
    return book.default.policy, book.scale
