"""Checkpoints (C2SP tlog-checkpoint): the size and root of the log at one moment, to be kept elsewhere."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import Self

from moderator.audit.notes import unbase64
from moderator.errors import AuditError
from moderator.store.merkle import HASH_BYTES

_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log of this ``origin`` was when it had ``size`` entries."""

    origin: str
    size: int
    root: bytes

    @classmethod
    def parse(cls, text: str) -> Self:
        """A checkpoint from the text of a note. ``AuditError`` if it is none; lines after the third are
        extensions and passed over."""
        lines = text.split("\n")
        origin, size, root = (*lines, "", "", "")[:3]
        hash_ = unbase64(root)
        if not origin or not _SIZE.fullmatch(size) or len(hash_) != HASH_BYTES or lines[-1]:
            raise AuditError("not a checkpoint: it needs an origin, a number of entries and a root hash")
        return cls(origin, int(size), hash_)

    def __str__(self) -> str:
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode('ascii')}\n"
