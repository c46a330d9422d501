"""Knowledge distillation: a larger classifier says what the data leaves open (Hinton et al. 2015).

Labels that a text's source knows are kept; those it does not know get the teacher's probability, which the
model learns like a vote of annotators.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from moderator.errors import TrainingError
from moderator.hushed import hushed
from moderator.train.examples import Example
from moderator.train.parallel import best_device
from moderator.weights import find_weights

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Teacher:
    """``model``: a local folder or a hub repository of a sequence classifier of transformers, with
    ``config.json``, ``tokenizer.json`` and ``model.safetensors``. ``labels``: its labels → ours; others are
    not asked for. ``sources``: those whose texts it sees; empty for all. ``pieces``: of a text, at most."""

    model: str = ""
    revision: str = "main"
    labels: Mapping[str, str] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    batch: int = 32
    pieces: int = 256


def taught(
    examples: Sequence[Example], teacher: Teacher, labels: Sequence[str], work: Path, report: Report
) -> list[Example]:
    """``examples`` with the teacher's answers where training rows say nothing of a label. What was asked
    once lies in ``work``. Raises ``TrainingError`` where teacher and ``labels`` do not fit."""
    if unknown := sorted(set(teacher.labels.values()) - set(labels)):
        raise TrainingError(f"teacher.labels: {', '.join(unknown)} is no label of ours; known are {labels}")
    if not teacher.labels:
        raise TrainingError("teacher.labels names no label to learn; give its label = our label")
    ours = list(dict.fromkeys(teacher.labels.values()))
    asked = [
        row
        for row, each in enumerate(examples)
        if each.split == "train"
        and (not teacher.sources or each.dataset in teacher.sources)
        and any(label not in each.labels for label in ours)
    ]
    texts = [str(examples[row].item.parts[0].value) for row in asked]
    answers = _answers(teacher, texts, ours, work, report)  # (asked, ours)
    result = list(examples)
    for row, answer in zip(asked, answers.tolist(), strict=True):
        said = dict(zip(ours, answer, strict=True))
        result[row] = replace(examples[row], labels={**said, **examples[row].labels})
    report(f"teacher: {len(asked)} texts have its answers for {', '.join(ours)}")
    return result


def _answers(
    teacher: Teacher, texts: Sequence[str], ours: Sequence[str], work: Path, report: Report
) -> NDArray[np.float32]:
    weights = [_file(teacher, name) for name in ("model.safetensors", "config.json", "tokenizer.json")]
    told = [each.sha256 for each in weights] + [
        json.dumps(sorted(teacher.labels.items())),
        str(teacher.pieces),
    ]
    digest = hashlib.sha256("\0".join([*told, *texts]).encode("utf-8", "backslashreplace")).hexdigest()
    path = work / f"teacher-{digest[:16]}.npy"
    if path.is_file():
        return np.asarray(np.load(path, allow_pickle=False), dtype=np.float32)
    answers = _asked(weights[0].path.parent, teacher, texts, ours, report)
    work.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.npy")
    np.save(partial, answers, allow_pickle=False)
    partial.replace(path)
    return answers


def _file(teacher: Teacher, name: str) -> Any:
    folder = Path(teacher.model)
    if folder.is_dir():
        return find_weights("teacher", name, explicit=folder)
    return find_weights("teacher", name, repo=teacher.model, revision=teacher.revision)


def _asked(
    folder: Path, teacher: Teacher, texts: Sequence[str], ours: Sequence[str], report: Report
) -> NDArray[np.float32]:
    from tokenizers import Tokenizer
    from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast

    with hushed():
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype=torch.float32
        ).eval()
    names = {str(name): int(at) for at, name in model.config.id2label.items()}
    if missing := sorted(set(teacher.labels) - set(names)):
        raise TrainingError(f"the teacher has no label {', '.join(missing)}; it has {', '.join(names)}")
    device = best_device()
    model.to(device)
    words = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token=words.id_to_token(model.config.pad_token_id or 0)
    )
    several = model.config.problem_type == "multi_label_classification" or len(names) == 1
    result = np.zeros((len(texts), len(ours)), dtype=np.float32)
    order = np.argsort([len(text) for text in texts], kind="stable")  # like lengths together
    for begin in range(0, len(order), teacher.batch):
        rows = order[begin : begin + teacher.batch]
        inputs = tokenizer(
            [texts[row] for row in rows],
            truncation=True,
            max_length=teacher.pieces,
            padding=True,
            return_tensors="pt",
            return_token_type_ids=False,
        ).to(device)
        with torch.inference_mode():
            logits = model(**inputs).logits.float()  # (B, its labels)
        chances = (logits.sigmoid() if several else logits.softmax(-1)).cpu().numpy()
        for theirs, label in teacher.labels.items():  # several of its labels may be one of ours
            column = ours.index(label)
            result[rows, column] = np.maximum(result[rows, column], chances[:, names[theirs]])
        if begin // teacher.batch % 100 == 99:
            report(f"teacher: {begin + len(rows)}/{len(texts)} texts")
    return result
