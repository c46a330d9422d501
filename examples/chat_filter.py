"""A chat that shows what the policy allows and holds back the rest: one message a line on standard input.

    .venv/bin/python examples/chat_filter.py < messages.txt

Each message is judged as it comes, with where it was said as context for the policy.
"""

from __future__ import annotations

import sys

from moderator import Action, Moderator

NOTICE = {Action.REVIEW: "held for a moderator", Action.BLOCK: "not delivered"}


def main() -> None:
    with Moderator.load() as moderator:
        for number, line in enumerate(sys.stdin, start=1):
            message = line.rstrip("\n")
            verdict = moderator.check(id=str(number), text=message, context={"surface": "chat"})
            if verdict.action is Action.ALLOW:
                sys.stdout.write(f"{message}\n")
            else:
                # the author learns what happened, moderators learn why
                sys.stdout.write(f"[message {number} {NOTICE[verdict.action]}]\n")
                sys.stderr.write(f"{number}: {'; '.join(verdict.reasons)}\n")


if __name__ == "__main__":
    main()
