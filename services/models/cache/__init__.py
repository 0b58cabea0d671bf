"""The model cache: which models are in memory, who uses them, and what has to go for another to fit.

`plan` and `ledger` decide and touch nothing; `cache` does what they say to a Triton; `memory` measures what came of it.
"""
