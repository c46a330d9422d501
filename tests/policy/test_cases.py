from __future__ import annotations

from pathlib import Path

import pytest

from moderator.errors import PolicyError
from moderator.policy import find_policy, load_cases, load_policy, run_cases
from moderator.types import Action
from tests.policy.samples import LABELS, SIGNALS, document, load, rule_lines

POLICY = load(document(rule_lines("hate >= 0.5", "lexicon_hate >= 0.5", 'has(item.s) && item.s == "kids"')))


def run(text: str) -> list[str]:
    cases = load_cases(text.encode(), POLICY, LABELS, SIGNALS, "c.yaml")
    return [result.problem for result in run_cases(POLICY, cases, SIGNALS)]


def problems(text: str) -> list[str]:
    with pytest.raises(PolicyError) as caught:
        load_cases(text.encode(), POLICY, LABELS, SIGNALS, "c.yaml")
    return list(caught.value.problems)


def test_cases_that_hold() -> None:
    text = """
- {name: nothing, expect: allow, matches: []}
- {name: hate, scores: {hate: 0.5}, expect: block, matches: [r0]}
- {name: signal and context, signals: {lexicon_hate: 1}, context: {s: kids}, expect: block, matches: [r2, r1]}
- {name: degraded, degraded: [late], expect: review}
- {name: not judged, judged: false, expect: review}
- {name: nan, scores: {spam: .nan}, expect: review}
"""
    assert run(text) == [""] * 6


def test_cases_that_fail_say_what_happened() -> None:
    text = """
- {name: a, scores: {hate: 0.5}, expect: review}
- {name: b, scores: {hate: 0.5}, expect: block, matches: [r1]}
- {name: c, scores: {hate: .nan}, expect: allow}
"""
    assert run(text) == [
        "expected review, got block; rules that held: r0",
        "expected the rules r1; these held: r0",
        "expected allow, got review; rules that held: none;"
        " not fully judged: score 'hate' is nan, not a finite number",
    ]


def test_everything_wrong_with_a_file_of_cases() -> None:
    text = """- {name: a, expect: alow}
- {name: a, expect: allow, scores: {hte: 1, hate: high}, matches: [r9]}
- {expect: allow, judged: perhaps, context: 3, signals: [1]}
- {name: d, expect: allow, judged: false, scores: {hate: 1}, extra: 1}
"""
    assert problems(text) == [
        "c.yaml:1: expect: unknown action 'alow'; known are allow, review, block",
        "c.yaml:2: unknown name 'hte' in scores; known are " + ", ".join(sorted(LABELS)),
        "c.yaml:2: scores: hate must be a number",
        "c.yaml:2: matches: policy 'p' has no rule 'r9'",
        "c.yaml:2: case 'a' has the name of the case on line 1",
        "c.yaml:3: a case lacks 'name'",
        "c.yaml:3: judged must be true or false",
        "c.yaml:3: signals must be a table of names and numbers",
        "c.yaml:3: context must be a table",
        "c.yaml:4: unknown key 'extra' in a case; known are name, expect, scores, signals, context,"
        " degraded, judged, matches, queue",
        "c.yaml:4: a case with 'judged: false' cannot have scores",
    ]
    assert problems("") == ["c.yaml:1: the file is empty; it must be a list of cases"]
    assert problems("a: 1") == ["c.yaml:1: the file must be a list, not a table"]


def test_a_policy_is_found_by_name_or_file(tmp_path: Path) -> None:
    shipped = tmp_path / "p.yaml"
    shipped.write_text(document(rule_lines("hate > 0.5")))
    (tmp_path / "cases").mkdir()
    (tmp_path / "cases" / "p.yaml").write_text("- {name: a, expect: allow}\n")
    by_name = find_policy("p", {"p": shipped})
    by_file = find_policy(str(shipped), {})
    assert by_name == by_file
    assert by_name.cases == tmp_path / "cases" / "p.yaml"
    assert find_policy("q", {"q": tmp_path / "q.yaml"}).cases is None
    for wanted, problem in (
        (
            "defualt",
            "policy 'defualt': there is no policy of that name and no such file; did you mean 'default'?",
        ),
        ("zzz", "policy 'zzz': there is no policy of that name and no such file; known are default"),
        ("zzz.yaml", "zzz.yaml: there is no such file"),
        ("a\0b", "policy 'a\\x00b': there is no policy of that name and no such file; known are default"),
    ):
        with pytest.raises(PolicyError) as caught:
            find_policy(wanted, {"default": shipped})
        assert caught.value.problems == (problem,)


def test_a_loaded_case_has_every_label() -> None:
    (case,) = load_cases(
        b"- {name: a, expect: allow, scores: {hate: 0.1}}", POLICY, LABELS, SIGNALS, "c.yaml"
    )
    assert case.expect is Action.ALLOW
    assert set(case.scores) == set(LABELS)
    assert load_policy(document(rule_lines("hate > 0.5")).encode(), LABELS, SIGNALS).name == "p"
