"""Verdicts and batches for the tests of the store."""

from __future__ import annotations

from collections.abc import Iterable

from moderator.store import Entry, Store
from moderator.types import Action, Evidence, Item, RuleMatch, Verdict

LABELS = ("toxicity", "profanity", "harassment", "hate", "violence", "sexual", "self_harm", "illicit", "spam")


def make_verdict(item_id: str, action: Action = Action.ALLOW, score: float = 0.1) -> Verdict:
    """A verdict with something in every field."""
    return Verdict(
        item_id=item_id,
        action=action,
        scores={label: score / (1 + rank) for rank, label in enumerate(LABELS)},
        signals={"lexicon.slur": 0.25},
        matches=() if action is Action.ALLOW else (RuleMatch("hate-review", action, "Hateful content"),),
        degraded=(),
        evidence=(Evidence("lexicon", 0, (3.0, 7.0), "slur"),),
        coverage={"text[0]": 0.5},
        content_digests=("ab" * 32,),
        policy_digest="cd" * 32,
        model_digest="ef" * 32,
        embedders={"minilm": "1:aa", "lexical": "1:bb"},
        software="moderator 0.1.0",
    )


def make_batch(positions: Iterable[int], actions: tuple[Action, ...] = (Action.ALLOW,)) -> list[Entry]:
    """Entries for these positions, their actions in turn."""
    batch: list[Entry] = []
    for position in positions:
        name = f"post-{position}"
        verdict = make_verdict(name, actions[position % len(actions)], score=(position % 100) / 100)
        batch.append((position, Item.of(id=name, text=f"text {position}"), name, verdict, False))
    return batch


def start(store: Store, source: str = "inbox") -> int:
    """A scan to record into."""
    return store.start_scan(source, "cd" * 32, "ef" * 32, "moderator 0.1.0", {"batch_size": 512})
