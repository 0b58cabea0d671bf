"""Notices that something has changed for good, where single surprises are to be expected. Pure."""

SLACK = 0.5  # what is forgiven each surprise, in deviations: half of the smallest shift that is to be found
ALARM = 8.0  # how much has to add up: four surprises far off
MOST = 3.0  # what one surprise counts at most


class Drift:
    """A one-sided cumulative sum of surprises (Page, Continuous inspection schemes, 1954)."""

    def __init__(self) -> None:
        self._sum = 0.0

    def add(self, surprise: float) -> bool:
        """Add a surprise, in deviations, and return whether they add up to a change."""
        self._sum = max(0.0, self._sum + min(MOST, surprise) - SLACK)
        return self._sum > ALARM

    @property
    def begun(self) -> bool:
        """Whether surprises are adding up."""
        return self._sum > 0.0
