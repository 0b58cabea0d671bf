"""The rule set and the policy as they are shipped beside this module, or as an operator's files give them."""

from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from services.safety.category import Action, Category
from services.safety.normalisation import Disguises
from services.safety.nsfw import Scale
from services.safety.policy import Policy
from services.safety.rules import RuleSet


def read(name: str, instead: Path | None = None) -> Any:
    """Read a data file of this package, or the operator's file `instead`."""
    text = instead.read_text("utf-8") if instead else files(__package__).joinpath(name).read_text("utf-8")
    return yaml.safe_load(text)


def load_rules(path: Path | None = None) -> RuleSet:
    """Load the rule set; raises ValueError naming the rule that is wrong."""
    disguises = Disguises.parse(read("disguises.yaml"))
    return RuleSet.parse(read("rules.yaml", path), disguises, read("languages.yaml"))


def load_policy(path: Path | None = None) -> tuple[Policy, Scale]:
    """Load the policy and the scale of picture scores; raises ValueError naming the entry that is wrong.

    Refuses a policy that redacts: nothing removes text before RedactPrompt is served, so a finding to be redacted would
    go on as it is.
    """
    data = read("policy.yaml", path)
    policy = Policy.parse(data)
    if policy.redacts:
        raise ValueError("thresholds: redact is not served in this version; use flag or block")
    scale = Scale.parse(data["nsfw_severities"])
    if policy.action(Category.SEXUAL, scale.worst) is not Action.BLOCK:
        raise ValueError(
            "nsfw_severities: no probability reaches the severity at which sexual content is blocked"
        )
    return policy, scale
