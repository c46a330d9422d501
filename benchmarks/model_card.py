"""Measures the shipped model and writes its figures into the model card, between the card's two marks.

    .venv/bin/python benchmarks/model_card.py --data DATA --data data [--also FILE …] [--rows 2000]

``--also`` names files of sources that are never trained on (their licences allow measuring). What the card
says in words is written by people; a test holds the card's digests against the files.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import yaml
from left_out_sources import Line, baseline, compared, judged
from numpy.typing import NDArray

from moderator.pipeline.models import model_directory
from moderator.pipeline.moderator import Moderator
from moderator.taxonomy import DEFAULT
from moderator.train.config import TrainConfig, read_config
from moderator.train.evaluate import Figures, figures_of, scorer, scores_of
from moderator.train.examples import Example, at_most, read_text
from moderator.train.folders import DataFolders
from moderator.train.identity import false_alarms
from moderator.train.material import gather_texts
from moderator.train.media_manifest import read_manifest
from moderator.train.robustness import recall_under_evasions
from moderator.types import Modality
from moderator.weights import sha256_of

FOLDER = model_directory("default")
CARD = FOLDER / "MODEL_CARD.md"
RULES = Path(__file__).parents[1] / "rules"
BEGIN = "<!-- figures: written by benchmarks/model_card.py -->\n"
END = "<!-- end of figures -->\n"
_FEWEST = 15


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, action="append")
    parser.add_argument("--also", type=Path, action="append", default=[])
    parser.add_argument("--rows", type=int, default=2000, help="of one source at most")
    parser.add_argument("--twin", type=Path, help="figures of left_out_sources.py --twin --json")
    arguments = parser.parse_args()
    config = read_config(FOLDER / "train.toml")
    data = DataFolders(tuple(arguments.data))
    with Moderator.load() as moderator:
        sections = list(_sections(moderator, config, data, arguments.also, arguments.rows))
    if arguments.twin:
        twin = [Line(**line) for line in json.loads(arguments.twin.read_text(encoding="utf-8"))]
        sections.insert(2, _twin(twin))
    card = CARD.read_text(encoding="utf-8")
    before, _, rest = card.partition(BEGIN)
    after = rest.partition(END)[2]
    CARD.write_text(before + BEGIN + "\n" + "\n".join(sections) + "\n" + END + after, encoding="utf-8")
    print(f"{CARD} written")


def _sections(
    moderator: Moderator, config: TrainConfig, data: DataFolders, also: Sequence[Path], rows: int
) -> Iterator[str]:
    yield files_table()
    yield _left_out(moderator, config, data, also, rows)
    valid = [each for each in gather_texts(config, data, DEFAULT) if each.split == "valid"]
    valid = at_most(valid, 400)
    scores = _scored(moderator, valid)
    yield _own_sources(valid, scores)
    yield _alarms(valid, scores)
    yield _evaded(moderator, at_most(valid, 120))
    functional = read_text(
        [data.file(f"authored/functional/hate.{x}.jsonl") for x in ("en", "zh")], labels=DEFAULT.names
    )
    yield _functional(functional, _scored(moderator, functional))
    yield _pictures(moderator, data)


def files_table() -> str:
    rows = [
        (f"`{path.name}`", f"{path.stat().st_size / 1e6:.1f} MB", f"`{sha256_of(path)[:12]}`")
        for path in sorted(FOLDER.glob("*.safetensors"))
    ]
    return "## Files\n\n" + _table(("file", "size", "SHA-256 starts"), rows)


def _left_out(
    moderator: Moderator, config: TrainConfig, data: DataFolders, also: Sequence[Path], limit: int
) -> str:
    train, test = judged(config, data, also, limit)
    ours = _scored(moderator, test)
    lines = list(compared(test, ours, baseline(train, test, DEFAULT.names), DEFAULT.names))
    return (
        "## Sources it never saw\n\n"
        "Against TF-IDF character n-grams (2–5) with logistic regression, trained on the same "
        f"{len(train):,} rows. † only positives are labelled there; the negatives are rows of the other "
        "sources.\n\n" + _against(lines) + "\n" + _average(lines)
    )


def _twin(lines: Sequence[Line]) -> str:
    registers = [line for line in lines if line.source.startswith("authored_")]
    others = [line for line in lines if line not in registers]
    macro = float(np.mean([line.auprc for line in registers]))
    return (
        "## Whole sources left out\n\n"
        "The same recipe trained once more, for texts alone, without ten of its sources "
        "(`benchmarks/twin.py`): how it does on kinds of text it was never trained on, against n-grams "
        "trained on the same rows.\n\n"
        + _against(others)
        + "\n"
        + _average(others)
        + "\nTwo registers of the authored texts, chats and stories, were left out too. Their negatives are "
        "look-alikes written to be mistaken.\n\n"
        + _against(registers)
        + "\n"
        + _average(registers).rstrip("\n")
        + f" Macro AUPRC {macro:.3f}.\n"
    )


def _against(lines: Sequence[Line]) -> str:
    rows = [
        (
            line.label,
            line.source + (" †" if line.borrowed else ""),
            f"{line.rows:,}",
            f"{line.positives / line.rows:.1%}",
            *_pair(line.auroc, line.auroc_ngrams),
            *_pair(line.auprc, line.auprc_ngrams),
        )
        for line in sorted(lines, key=lambda line: (DEFAULT.names.index(line.label), line.source))
    ]
    return _table(("label", "source", "rows", "positive", "AUROC", "n-grams", "AUPRC", "n-grams"), rows)


def _average(lines: Sequence[Line]) -> str:
    auroc = [line.auroc - line.auroc_ngrams for line in lines]
    auprc = [line.auprc - line.auprc_ngrams for line in lines]
    return (
        f"On average over the {len(lines)} rows: AUROC {np.mean(auroc):+.3f}, AUPRC {np.mean(auprc):+.3f} "
        f"over the n-grams; behind them in AUROC on {sum(x < 0 for x in auroc)}, in AUPRC on "
        f"{sum(x < 0 for x in auprc)}.\n"
    )


def _own_sources(valid: Sequence[Example], scores: NDArray[np.float64]) -> str:
    made = [each for each in figures_of(valid, scores, DEFAULT.names) if each.positives >= _FEWEST]
    rows = [_figures_row(each) for each in made if each.positives < each.rows]
    return (
        "## Held-out rows of its own sources\n\n"
        "At most 400 rows a source; bounds hold 95 % (bootstrap). **These flatter:** a model knows its "
        "sources' habits, and these rows chose the round and fitted the calibration.\n\n"
        + _table(("source", "label", "rows", "positive", "AUROC", "AUPRC", "recall at 0.5", "ECE"), rows)
    )


def _alarms(valid: Sequence[Example], scores: NDArray[np.float64]) -> str:
    made = false_alarms(valid, scores, DEFAULT.names, threshold=0.5)
    rows = [(a.term, a.lang, f"{a.rows}", f"{a.rate:.0%}") for a in made]
    return (
        "## False alarms on harmless texts that name a group\n\n"
        "Share with hate, toxicity or harassment at 0.5 or more, on the same held-out rows.\n\n"
        + _table(("term", "language", "rows", "false alarms"), rows)
    )


def _evaded(moderator: Moderator, valid: Sequence[Example]) -> str:
    made = recall_under_evasions(
        lambda copies, _: _scored(moderator, copies),
        valid,
        _scored(moderator, valid),
        DEFAULT.names,
        threshold=0.5,
    )
    rows = [
        (e.evasion, e.label, e.lang, f"{e.rows}", f"{e.clean:.2f}", f"{e.evaded:.2f}", f"{e.lost:.0f}")
        for e in made
    ]
    return (
        "## Recall when people write so as not to be seen\n\n"
        "Harmful held-out texts at 0.5, as they are and with about half of their words changed.\n\n"
        + _table(("evasion", "label", "language", "rows", "as it is", "evaded", "points lost"), rows)
    )


def _functional(cases: Sequence[Example], scores: NDArray[np.float64]) -> str:
    column = DEFAULT.names.index("hate")
    asks = {name: asked_from(name) for name in ("default", "strict")}
    rows = []
    for lang in ("en", "zh"):
        at = [row for row, each in enumerate(cases) if each.lang == lang]
        truth = np.array([cases[row].labels["hate"] >= 0.5 for row in at])
        values = scores[at, column]
        (figures,) = figures_of([cases[row] for row in at], scores[at], DEFAULT.names)[:1]
        for threshold in sorted(asks.values()):
            said = values >= threshold
            recall, specific = float(said[truth].mean()), float((~said[~truth]).mean())
            rates = (f"{recall:.2f}", f"{specific:.2f}", f"{(recall + specific) / 2:.3f}")
            rows.append((lang, f"{len(at)}", f"{figures.auroc:.3f}", f"{threshold:g}", *rates))
    return (
        "## Functional cases of hate\n\n"
        "Our own, in the manner of HateCheck, never trained on (`data/authored/functional`). "
        f"{asks['default']:g} is where the default policy asks a person, {asks['strict']:g} where the strict "
        "one does.\n\n"
        + _table(
            ("language", "cases", "AUROC", "threshold", "hateful found", "harmless let be", "balanced"), rows
        )
    )


def asked_from(policy: str) -> float:
    """The score of hate from which a policy that ships asks a person."""
    rules = yaml.safe_load((RULES / f"{policy}.yaml").read_text(encoding="utf-8"))["rules"]
    (condition,) = [rule["when"] for rule in rules if rule["name"] == "hate-review"]
    found = re.match(r"hate >= ([0-9.]+)", condition)
    if found is None:
        raise SystemExit(f"rules/{policy}.yaml: hate-review does not begin with a threshold: {condition}")
    return float(found[1])


def _pictures(moderator: Moderator, data: DataFolders) -> str:
    examples = read_manifest(data.file("media_manifest.jsonl"), modality=Modality.IMAGE)
    valid = [
        each
        for each in examples
        if each.split == "valid" or each.dataset not in ("fight_surv", "clothing_cc0")
    ]
    made = figures_of(valid, _scored(moderator, valid), DEFAULT.names)
    rows = [
        _figures_row(each)
        for each in made
        if _FEWEST <= each.positives < each.rows and each.label in ("violence", "illicit")
    ]
    return (
        "## Pictures\n\n"
        "Held-out clip clusters and clothing, and pictures of sources it was not trained on.\n\n"
        + _table(("source", "label", "rows", "positive", "AUROC", "AUPRC", "recall at 0.5", "ECE"), rows)
    )


def _scored(moderator: Moderator, examples: Sequence[Example]) -> NDArray[np.float64]:
    return scores_of(scorer(moderator), examples, DEFAULT.names)


def _figures_row(each: Figures) -> tuple[str, ...]:
    return (
        each.source,
        each.label,
        f"{each.rows:,}",
        f"{each.positives:,}",
        f"{each.auroc:.3f} ({each.auroc_low:.2f}–{each.auroc_high:.2f})",
        f"{each.auprc:.3f} ({each.auprc_low:.2f}–{each.auprc_high:.2f})",
        f"{each.recall:.2f}",
        f"{each.ece:.3f}",
    )


def _pair(ours: float, theirs: float) -> tuple[str, str]:
    return (f"**{ours:.3f}**" if ours > theirs else f"{ours:.3f}", f"{theirs:.3f}")


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


if __name__ == "__main__":
    main()
