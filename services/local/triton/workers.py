"""Models that have lost a process that runs them.

Triton itself does not notice when one dies: it goes on calling the model ready and fails every request
to it. So the supervisor counts them.
"""

from collections import Counter

from services.runtime.workers import Workers


def models_short_of_workers(before: Workers, now: Workers) -> set[str]:
    """Models that have fewer workers than before."""
    have = Counter(now.values())
    return {model for model, count in Counter(before.values()).items() if have[model] < count}
