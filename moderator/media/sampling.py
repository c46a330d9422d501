"""Which of many to look at: an even choice over the whole length, first and last included."""

from __future__ import annotations


def spread(total: int, wanted: int) -> list[int]:
    """At most ``wanted`` distinct indices below ``total``, rising, from the first to the last."""
    if total <= wanted:
        return list(range(total))
    if wanted == 1:
        return [0]
    return [index * (total - 1) // (wanted - 1) for index in range(wanted)]
