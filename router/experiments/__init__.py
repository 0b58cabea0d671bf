"""Experiments: traffic split between models, to learn which one serves better.

`experiment` says what one is and `rules` what it must keep to, `assignment` who gets which arm, `sequential`,
`guardrails` and `outcome` when it ends; all of these are pure. `store` keeps experiments, `engine` splits requests and
decides, `shadow` runs copies that nobody sees, `rpcs` is the service. Experiments may be data too: `experiments.yaml`.
"""
