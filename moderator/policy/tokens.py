"""The words of a CEL condition: enough to find thresholds and bound names, no second parser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_TOKEN: Final = re.compile(
    r"""
      (?P<space>\s+|//[^\n]*)
    | (?P<string>[rRbB]{0,2}(?:\"{3}(?:.|\n)*?\"{3}|'{3}(?:.|\n)*?'{3}
        |"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'))
    | (?P<number>0[xX][0-9a-fA-F]+[uU]?|(?:\d+\.\d+|\.\d+|\d+)(?:[eE][+-]?\d+)?[uU]?)
    | (?P<name>[A-Za-z_]\w*)
    | (?P<operator>>=|<=|==|!=|&&|\|\||.)
    """,
    re.VERBOSE,
)
_MACROS: Final = frozenset({"all", "exists", "exists_one", "map", "filter"})
RELATIONS: Final = {">=": "<=", "<=": ">=", ">": "<", "<": ">", "==": "==", "!=": "!="}
"""Each comparison, and what it is called when its sides are swapped."""
_ARITHMETIC: Final = frozenset("+-*/%")


@dataclass(frozen=True, slots=True)
class Token:
    """One word: ``kind`` is ``string``, ``number``, ``name`` or ``operator``."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """A variable compared with a number, written so that the variable stands on the left."""

    name: str
    operator: str
    value: float
    text: str


def tokenise(condition: str) -> list[Token]:
    """The words of ``condition`` without space and comments."""
    return [
        Token(match.lastgroup or "", match.group())
        for match in _TOKEN.finditer(condition)
        if match.lastgroup != "space"
    ]


def bound_names(tokens: list[Token]) -> frozenset[str]:
    """The names that macros bind: ``t`` in ``item.tags.exists(t, t == "x")``."""
    return frozenset(
        tokens[i + 3].text
        for i in range(len(tokens) - 3)
        if tokens[i].text == "."
        and tokens[i + 1].text in _MACROS
        and tokens[i + 2].text == "("
        and tokens[i + 3].kind == "name"
    )


def patterns(tokens: list[Token]) -> list[str]:
    """The literals given to ``matches``, as they are written."""
    return [
        tokens[i + 2].text
        for i in range(len(tokens) - 2)
        if tokens[i].text == "matches" and tokens[i + 1].text == "(" and tokens[i + 2].kind == "string"
    ]


def comparisons(tokens: list[Token]) -> Iterator[Comparison]:
    """Every plain ``name >= number`` or ``number <= name``; those inside arithmetic are left out."""
    for at, token in enumerate(tokens):
        if token.text not in RELATIONS:
            continue
        left, left_end = _operand(tokens, at - 1, step=-1)
        right, right_end = _operand(tokens, at + 1, step=1)
        if left is None or right is None or left_end in _ARITHMETIC or right_end in _ARITHMETIC:
            continue
        if left_end == "." or right_end in {".", "(", "["}:  # a field or a call, not a variable
            continue
        if isinstance(left, str) and isinstance(right, float):
            yield Comparison(left, token.text, right, f"{left} {token.text} {right:g}")
        elif isinstance(left, float) and isinstance(right, str):
            yield Comparison(right, RELATIONS[token.text], left, f"{left:g} {token.text} {right}")


def _operand(tokens: list[Token], at: int, *, step: int) -> tuple[str | float | None, str]:
    """The name or number next to an operator, and the text of the word beyond it."""

    def word(index: int) -> Token | None:
        return tokens[index] if 0 <= index < len(tokens) else None

    token = word(at)
    if token is None:
        return None, ""
    sign = 1.0
    beyond = word(at + step)
    if token.text == "-" and step > 0 and beyond is not None and beyond.kind == "number":
        sign, token, beyond = -1.0, beyond, word(at + 2)
    elif token.kind == "number" and step < 0 and beyond is not None and beyond.text == "-":
        before = word(at - 2)
        if before is None or (before.kind == "operator" and before.text not in {")", "]"}):
            sign, beyond = -1.0, before
    text = beyond.text if beyond is not None else ""
    if token.kind == "name":
        return token.text, text
    if token.kind == "number":
        return sign * _number(token.text), text
    return None, text


def _number(text: str) -> float:
    text = text.rstrip("uU")
    return float(int(text, 16)) if text[:2].lower() == "0x" else float(text)
