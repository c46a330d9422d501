"""What reviewers do: the states of a task, who may do what when, and each act in one transaction."""

from moderator.review.desk import Claim, ReviewDesk
from moderator.review.journal import Receipt
from moderator.review.machine import Act, ActKind, TaskState, transition

__all__ = ["Act", "ActKind", "Claim", "Receipt", "ReviewDesk", "TaskState", "transition"]
