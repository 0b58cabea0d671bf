"""The performance database: every run of every backend, how its result was judged, and what replicas tell each other.

`rows` are its tables, `statements` what is asked of them, `results` what experiments came to; `buffer` holds runs that
are not written yet and `window` knows which rows of others were seen; `store` puts these together, `keeping` keeps it
going.
"""

from router.performance.keeping import open_performance
from router.performance.store import Learner, Performance

__all__ = ["Learner", "Performance", "open_performance"]
