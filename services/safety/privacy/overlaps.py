"""Which of several finds at one place counts."""

from collections.abc import Iterable

from services.safety.privacy.found import Found


def resolve(found: Iterable[Found]) -> list[Found]:
    """Return finds that share no character, in the order of the text.

    Of those that overlap the surer one stays, of equally sure ones the longer, then the earlier. What stays grows over
    the loser's characters, so that no part of what anybody found is left in the text.
    """
    kept: list[Found] = []
    for one in sorted(found, key=lambda each: (-each.score, -each.length, each.start)):
        # Growing over one neighbour may reach another: all of them become the surest one.
        touched = [other for other in kept if other.overlaps(one)]
        if not touched:
            kept.append(one)
            continue
        best = touched[0]  # the surest: `kept` is in falling order
        start = min(one.start, *(each.start for each in touched))
        end = max(one.end, *(each.end for each in touched))
        kept[kept.index(best)] = Found(best.kind, start, end, best.score, best.recogniser)
        for other in touched[1:]:
            kept.remove(other)
    return sorted(kept, key=lambda each: each.start)
