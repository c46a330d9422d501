"""Where items come from and where verdicts go: files and directories, streamed."""

from moderator.sources.opening import Sources, open_sources
from moderator.sources.records import Record
from moderator.sources.skipped import Skipped
from moderator.sources.verdict_writer import VerdictWriter, verdict_line

__all__ = ["Record", "Skipped", "Sources", "VerdictWriter", "open_sources", "verdict_line"]
