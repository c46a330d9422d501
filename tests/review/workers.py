"""What reviewers in other processes do: ``(url, number of the process, how many they claim at once)``."""

from __future__ import annotations

from moderator.review import ReviewDesk
from moderator.review.refusals import ExposureSpentError
from moderator.settings import Review
from moderator.store import Store
from moderator.types import Action


def work_the_queue(url: str, number: int, count: int) -> None:
    """Claim and decide until nothing is waiting; every third task is given back once, every fifth skipped."""
    name = f"reviewer-{number}"
    with Store.open(url) as store:
        desk = ReviewDesk(store)
        while claims := desk.claim(name, count):
            for claim in claims:
                if claim.token == 1 and claim.task_id % 15 == 0:
                    desk.release(claim.task_id, name, claim.token)
                    continue
                if claim.token == 1 and claim.task_id % 10 == 0:
                    desk.skip(claim.task_id, name, "for somebody else", token=claim.token)
                    continue
                done = desk.decide(
                    claim.task_id, Action.ALLOW, name, "fine", token=claim.token,
                    idempotency_key=f"{claim.task_id}.{claim.token}",
                )  # fmt: skip
                if claim.task_id % 50 == 0:  # as if the answer had been lost
                    again = desk.decide(
                        claim.task_id, Action.ALLOW, name, "fine", token=claim.token,
                        idempotency_key=f"{claim.task_id}.{claim.token}",
                    )  # fmt: skip
                    assert again == done


def claim_as_one(url: str, number: int, most: int) -> None:
    """Claim as ann, in batches, until only what would be too much is left."""
    with Store.open(url) as store:
        desk = ReviewDesk(store, terms=Review(graphic_per_shift=most))
        try:
            while desk.claim("ann", 2 + number % 3):
                pass
        except ExposureSpentError:
            return


def claim_golden(url: str, number: int, count: int) -> None:
    """Claim and decide with many golden tasks among the others, until nothing is waiting."""
    name = f"reviewer-{number % 3}"  # two processes each
    with Store.open(url) as store:
        desk = ReviewDesk(store, terms=Review(golden_share=0.4))
        while claims := desk.claim(name, count):
            for claim in claims:
                desk.decide(claim.task_id, Action.ALLOW, name, "fine", token=claim.token)
