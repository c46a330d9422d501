"""The tables. Keys are ours: dense integers given out in sequence by the one writer of a transaction.

Times are integers, microseconds since 1970 UTC, so that they are exact and alike on every database.
Documents are canonical JSON bytes; texts from outside are escaped (see ``canonical``).
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

SCHEMA_REVISION = "v0008"
"""The migration these tables are at; a test keeps it equal to the newest one."""

APPEND_ONLY = (
    "verdicts", "decisions", "audit_log", "review_events", "label_corrections", "golden_items",
    "golden_trials", "registered",
)  # fmt: skip
"""Tables whose rows are never edited or deleted: triggers refuse it."""

# SQLite makes only an INTEGER key the row's own number; anything else costs a second index
_Int = BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    """Names every constraint by rule, so that a later migration can drop it by name."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class ScanRow(Base):
    """One run over a source. ``state``: running, then finished, interrupted or failed."""

    __tablename__ = "scans"

    id: Mapped[int] = mapped_column(_Int, primary_key=True, autoincrement=False)
    source: Mapped[str] = mapped_column(String)
    state: Mapped[str] = mapped_column(String(16))
    started_at: Mapped[int] = mapped_column(_Int)
    finished_at: Mapped[int | None] = mapped_column(_Int)
    policy_digest: Mapped[str] = mapped_column(String)
    model_digest: Mapped[str] = mapped_column(String)
    software: Mapped[str] = mapped_column(String)
    options: Mapped[bytes] = mapped_column(LargeBinary)


class ItemRow(Base):
    """What was judged. ``context`` and ``parts`` are null for a record that could not be read."""

    __tablename__ = "items"

    id: Mapped[int] = mapped_column(_Int, primary_key=True, autoincrement=False)
    external_id: Mapped[str] = mapped_column(String)
    context: Mapped[bytes | None] = mapped_column(LargeBinary)
    parts: Mapped[bytes | None] = mapped_column(LargeBinary)


class VerdictRow(Base):
    """What the machine said, and all that is needed to say it again. Never edited. ``leaf``: the hash of
    the other columns, with which the row stands in the log (see ``seal``)."""

    __tablename__ = "verdicts"
    __table_args__ = (UniqueConstraint("scan_id", "position"),)

    id: Mapped[int] = mapped_column(_Int, primary_key=True, autoincrement=False)
    scan_id: Mapped[int] = mapped_column(_Int, ForeignKey("scans.id"))
    position: Mapped[int] = mapped_column(_Int)
    item_id: Mapped[int] = mapped_column(_Int, ForeignKey("items.id"))
    action: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[int] = mapped_column(_Int)
    policy_digest: Mapped[str] = mapped_column(String)
    model_digest: Mapped[str] = mapped_column(String)
    software: Mapped[str] = mapped_column(String)
    content_digests: Mapped[bytes] = mapped_column(LargeBinary)
    embedders: Mapped[bytes] = mapped_column(LargeBinary)
    scores: Mapped[bytes] = mapped_column(LargeBinary)
    signals: Mapped[bytes] = mapped_column(LargeBinary)
    matches: Mapped[bytes] = mapped_column(LargeBinary)
    degraded: Mapped[bytes] = mapped_column(LargeBinary)
    coverage: Mapped[bytes] = mapped_column(LargeBinary)
    evidence: Mapped[bytes] = mapped_column(LargeBinary)
    leaf: Mapped[bytes] = mapped_column(LargeBinary)


class TaskRow(Base):
    """A verdict a person shall look at. ``action`` is the verdict's, kept here to filter by. One task a
    verdict, and copies of it that ask a reviewer what is known already (see ``golden``).

    ``reviewer`` and ``lease_until`` are those of the present claim, ``claim_token`` counts all claims,
    ``decision_id`` is the decision in force; what they may become is the business of ``moderator.review``.

    ``queue``, ``due``, ``role`` and ``lease`` are the ``Route`` the task was given, its times in
    microseconds; ``due_at`` is when what is asked now shall be done, ``needs`` the role it takes to claim it
    now. ``priority`` is fixed when the task is opened (see ``placing``).
    """

    __tablename__ = "review_tasks"

    id: Mapped[int] = mapped_column(_Int, primary_key=True, autoincrement=False)
    verdict_id: Mapped[int] = mapped_column(_Int, ForeignKey("verdicts.id"), index=True)
    state: Mapped[str] = mapped_column(String(16))
    action: Mapped[str] = mapped_column(String(16))
    priority: Mapped[int] = mapped_column(_Int)
    opened_at: Mapped[int] = mapped_column(_Int)
    decided_at: Mapped[int | None] = mapped_column(_Int)
    stage: Mapped[str] = mapped_column(String(16), server_default="review")
    reviewer: Mapped[str | None] = mapped_column(String)
    claim_token: Mapped[int] = mapped_column(_Int, server_default="0")
    lease_until: Mapped[int | None] = mapped_column(_Int)
    decision_id: Mapped[int | None] = mapped_column(_Int)
    queue: Mapped[str] = mapped_column(String(100), server_default="default")
    due_at: Mapped[int] = mapped_column(_Int, server_default="0")
    due: Mapped[int] = mapped_column(_Int, server_default="604800000000")
    role: Mapped[str] = mapped_column(String(16), server_default="reviewer")
    needs: Mapped[str] = mapped_column(String(16), server_default="reviewer")
    lease: Mapped[int | None] = mapped_column(_Int)


UNFINISHED = "state NOT IN ('decided', 'closed')"
"""What the index of tasks to be worked covers; a query uses it only if it says the same, word for word."""
plain_state = TaskRow.state.concat("")
"""The state, to be compared beside ``UNFINISHED``: no index is on it, so that the one in the order of urgency
is used. SQLite would rather collect all that wait by the index on states, and sort them for every claim."""

Index("ix_review_tasks_priority", TaskRow.priority.desc(), TaskRow.id)
Index("ix_review_tasks_opened", TaskRow.opened_at, TaskRow.id)
Index("ix_review_tasks_urgency", TaskRow.state, TaskRow.priority.desc(), TaskRow.id)
Index(
    "ix_review_tasks_unfinished",
    TaskRow.priority.desc(),
    TaskRow.id,
    sqlite_where=text(UNFINISHED),
    postgresql_where=text(UNFINISHED),
)
Index(
    "ix_review_tasks_due",
    TaskRow.due_at,
    TaskRow.id,
    sqlite_where=text(UNFINISHED),
    postgresql_where=text(UNFINISHED),
)
Index(
    "ix_review_tasks_queue_urgency",
    TaskRow.queue,
    TaskRow.needs,
    TaskRow.priority.desc(),
    TaskRow.id,
    sqlite_where=text(UNFINISHED),
    postgresql_where=text(UNFINISHED),
)
Index(
    "ix_review_tasks_queue_due",
    TaskRow.queue,
    TaskRow.needs,
    TaskRow.due_at,
    TaskRow.id,
    sqlite_where=text(UNFINISHED),
    postgresql_where=text(UNFINISHED),
)


class FacetRow(Base):
    """A task under one of the things it is found by (``facets``). ``rank``: its priority, negated, so that
    the rows of a facet lie in the order tasks are worked in."""

    __tablename__ = "task_facets"
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012 - SQLAlchemy's way

    facet: Mapped[str] = mapped_column(String, primary_key=True)
    rank: Mapped[int] = mapped_column(_Int, primary_key=True, autoincrement=False)
    task_id: Mapped[int] = mapped_column(
        _Int, ForeignKey("review_tasks.id"), primary_key=True, autoincrement=False, index=True
    )


class ScoreRow(Base):
    """What a task's verdict gives a label, in millionths; low scores are left out (``facets``)."""

    __tablename__ = "task_scores"
    __table_args__ = (
        Index("ix_task_scores_task_id", "task_id", "label", "score"),
        {"sqlite_with_rowid": False},
    )

    label: Mapped[str] = mapped_column(String(64), primary_key=True)
    score: Mapped[int] = mapped_column(_Int, primary_key=True, autoincrement=False)
    task_id: Mapped[int] = mapped_column(
        _Int, ForeignKey("review_tasks.id"), primary_key=True, autoincrement=False
    )


class ReviewEventRow(Base):
    """One act on a task, and the state, stage, queue and due time after it. A new row each time, never
    edited.

    ``request``: the SHA-256 of what was asked for, so that an idempotency key can be told from another's.
    An appeal's author and words are not here but in ``appeals``, where they can be erased. ``queue`` and
    ``due_at`` are null in rows from before there were queues.
    """

    __tablename__ = "review_events"
    __table_args__ = (Index(None, "reviewer", "created_at"),)

    id: Mapped[int] = mapped_column(_Int, primary_key=True, autoincrement=False)
    task_id: Mapped[int] = mapped_column(_Int, ForeignKey("review_tasks.id"), index=True)
    act: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16))
    stage: Mapped[str] = mapped_column(String(16))
    reviewer: Mapped[str] = mapped_column(String)
    reason: Mapped[str] = mapped_column(String)
    claim_token: Mapped[int] = mapped_column(_Int)
    decision_id: Mapped[int | None] = mapped_column(_Int, ForeignKey("decisions.id"))
    appeal_id: Mapped[int | None] = mapped_column(_Int, ForeignKey("appeals.id"))
    request: Mapped[str | None] = mapped_column(String(64))
    idempotency_key: Mapped[str | None] = mapped_column(String(200), unique=True)
    created_at: Mapped[int] = mapped_column(_Int)
    leaf: Mapped[bytes] = mapped_column(LargeBinary)
    queue: Mapped[str | None] = mapped_column(String(100))
    due_at: Mapped[int | None] = mapped_column(_Int)


class LabelCorrectionRow(Base):
    """What a decision says of one label: whether it applies (1) or not (0). Never edited."""

    __tablename__ = "label_corrections"
    __table_args__ = (UniqueConstraint("decision_id", "label"),)

    id: Mapped[int] = mapped_column(_Int, primary_key=True, autoincrement=False)
    decision_id: Mapped[int] = mapped_column(_Int, ForeignKey("decisions.id"))
    label: Mapped[str] = mapped_column(String(64))
    applies: Mapped[int] = mapped_column(_Int)
    leaf: Mapped[bytes] = mapped_column(LargeBinary)


class AppealRow(Base):
    """An appeal against a decision. ``outcome``: upheld or reversed, by the decision ``answer_id``."""

    __tablename__ = "appeals"

    id: Mapped[int] = mapped_column(_Int, primary_key=True, autoincrement=False)
    task_id: Mapped[int] = mapped_column(_Int, ForeignKey("review_tasks.id"), index=True)
    decision_id: Mapped[int] = mapped_column(_Int, ForeignKey("decisions.id"))
    filed_by: Mapped[str] = mapped_column(String)
    statement: Mapped[str] = mapped_column(String)
    created_at: Mapped[int] = mapped_column(_Int)
    outcome: Mapped[str | None] = mapped_column(String(16))
    answer_id: Mapped[int | None] = mapped_column(_Int, ForeignKey("decisions.id"))
    answered_at: Mapped[int | None] = mapped_column(_Int)


class DecisionRow(Base):
    """What a person decided on a task. A new row each time, never edited."""

    __tablename__ = "decisions"

    id: Mapped[int] = mapped_column(_Int, primary_key=True, autoincrement=False)
    task_id: Mapped[int] = mapped_column(_Int, ForeignKey("review_tasks.id"), index=True)
    action: Mapped[str] = mapped_column(String(16))
    reviewer: Mapped[str] = mapped_column(String, index=True)
    reason: Mapped[str] = mapped_column(String)
    policy_rule: Mapped[str] = mapped_column(String)
    idempotency_key: Mapped[str | None] = mapped_column(String(200), unique=True)
    created_at: Mapped[int] = mapped_column(_Int)


class GoldenRow(Base):
    """The right answer to a task, as a lead gave it; the newest row of a task counts. Never edited.

    ``action``: null where the answer was withdrawn. ``labels``: label → whether it applies, as JSON.
    """

    __tablename__ = "golden_items"

    id: Mapped[int] = mapped_column(_Int, primary_key=True, autoincrement=False)
    task_id: Mapped[int] = mapped_column(_Int, ForeignKey("review_tasks.id"), index=True)
    action: Mapped[str | None] = mapped_column(String(16))
    labels: Mapped[bytes] = mapped_column(LargeBinary)
    reviewer: Mapped[str] = mapped_column(String)
    reason: Mapped[str] = mapped_column(String)
    created_at: Mapped[int] = mapped_column(_Int)
    leaf: Mapped[bytes] = mapped_column(LargeBinary)


class TrialRow(Base):
    """That the task ``task_id`` only asks what the golden item ``golden_id`` answers. Never edited."""

    __tablename__ = "golden_trials"

    id: Mapped[int] = mapped_column(_Int, primary_key=True, autoincrement=False)
    task_id: Mapped[int] = mapped_column(_Int, ForeignKey("review_tasks.id"), unique=True)
    golden_id: Mapped[int] = mapped_column(_Int, ForeignKey("golden_items.id"))
    created_at: Mapped[int] = mapped_column(_Int)
    leaf: Mapped[bytes] = mapped_column(LargeBinary)


class HoldRow(Base):
    """Posts that must be kept: an author's, or those of an id (``item``), until it is released."""

    __tablename__ = "legal_holds"

    id: Mapped[int] = mapped_column(_Int, primary_key=True, autoincrement=False)
    author: Mapped[str | None] = mapped_column(String)
    item: Mapped[str | None] = mapped_column(String)
    reason: Mapped[str] = mapped_column(String)
    placed_by: Mapped[str] = mapped_column(String)
    placed_at: Mapped[int] = mapped_column(_Int)
    released_at: Mapped[int | None] = mapped_column(_Int)


class RegisteredRow(Base):
    """A policy or a model that verdicts were reached with (``registry``). ``body``: a policy's exact bytes,
    or what a model was made of, as JSON. Never edited."""

    __tablename__ = "registered"
    __table_args__ = (UniqueConstraint("kind", "digest"),)

    id: Mapped[int] = mapped_column(_Int, primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(String(16))
    digest: Mapped[str] = mapped_column(String(64))
    body: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[int] = mapped_column(_Int)
    leaf: Mapped[bytes] = mapped_column(LargeBinary)


class AuditRow(Base):
    """One event: ``payload`` holds its exact bytes, ``leaf`` their hash; the others repeat what they say."""

    __tablename__ = "audit_log"

    seq: Mapped[int] = mapped_column(_Int, primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(String(32))
    created_at: Mapped[int] = mapped_column(_Int)
    payload: Mapped[bytes] = mapped_column(LargeBinary)
    leaf: Mapped[bytes] = mapped_column(LargeBinary)


class HeadRow(Base):
    """The tree over the log (see ``merkle``): one row, numbered 1, brought up to date with every event."""

    __tablename__ = "audit_head"

    id: Mapped[int] = mapped_column(_Int, primary_key=True, autoincrement=False)
    size: Mapped[int] = mapped_column(_Int)
    frontier: Mapped[bytes] = mapped_column(LargeBinary)
    root: Mapped[bytes] = mapped_column(LargeBinary)
