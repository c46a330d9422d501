from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from moderator.errors import PolicyError
from moderator.policy import Evaluator, load_policy
from moderator.policy.evaluate import Outcome
from moderator.types import Action, SignalSpec
from tests.policy.samples import LABELS, SIGNALS, document, load, rule_lines, scores


def problems(text: str) -> list[str]:
    with pytest.raises(PolicyError) as caught:
        load(text)
    assert str(caught.value).splitlines() == list(caught.value.problems)
    return list(caught.value.problems)


def condition_problem(condition: str) -> str:
    (problem,) = problems(document(rule_lines(condition)))
    assert problem.startswith("p.yaml:6: rule 'r0': ")
    return problem.removeprefix("p.yaml:6: rule 'r0': ")


def test_a_sound_policy_is_read_whole() -> None:
    text = document(
        "  - name: a\n    when: hate >= 0.5 || lexicon_hate > 0.2\n    then: block\n    why: Because\n"
        '  - name: b\n    when: has(item.surface) && item.surface == "kids"\n    then: review\n'
    )
    policy = load(text + "description: For tests\n")
    assert (policy.name, policy.version, policy.description) == ("p", 1, "For tests")
    assert (policy.otherwise, policy.on_degraded) == (Action.ALLOW, Action.REVIEW)
    assert [(rule.name, rule.then, rule.why, rule.line) for rule in policy.rules] == [
        ("a", Action.BLOCK, "Because", 6),
        ("b", Action.REVIEW, "", 10),
    ]
    assert policy.labels == {"hate"}
    assert policy.signals == {"lexicon_hate"}
    assert policy.variables == {"hate", "lexicon_hate", "item"}
    assert policy.digest == hashlib.sha256((text + "description: For tests\n").encode()).hexdigest()


def test_whether_blocked_items_get_a_task() -> None:
    text = document(rule_lines("hate >= 0.5"))
    assert load(text).review_blocks is False
    assert load(text + "review_blocks: true\n").review_blocks is True
    (problem,) = problems(text + "review_blocks: maybe\n")
    assert problem.endswith("review_blocks must be true or false, got 'maybe'")


@pytest.mark.parametrize(
    "condition",
    [
        "hate >= 0.5",
        "0.9 <= hate",
        "hate >= 1",
        "hate > spam",
        "hate + spam >= 1.5",
        "hate - 0.5 >= 0.2",
        "-1.0 * hate <= -0.5",
        "word_count >= 200",
        'item.tags.exists(t, t == "x")',
        "item.age < 13",
        'item["surface"] == "kids" && hate >= 0.2',
        '"hate >= 2" == item.text',
        "hate >= 0.5 // hate >= 7",
        "type(hate) == double && hate > 0.5",
        'item.text.matches("^a+$")',
        " && ".join(f"{label} >= 0.5" for label in LABELS),
        " || ".join(f"({label} >= 0.5 && {label} <= 0.9)" for label in LABELS),
    ],
)
def test_sound_conditions(condition: str) -> None:
    load(document(f"  - name: r0\n    then: block\n    when: |\n      {condition}\n"))


@pytest.mark.parametrize(
    ("condition", "problem"),
    [
        ("hte >= 0.5", "unknown label or signal 'hte'; did you mean 'hate'?"),
        (
            "zzz >= 0.5",
            "unknown label or signal 'zzz'; known are harassment, hate, illicit, item, lexicon_hate,"
            " profanity, self_harm, sexual, spam, toxicity, violence, word_count",
        ),
        ("size_of(item.x) > 1", "unknown function 'size_of'; did you mean 'size'?"),
        ("hate >= 1.5", "threshold out of range: 'hate >= 1.5' can never hold, hate lies in [0, 1]"),
        ("hate >= 0", "threshold out of range: 'hate >= 0' always holds, hate lies in [0, 1]"),
        ("hate > 1.0", "threshold out of range: 'hate > 1' can never hold, hate lies in [0, 1]"),
        ("hate >= -0.1", "threshold out of range: 'hate >= -0.1' always holds, hate lies in [0, 1]"),
        ("hate <= 1", "threshold out of range: 'hate <= 1' always holds, hate lies in [0, 1]"),
        ("hate < 0.0", "threshold out of range: 'hate < 0' can never hold, hate lies in [0, 1]"),
        ("1.1 <= hate", "threshold out of range: '1.1 <= hate' can never hold, hate lies in [0, 1]"),
        ("hate == 2", "threshold out of range: 'hate == 2' can never hold, hate lies in [0, 1]"),
        ("hate != 2", "threshold out of range: 'hate != 2' always holds, hate lies in [0, 1]"),
        (
            "item.kids || word_count > 1e4",
            "threshold out of range: 'word_count > 10000' can never hold, word_count lies in [0, 1000]",
        ),
        ("1 > 0", "condition is constant true: it must depend on a label, a signal or item"),
        ('"true" == "x"', "condition is constant false: it must depend on a label, a signal or item"),
        ("hate >= 0.5 || 1 > 0", "condition is constant true: it must depend on a label, a signal or item"),
        ("hate >= 0.5 && hate < 0.4", "condition is constant: can never hold, whatever hate"),
        (
            "hate >= 0.4 || hate < 0.5 || spam > 0.5",
            "condition is constant: always holds, whatever hate, spam",
        ),
        ("hate", "condition gives 0.0, it must be true or false (compare it with a threshold)"),
        (
            "2 * hate >= 1",
            "condition cannot be evaluated: its operands have types that cannot be compared or combined",
        ),
        ("hate >", "condition is not valid CEL: mismatched input 'end of the condition' at column 7"),
        (
            "hate >= 0.5 spam",
            "condition is not valid CEL: extraneous input 'spam' at column 13",
        ),
        ("has(hate)", "condition is not valid CEL: invalid argument to has() macro at column 5"),
        (
            "item.l.exists(hate, hate > 0.5)",
            "the name 'hate' bound in a macro hides the variable of that name; use another",
        ),
        ('item.t.matches("[")', 'matches("[") has a bad pattern: unclosed character class'),
        (
            "hate > 0.5 || " * 400 + "spam > 0.5",
            "condition has 5610 characters; at most 4000 are read: split it",
        ),
    ],
)
def test_broken_conditions(condition: str, problem: str) -> None:
    assert condition_problem(condition) == problem


def test_everything_wrong_is_said_at_once_with_its_line() -> None:
    text = (
        "name: p\nversion: one\notherwise: alow\non_degraded: allow\nowner: me\nrules:\n"
        "  - {name: a, when: true, then: block, wy: x}\n"
        "  - {name: a, when: hate > 0.5, then: maybe}\n"
        "  - 3\n"
        "  - {name: b, name: c}\n"
        "  - {name: 'no spaces', when: '', then: [block]}\n"
    )
    assert problems(text) == [
        "p.yaml:2: version must be a whole number from 1 up, got 'one'",
        "p.yaml:3: otherwise: unknown action 'alow'; did you mean 'allow'?",
        "p.yaml:4: on_degraded: allow would let through what nobody could judge; use review or block",
        "p.yaml:5: unknown key 'owner' in the policy; known are name, version, rules, otherwise,"
        " on_degraded, description, review_blocks, queues, priority",
        "p.yaml:7: unknown key 'wy' in a rule; did you mean 'why'?",
        "p.yaml:7: when must be text, not true or false (true); put it in quotes",
        "p.yaml:8: rule 'a' has the name of the rule on line 7",
        "p.yaml:8: then: unknown action 'maybe'; known are allow, review, block",
        "p.yaml:9: a rule must be a table with the keys name, when, then",
        "p.yaml:10: key 'name' is given twice in a rule",
        "p.yaml:10: a rule lacks 'when'",
        "p.yaml:10: a rule lacks 'then'",
        "p.yaml:11: the rule's name 'no spaces' may hold only letters, digits, '-', '_' and '.', at most 100",
        "p.yaml:11: when is empty",
        "p.yaml:11: then must be text, not a list; put it in quotes",
    ]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "p.yaml:1: the file is empty; a policy has the keys name, version and rules"),
        (
            b"- 1\n",
            "p.yaml:1: the policy must be a table with the keys name, version, rules, otherwise, on_degraded",
        ),
        (
            b"name: p\nrules: [\n",
            "p.yaml:3: not valid YAML: expected the node content, but found '<stream end>'",
        ),
        (b"name: p\n\xff\n", "p.yaml:2: the file is not UTF-8: byte 0xff"),
        (
            b"name: a\x00b",
            "p.yaml:1: not valid YAML: unacceptable character #x0000: special characters are not allowed",
        ),
        (b"[" * 5000, "p.yaml:1: not valid YAML: nested too deeply"),
        (b"#" * 1_000_001, "p.yaml:1: the file has 1000001 bytes; at most 1000000 are read"),
    ],
)
def test_files_that_are_no_policy(data: bytes, problem: str) -> None:
    with pytest.raises(PolicyError) as caught:
        load_policy(data, LABELS, SIGNALS, "p.yaml")
    assert caught.value.problems == (problem,)


def test_missing_keys_and_rules() -> None:
    assert problems("name: p\n") == [
        f"p.yaml:1: the policy lacks {key!r}" for key in ("version", "rules", "otherwise", "on_degraded")
    ]
    assert problems(document("  []\n")) == ["p.yaml:6: rules is empty; a policy has at least one rule"]


def test_yaml_tags_construct_nothing() -> None:
    said = problems(document("  - {name: a, when: !!python/object/apply:os.getcwd [], then: block}\n"))
    assert said == [
        "p.yaml:6: when must be text, not a value tagged tag:yaml.org,2002:python/object/apply:os.getcwd;"
        " put it in quotes"
    ]


def test_signals_that_clash() -> None:
    with pytest.raises(PolicyError) as caught:
        load_policy(
            document(rule_lines("hate > 0.5")).encode(),
            LABELS,
            [SignalSpec("hate"), SignalSpec("item"), SignalSpec("a-b")],
            "p.yaml",
        )
    assert caught.value.problems == (
        "p.yaml:1: 'hate' is both a label and a signal; rename the detector's signal",
        "p.yaml:1: a detector declares a signal 'item' that conditions cannot name",
        "p.yaml:1: a detector declares a signal 'a-b' that conditions cannot name",
    )


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"none\.yaml:1: cannot be read: No such file or directory"):
        load_policy(tmp_path / "none.yaml", LABELS, SIGNALS)


def test_names_that_may_be_signals_of_a_failed_plugin() -> None:
    text = document(rule_lines("hate > 0.9 || gone >= 5", "word_count > 2000 || lost == 1"))
    with pytest.raises(PolicyError) as caught:
        load(text)
    assert len(caught.value.problems) == 3
    with pytest.raises(PolicyError, match=r"p\.yaml:7: rule 'r1': threshold out of range"):
        load_policy(text.encode(), LABELS, SIGNALS, "p.yaml", failed=("broken",))
    text = text.replace("2000", "200")
    policy = load_policy(text.encode(), LABELS, SIGNALS, "p.yaml", failed=("broken",))
    assert policy.unheard == {"gone", "lost"}
    assert policy.signals == {"word_count"}
    reason = "nobody could look for the signals 'gone', 'lost' (plugins that failed: broken)"
    assert policy.degraded == (reason,)
    judged = Evaluator(policy, SIGNALS)
    assert judged.evaluate(scores(), {}, {}, ()) == Outcome(Action.REVIEW, (), (reason,))
    severe = judged.evaluate(scores(hate=0.95), {}, {}, ())
    assert (severe.action, severe.degraded) == (Action.BLOCK, (reason,))
    sound = load_policy(document(rule_lines("hate > 0.9")).encode(), LABELS, SIGNALS, failed=("broken",))
    assert sound.degraded == ()


def test_an_allow_list_is_named_where_a_name_is_unknown() -> None:
    with pytest.raises(PolicyError) as caught:
        load_policy(
            document(rule_lines("lexicon_hat > 0.9")).encode(), LABELS, SIGNALS, "p.yaml", blocked=("a", "b")
        )
    assert caught.value.problems == (
        "p.yaml:6: rule 'r0': unknown label or signal 'lexicon_hat'; did you mean 'lexicon_hate'?"
        " (or add its plugin to allow_plugins, which leaves out a, b)",
    )
