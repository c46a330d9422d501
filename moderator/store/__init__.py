"""The database: verdicts, review tasks, decisions and the log, on SQLite or PostgreSQL."""

from moderator.store.query import Filter
from moderator.store.queue import Queue
from moderator.store.session import Entry, Store

__all__ = ["Entry", "Filter", "Queue", "Store"]
