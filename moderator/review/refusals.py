"""Why an act is refused: an error for each reason. What was refused has written nothing."""

from __future__ import annotations

from moderator.errors import QueueError
from moderator.errors import RestrictedQueueError as RestrictedQueueError


class NoSuchTaskError(QueueError):
    """There is no task of this number."""


class WrongStateError(QueueError):
    """The act does not fit where the task is."""


class AlreadyDecidedError(WrongStateError):
    """The task has been decided, and a decision is not taken twice."""


class AlreadyClaimedError(QueueError):
    """Somebody holds the task under a lease that has not run out."""


class StaleClaimError(QueueError):
    """The claim the act comes with is not the task's present one."""


class LeaseExpiredError(QueueError):
    """The claim was not renewed in time."""


class WrongRoleError(QueueError):
    """The reviewer's role does not cover the act."""


class UnknownQueueError(QueueError):
    """The policy has no such queue."""


class SameReviewerError(QueueError):
    """The act is for somebody who has not decided on the task before."""


class MissingNameError(QueueError):
    """It is not said who acts."""


class MissingReasonError(QueueError):
    """It is not said why."""


class MissingRuleError(QueueError):
    """The policy rule a decision rests on is blank."""


class UnknownRuleError(QueueError):
    """The policy has no such rule."""


class UnknownLabelError(QueueError):
    """The taxonomy has no such label."""


class WrongActionError(QueueError):
    """A decision must settle the matter."""


class GoldenError(QueueError):
    """A task cannot become a golden one, or is none."""


class ExposureSpentError(QueueError):
    """The reviewer has seen as many graphic tasks as a shift may have."""


class HeldError(QueueError):
    """What shall be erased is under a legal hold."""


class AppealExpiredError(QueueError):
    """The time to appeal has passed."""


class KeyReusedError(QueueError):
    """An idempotency key came with two different requests."""


class TooLongError(QueueError):
    """A name or a text exceeds what is stored."""


class WrongLeaseError(QueueError):
    """A lease of no sensible length."""


class WrongCountError(QueueError):
    """No sensible number of tasks, or not the one typed to confirm a bulk act."""
