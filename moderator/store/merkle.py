"""The Merkle tree of RFC 6962 (and 9162): roots, proofs and their verification, over SHA-256. Pure.

A leaf is the hash of an entry's bytes; all hashes are 32 bytes. A proof is a list of hashes of subtrees,
lowest first; *which* subtrees follows from the sizes alone, so prover and verifier share that plan
(``inclusion_spans``, ``consistency_spans``), and a proof of any other length is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from moderator.errors import AuditError

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256().digest()
"""The root of a tree without leaves."""

Span = tuple[int, int]
"""The leaves ``start`` (included) to ``end`` (not included) under one node."""


def leaf_hash(data: bytes) -> bytes:
    """The leaf of an entry: SHA-256 of 0x00 and its bytes."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """An inner node: SHA-256 of 0x01 and the hashes below it."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """A tree of which only the roots of its full subtrees are kept, one a set bit of its size.

    That is enough to append to it and to give its root, both in O(log n), without the leaves.
    """

    __slots__ = ("_roots", "size")

    def __init__(self, leaves: Iterable[bytes] = ()) -> None:
        self.size = 0
        self._roots: list[bytes] = []  # the largest subtree first
        for leaf in leaves:
            self.append(leaf)

    @classmethod
    def load(cls, size: int, data: bytes) -> Frontier:
        """The frontier that ``dump`` wrote for a tree of ``size`` leaves. ``AuditError`` if it is none."""
        if size < 0 or len(data) != size.bit_count() * HASH_BYTES:
            raise AuditError(f"{len(data)} bytes are no frontier of a tree of {size} leaves")
        frontier = cls()
        frontier.size = size
        frontier._roots = [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]
        return frontier

    def dump(self) -> bytes:
        """The kept hashes, the largest subtree first."""
        return b"".join(self._roots)

    def append(self, leaf: bytes) -> None:
        """Add one leaf."""
        size = self.size
        while size & 1:
            leaf = node_hash(self._roots.pop(), leaf)
            size >>= 1
        self._roots.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        """The root of the tree."""
        if not self._roots:
            return EMPTY_ROOT
        below, *above = reversed(self._roots)
        for left in above:
            below = node_hash(left, below)
        return below


def inclusion_spans(index: int, size: int) -> list[Span]:
    """The subtrees whose roots prove that a leaf is in a tree, lowest first (RFC 9162, 2.1.3.1).

    ``AuditError`` unless 0 ≤ index < size.
    """
    if not 0 <= index < size:
        raise AuditError(f"a tree of {size} leaves has no leaf {index}")
    start, end = 0, size
    spans: list[Span] = []
    while end - start > 1:
        middle = start + _left_size(end - start)
        if index < middle:
            spans.append((middle, end))
            end = middle
        else:
            spans.append((start, middle))
            start = middle
    return spans[::-1]


def consistency_spans(first: int, second: int) -> list[Span]:
    """The subtrees whose roots prove that a tree grew from a smaller one, lowest first (RFC 9162, 2.1.4.1).

    ``AuditError`` unless 0 < first ≤ second: everything grows from nothing, and nothing can show it.
    """
    if not 0 < first <= second:
        raise AuditError(f"there is no proof that a tree of {second} leaves grew from one of {first}")
    start, end = 0, second
    spans: list[Span] = []
    while first < end:
        middle = start + _left_size(end - start)
        if first <= middle:
            spans.append((middle, end))
            end = middle
        else:
            spans.append((start, middle))
            start = middle
    if start > 0:  # else it is the whole smaller tree, whose root the verifier has
        spans.append((start, end))
    return spans[::-1]


def subtree_roots(leaves: Iterable[bytes], spans: Sequence[Span]) -> list[bytes]:
    """The roots over ``spans`` (none overlapping), in their order; reads ``leaves`` once, holding none."""
    stream: Iterator[bytes] = iter(leaves)
    at = 0
    roots: dict[Span, bytes] = {}
    for start, end in sorted(spans):
        subtree = Frontier(islice(stream, start - at, end - at))
        if subtree.size != end - start:
            raise AuditError(f"there are no leaves {start} to {end - 1}")
        roots[start, end] = subtree.root()
        at = end
    return [roots[span] for span in spans]


def root_from_inclusion(index: int, size: int, leaf: bytes, path: Sequence[bytes]) -> bytes:
    """The root that a tree of ``size`` leaves has if ``path`` is right. ``AuditError`` if it cannot be."""
    spans = inclusion_spans(index, size)
    _must_fit(path, spans)
    _must_be_hashes(leaf)
    for (start, _), sibling in zip(spans, path, strict=True):
        leaf = node_hash(leaf, sibling) if start > index else node_hash(sibling, leaf)
    return leaf


def verify_inclusion(index: int, size: int, leaf: bytes, path: Sequence[bytes], root: bytes) -> None:
    """Check that ``leaf`` is number ``index`` of the tree with this root. ``AuditError`` if not."""
    if root_from_inclusion(index, size, leaf, path) != root:
        raise AuditError(f"the path does not lead from leaf {index} to the root of the {size} leaves")


def verify_consistency(
    first: int, second: int, first_root: bytes, second_root: bytes, path: Sequence[bytes]
) -> None:
    """Check that the tree of ``second`` leaves begins with that of ``first``. ``AuditError`` if not."""
    _must_be_hashes(first_root, second_root)
    if first == second == 0:
        _must_fit(path, ())
        if not first_root == second_root == EMPTY_ROOT:
            raise AuditError("a tree without leaves has another root")
        return
    spans = consistency_spans(first, second)
    _must_fit(path, spans)
    steps = list(zip(spans, path, strict=True))
    old = new = first_root
    if steps and steps[0][0][1] == first:  # the last full subtree of the smaller tree; else that tree is one
        old = new = steps.pop(0)[1]
    for (start, _), sibling in steps:
        if start < first:
            old = node_hash(sibling, old)
            new = node_hash(sibling, new)
        else:
            new = node_hash(new, sibling)
    if old != first_root:
        raise AuditError(f"the path does not lead to the root of the first {first} leaves")
    if new != second_root:
        raise AuditError(f"the path does not lead to the root of the {second} leaves")


def _left_size(size: int) -> int:
    """The largest power of two smaller than ``size`` (≥ 2)."""
    return 1 << ((size - 1).bit_length() - 1)


def _must_fit(path: Sequence[bytes], spans: Sequence[Span]) -> None:
    if len(path) != len(spans):
        raise AuditError(f"the proof has {len(path)} hashes, not {len(spans)}")
    _must_be_hashes(*path)


def _must_be_hashes(*hashes: bytes) -> None:
    for each in hashes:
        if len(each) != HASH_BYTES:
            raise AuditError(f"a hash has {HASH_BYTES} bytes, not {len(each)}")
