"""Verdicts as JSON Lines, put in place of the target only when there is something to put there."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from moderator.errors import SourceError
from moderator.types import Verdict

_BUFFER = 1 << 20


def verdict_line(verdict: Verdict) -> str:
    """``verdict`` as one line of ASCII JSON without its end; scores and signals to six digits.

    A number that is not finite becomes ``null``: JSON has no other word for it.
    """
    return json.dumps(
        {
            "id": verdict.item_id,
            "action": verdict.action.value,
            "scores": _rounded(verdict.scores),
            "signals": _rounded(verdict.signals),
            "matches": [
                {"rule": match.rule, "action": match.action.value, "why": match.why}
                for match in verdict.matches
            ],
            "degraded": list(verdict.degraded),
            "evidence": [
                {
                    "source": found.source,
                    "part": found.part,
                    "span": [_number(value) for value in found.span],
                    "detail": found.detail,
                }
                for found in verdict.evidence
            ],
            "coverage": _rounded(verdict.coverage),
            "model_digest": verdict.model_digest,
            "policy_digest": verdict.policy_digest,
        },
        ensure_ascii=True,
        allow_nan=False,
    )


def _rounded(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: _number(value) for name, value in values.items()}


def _number(value: float) -> float | None:
    return round(float(value), 6) if math.isfinite(value) else None


class VerdictWriter:
    """Context manager writing one line per verdict to a file, or to standard output for ``-``.

    Lines go to ``FILE.partial``, which takes the place of ``FILE`` at the end. If the block is left by
    an exception or Ctrl-C, what was written still takes its place, as the work was done; with nothing
    written, an older ``FILE`` stays. A full disk or a killed process leaves ``FILE.partial`` beside it.
    Pipes and devices are written directly. Raises ``SourceError`` if the target cannot be written.
    """

    def __init__(self, target: str | Path) -> None:
        self._stdout = str(target) == "-"
        self._target = Path(target)
        self._partial: Path | None = None
        self._file: TextIO | None = None
        self.count = 0
        """Verdicts written so far."""

    def __enter__(self) -> Self:
        if self._stdout:
            self._file = sys.stdout
            return self
        try:
            # A link is kept and what it points to replaced.
            self._target = self._target.resolve()
            if self._target.is_dir():
                raise SourceError(f"{self._target}: is a directory; give a file to write to")
            if not self._target.exists() or self._target.is_file():
                self._partial = self._target.with_name(self._target.name + ".partial")
            place = self._partial or self._target
            self._file = place.open("w", encoding="ascii", newline="\n", buffering=_BUFFER)
        except OSError as error:
            raise self._refused(error) from error
        return self

    def write(self, verdict: Verdict) -> None:
        if self._file is None:
            raise RuntimeError("write() outside the with block")
        try:
            self._file.write(verdict_line(verdict) + "\n")
        except OSError as error:
            raise self._refused(error) from error
        self.count += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        file, self._file = self._file, None
        if file is None:
            return
        try:
            if self._stdout:
                file.flush()
                return
            try:
                file.flush()
                if self._partial is not None:
                    os.fsync(file.fileno())
            except OSError:
                with contextlib.suppress(OSError):
                    file.close()
                raise
            file.close()
            if self._partial is not None:
                if kind is not None and not self.count:
                    self._partial.unlink(missing_ok=True)
                else:
                    self._partial.replace(self._target)
        except OSError as failure:
            if kind is None:  # never hide what went wrong first
                raise self._refused(failure) from failure

    def _refused(self, error: OSError) -> SourceError:
        target: Any = "standard output" if self._stdout else self._target
        return SourceError(f"{target}: cannot be written: {error.strerror or error}")
