"""What is shipped, read once for all tests of this folder."""

from services.safety.rulebook import load_policy, load_rules

RULES = load_rules()
POLICY, SCALE = load_policy()
