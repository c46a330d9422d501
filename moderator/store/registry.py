"""What verdicts were reached with, kept by digest: the text of policies, what models were made of.

A policy can be judged by again from what is kept here alone. A model is too large for that: what is kept says
which one it was, and it is found again by its digest.
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal

from sqlalchemy import Connection, func, insert, select

from moderator.errors import StoreError
from moderator.store.seal import Form, Seal
from moderator.store.tables import RegisteredRow

Kind = Literal["policy", "model"]
REGISTERED_FORM = Form(
    "moderator.registered.v1", "registered", ("id", "kind", "digest", "body", "created_at")
)
"""How rows of ``registered`` are sealed."""


def register(connection: Connection, kind: Kind, digest: str, body: bytes, at: int) -> dict[str, Any] | None:
    """Keep ``body`` under its digest, for the writer whose turn it is; its row, ``None`` if it is there."""
    if kind == "policy" and hashlib.sha256(body).hexdigest() != digest:
        raise StoreError(f"the policy to be kept as {digest[:12]} has another digest")
    there = select(RegisteredRow.id).where(RegisteredRow.kind == kind, RegisteredRow.digest == digest)
    if connection.execute(there).scalar() is not None:
        return None
    last = connection.execute(select(func.coalesce(func.max(RegisteredRow.id), 0))).scalar_one()
    row = REGISTERED_FORM.with_leaf(
        {"id": int(last) + 1, "kind": kind, "digest": digest, "body": body, "created_at": at}
    )
    connection.execute(insert(RegisteredRow), row)
    return row


def seals_over(rows: list[dict[str, Any]]) -> list[Seal]:
    """The seals over rows registered together."""
    return [Seal.over_rows(REGISTERED_FORM, rows)] if rows else []


def registered(connection: Connection, kind: Kind, digest: str) -> bytes | None:
    """What is kept under a digest. ``StoreError`` if it is not what the digest says."""
    query = select(RegisteredRow.body).where(RegisteredRow.kind == kind, RegisteredRow.digest == digest)
    body = connection.execute(query).scalar()
    if body is not None and kind == "policy" and hashlib.sha256(body).hexdigest() != digest:
        raise StoreError(f"the policy kept as {digest[:12]} was changed; `moderator audit verify` says more")
    return body
