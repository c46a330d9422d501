"""What leads do with golden items: say the right answer to a task, withdraw it, list them."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, insert, select

from moderator.review import golden, records
from moderator.review.basis import check_labels
from moderator.review.golden import GoldenItem
from moderator.review.refusals import GoldenError, MissingReasonError, WrongActionError, WrongRoleError
from moderator.review.request import MAX_TEXT, check_length, check_name
from moderator.store import audit_log, clock
from moderator.store.canonical import canonical_json, escape_text
from moderator.store.decisions import decision_of
from moderator.store.engine import take_turn
from moderator.store.golden import GOLDEN_FORM
from moderator.store.seal import Seal
from moderator.store.session import Store, next_key
from moderator.store.tables import GoldenRow, TaskRow
from moderator.types import Action, Role


class GoldenDesk:
    """The golden items of a store. ``roles``: as for ``ReviewDesk``; only leads may know them."""

    def __init__(self, store: Store, *, roles: Mapping[str, Role] | None = None) -> None:
        self._store = store
        self._roles = roles

    def add(
        self,
        task_id: int,
        reviewer: str,
        reason: str,
        action: Action | None = None,
        labels: Mapping[str, bool] | None = None,
    ) -> GoldenItem:
        """Say what is right for a task that is decided or closed; the newest answer counts, also for copies
        answered before. Left out, action and labels are those of the decision in force."""
        if action is Action.REVIEW:
            raise WrongActionError(f"task {task_id}: a right answer is allow or block, not {action}")
        self._check(task_id, reviewer, reason)
        with self._store.acting() as connection:
            records.lock(connection, [task_id])
            take_turn(connection)
            row = connection.execute(
                select(TaskRow.state, TaskRow.decision_id).where(TaskRow.id == task_id)
            ).one()
            if golden.is_trial(connection, task_id):
                raise GoldenError(
                    f"task {task_id} is a copy of a golden one; name the one it was copied from"
                )
            if row.state not in golden.FINISHED:
                raise GoldenError(
                    f"task {task_id} is {row.state}; decide it, or close it if it is no real one, and then "
                    "make it golden"
                )
            if action is None:
                standing = decision_of(connection, row.decision_id)
                if standing is None:
                    raise GoldenError(
                        f"task {task_id} has no decision to take the right answer from; give --action"
                    )
                action, labels = standing.action, standing.labels if labels is None else labels
            check_labels(connection, task_id, labels or {})
            return _write(connection, task_id, action, labels or {}, reviewer, reason)

    def withdraw(self, task_id: int, reviewer: str, reason: str) -> GoldenItem:
        """Make a task golden no more; answers to its copies count for nothing."""
        self._check(task_id, reviewer, reason)
        with self._store.acting() as connection:
            records.lock(connection, [task_id])
            take_turn(connection)
            if all(each.task_id != task_id for each in golden.items(connection)):
                raise GoldenError(
                    f"task {task_id} is no golden one; `moderator queue golden list` shows those that are"
                )
            return _write(connection, task_id, None, {}, reviewer, reason)

    def items(self, reviewer: str) -> list[GoldenItem]:
        """The golden items there are, by the number of their task."""
        self._check_lead("golden items", reviewer)
        with self._store.reading() as connection:
            return golden.items(connection)

    def _check(self, task_id: int, reviewer: str, reason: str) -> None:
        about = f"task {task_id}"
        check_length(about, "reason", reason, MAX_TEXT)
        self._check_lead(about, reviewer)
        if not reason.strip():
            raise MissingReasonError(f"{about}: a golden item needs a reason; it is blank")

    def _check_lead(self, about: str, reviewer: str) -> None:
        check_name(about, "reviewer", reviewer)
        role = Role.LEAD if self._roles is None else self._roles.get(reviewer, Role.REVIEWER)
        if not role.covers(Role.LEAD):
            raise WrongRoleError(f"{about}: to know golden items takes the role lead; {reviewer} is {role}")


def _write(
    connection: Connection,
    task_id: int,
    action: Action | None,
    labels: Mapping[str, bool],
    reviewer: str,
    reason: str,
) -> GoldenItem:
    at = clock.database_now(connection)
    row = GOLDEN_FORM.with_leaf(
        {
            "id": next_key(connection, GoldenRow.id),
            "task_id": task_id,
            "action": None if action is None else action.value,
            "labels": canonical_json(dict(labels)),
            "reviewer": escape_text(reviewer),
            "reason": escape_text(reason),
            "created_at": at,
        }
    )
    connection.execute(insert(GoldenRow), row)
    said = {"golden": row["id"], "task": task_id}
    audit_log.append(connection, "golden", at, said, [Seal.over_rows(GOLDEN_FORM, [row])])
    return golden.item_of(row)
