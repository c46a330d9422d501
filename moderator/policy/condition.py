"""Checking one CEL condition when a policy is loaded: names, functions, thresholds, sense."""

from __future__ import annotations

import difflib
import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import cel

from moderator.policy.schema import CONTEXT
from moderator.policy.tokens import RELATIONS, Comparison, Token, bound_names, comparisons, patterns, tokenise

Ranges = Mapping[str, tuple[float, float]]
"""Label or signal → its lowest and highest value."""

MAX_LENGTH: Final = 4000


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_FUNCTIONS: Final = _words(
    "size contains startsWith endsWith matches int uint double string bytes timestamp duration dyn type"
    " getFullYear getMonth getDate getDayOfMonth getDayOfWeek getDayOfYear getHours getMinutes"
    " getSeconds getMilliseconds"
)
_TYPES: Final = _words("bool int uint double string bytes list map null_type type")
_LOGIC: Final = _words("_&&_ _||_ !_ _>=_ _>_ _<=_ _<_ _==_ _!=_ _?_:_")
_MAX_SAMPLES: Final = 4096


@dataclass(frozen=True, slots=True)
class Condition:
    """What is known of a condition: the names it uses, and what is wrong with it."""

    names: frozenset[str]
    problems: tuple[str, ...]
    unheard: frozenset[str] = frozenset()


def check_condition(
    source: str,
    ranges: Ranges,
    *,
    incomplete: bool = False,
    hint: str = "",
    others: frozenset[str] = frozenset({CONTEXT}),
) -> Condition:
    """Check ``source`` against the labels and signals in ``ranges``; never raises.

    ``incomplete``: there may be signals beside them, so that an unknown name is no problem but ``unheard``.
    ``hint`` is added to the problem of an unknown name. ``others``: names whose values are not numbers.
    """
    if len(source) > MAX_LENGTH:
        return _broken(f"condition has {len(source)} characters; at most {MAX_LENGTH} are read: split it")
    try:
        program = cel.compile(source)
    except ValueError as error:
        return _broken(f"condition is not valid CEL: {_syntax(str(error))}")
    tokens = tokenise(source)
    bound = bound_names(tokens)
    known = {*ranges, *others}
    problems = [
        f"the name {name!r} bound in a macro hides the variable of that name; use another"
        for name in sorted(bound & known)
    ]
    used = frozenset(program.variables()) - bound - _TYPES
    unheard = used - known
    if not incomplete:
        problems += [
            f"unknown label or signal {name!r}{_hint(name, known)}{hint}" for name in sorted(unheard)
        ]
    named = {name for name in program.functions() if re.fullmatch(r"[A-Za-z]\w*", name)}
    problems += [f"unknown function {name!r}{_hint(name, _FUNCTIONS)}" for name in sorted(named - _FUNCTIONS)]
    problems += _bad_patterns(tokens)
    thresholds = [each for each in comparisons(tokens) if each.name in ranges]
    out_of_range = [said for each in thresholds if (said := _threshold(each, *ranges[each.name]))]
    problems += out_of_range
    if not problems and not unheard:
        problems += _sense(program, used, ranges, thresholds, others)
    return Condition(used & known, tuple(problems), unheard)


def _broken(problem: str) -> Condition:
    return Condition(frozenset(), (problem,))


def _syntax(message: str) -> str:
    """``1:8: mismatched input…`` from the parser's report, without its drawing of the line."""
    found = re.search(r"ERROR: <input>:(\d+):(\d+): (?:Syntax error: )?([^\n]*)", message)
    if not found:
        return message.splitlines()[0][:200]
    text = re.sub(r" expecting .*", "", found[3]).replace("<EOF>", "end of the condition")
    where = f"column {found[2]}" if found[1] == "1" else f"its line {found[1]}, column {found[2]}"
    return f"{text[:200]} at {where}"


def _hint(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, sorted(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(sorted(known))}"


def _bad_patterns(tokens: list[Token]) -> list[str]:
    problems = []
    for literal in patterns(tokens):
        try:
            cel.compile(f"''.matches({literal})").execute({})
        except (RuntimeError, ValueError, TypeError) as error:
            reason = [line for line in str(error).splitlines() if line.startswith("error:")]
            said = " ".join(reason).removeprefix("error: ").split(". Check ")[0] or str(error)[:100]
            problems.append(f"matches({literal}) has a bad pattern: {said}")
    return problems


def _threshold(found: Comparison, low: float, high: float) -> str:
    """What is wrong with a threshold, or an empty string."""
    value, always, never = found.value, False, False
    match found.operator:
        case ">=":
            always, never = value <= low, value > high
        case ">":
            always, never = value < low, value >= high
        case "<=":
            always, never = value >= high, value < low
        case "<":
            always, never = value > high, value <= low
        case "==":
            never = not low <= value <= high
        case "!=":
            always = not low <= value <= high
    if not (always or never):
        return ""
    outcome = "always holds" if always else "can never hold"
    return f"threshold out of range: {found.text!r} {outcome}, {found.name} lies in [{low:g}, {high:g}]"


def _sense(
    program: Any,
    used: frozenset[str],
    ranges: Ranges,
    thresholds: Sequence[Comparison],
    others: frozenset[str],
) -> list[str]:
    """Constant conditions, and those that fail or give no truth value whatever the scores."""
    constant = _run(program, {})
    if not used or isinstance(constant, bool):
        value = f" {str(constant).lower()}" if isinstance(constant, bool) else ""
        return [f"condition is constant{value}: it must depend on a label, a signal or {CONTEXT}"]
    if used & others:  # what the context holds is not known here
        return []
    samples, complete = _samples(used, ranges, thresholds)
    results = [_run(program, sample) for sample in samples]
    for result in results:
        if isinstance(result, Exception):
            return [f"condition cannot be evaluated: {first_sentence(result)}"]
        if not isinstance(result, bool):
            return [f"condition gives {result!r}, it must be true or false (compare it with a threshold)"]
    # Only where logic joins nothing but thresholds do the samples cover every case there is.
    plain = set(program.functions()) <= _LOGIC and _relations(program.source) == len(thresholds)
    if complete and plain and len(set(results)) == 1:
        outcome = "always holds" if results[0] else "can never hold"
        return [f"condition is constant: {outcome}, whatever {', '.join(sorted(used))}"]
    return []


def _relations(source: str) -> int:
    return sum(token.text in RELATIONS for token in tokenise(source))


def _samples(
    used: frozenset[str], ranges: Ranges, thresholds: Sequence[Comparison]
) -> tuple[list[dict[str, float]], bool]:
    """Scores at and between all thresholds, every combination; if too many, corners and ``False``."""
    names = sorted(used)
    values = []
    for name in names:
        low, high = ranges[name]
        marks = {each.value for each in thresholds if each.name == name and low <= each.value <= high}
        points = sorted({low, high, *marks})
        values.append(sorted({*points, *((a + b) / 2 for a, b in itertools.pairwise(points))}))
    complete = math.prod(len(each) for each in values) <= _MAX_SAMPLES
    if not complete:  # the ends of each variable, alone against all others at their ends
        ends = [{name: v[i] for name, v in zip(names, values, strict=True)} for i in (0, -1)]
        flipped = [
            end | {name: v[i]} for end in ends for name, v in zip(names, values, strict=True) for i in (0, -1)
        ]
        return ends + flipped, False
    return [dict(zip(names, point, strict=True)) for point in itertools.product(*values)], True


def _run(program: Any, variables: dict[str, Any]) -> Any:
    try:
        return program.execute(variables)
    except (TypeError, KeyError, ValueError, RuntimeError, ArithmeticError) as error:
        return error


def first_sentence(error: Exception) -> str:
    """An error of the CEL library, cut to what a person needs."""
    if isinstance(error, KeyError):
        return f"{CONTEXT} has no {error.args[0]!r} (guard it with has({CONTEXT}.…))"
    text = str(error)
    if "No such overload" in text:
        return "its operands have types that cannot be compared or combined"
    return re.split(r"\. |\n", text, maxsplit=1)[0][:200]
