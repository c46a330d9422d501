"""Speech synthesised from labelled text, mixed over recorded backgrounds: training data for audio.

The voice is that of eSpeak NG, the package ``espeak-ng`` of Debian. What is learnt from it is learnt from
synthetic speech, and must be reported as such.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from moderator.errors import TrainingError
from moderator.train.examples import Example
from moderator.train.media_manifest import read_manifest
from moderator.types import Modality

DATASET = "synthetic_speech"
RATE = 16_000
"""Hz of what is written."""

_VOICES = {"en": ("en-us", "en-gb", "en-gb-scotland"), "zh": ("cmn",)}
_VARIANTS = ("", "+m1", "+m3", "+m7", "+f1", "+f2", "+f4", "+f5")
_NOT_SAID = re.compile(r"https?://\S+|www\.\S+|[@#]\w+|&\w+;|<[^>]*>|[^\w\s'.,!?，。！？、]+")
_HEADER = 44  # bytes before the samples in what espeak-ng writes to a pipe


@dataclass(frozen=True, slots=True)
class Speech:
    """How to synthesise. ``seconds``: longer speech is left out, since cutting it could cut off what the
    label is about; ``max_words`` (or as many Chinese characters) spares synthesising in vain. ``snr``:
    decibels of speech over background, drawn between; ``bare``: the share without a background.
    """

    seconds: float = 8.0
    max_words: int = 24
    speed: tuple[int, int] = (140, 200)
    pitch: tuple[int, int] = (20, 80)
    snr: tuple[float, float] = (3.0, 25.0)
    bare: float = 0.1
    seed: int = 0
    processes: int = 2


@dataclass(frozen=True, slots=True)
class _Job:
    text: str
    lang: str
    backgrounds: tuple[Path, ...]
    file: Path
    config: Speech
    program: str


def synthesise(
    texts: Sequence[Example],
    backgrounds: Sequence[Example],
    out: Path,
    config: Speech,
    progress: Callable[[int, int], None] | None = None,
) -> list[Example]:
    """Speak each text into ``out/speech/<digest>.flac`` and list them in ``out/manifest.jsonl``.

    Language (``en`` or ``zh``), labels, weakness, licence and split are the text's; backgrounds come from
    the same side of the split. The same text and configuration always give the same file, and files that
    exist are not made again. Texts in other languages, without anything to say, or too long are left
    out. ``progress`` is told how many of how many are done. Raises ``TrainingError`` without espeak-ng.
    """
    program = shutil.which("espeak-ng")
    if program is None:
        raise TrainingError("espeak-ng is not installed; apt-get install espeak-ng (Debian, Ubuntu)")
    (out / "speech").mkdir(parents=True, exist_ok=True)
    sounds = {
        split: tuple(e.item.parts[0].value for e in backgrounds if e.split == split)
        for split in ("train", "valid")
    }
    jobs: dict[Path, tuple[_Job, Example]] = {}
    for example in texts:
        text = speakable(str(example.item.parts[0].value))
        if example.lang not in _VOICES or not text or _words(text) > config.max_words:
            continue
        behind = sounds[example.split]
        file = out / "speech" / f"{_digest(text, example.lang, behind, config)}.flac"
        jobs.setdefault(file, (_Job(text, example.lang, behind, file, config, program), example))
    for done, _ in enumerate(_run([job for job, _ in jobs.values()], config.processes), start=1):
        if progress is not None:
            progress(done, len(jobs))
    made = [(job, example) for job, example in jobs.values() if job.file.stat().st_size]
    if not made:
        raise TrainingError(f"none of {len(texts)} texts can be spoken within {config.seconds} s")
    manifest = out / "manifest.jsonl"
    lines = [json.dumps(_row(job, example, out), ensure_ascii=False) for job, example in made]
    manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return read_manifest(manifest, modality=Modality.AUDIO)


def speakable(text: str) -> str:
    """The text without links, handles, tags, entities and signs that a voice would spell out."""
    return " ".join(_NOT_SAID.sub(" ", text).split())


def mix(
    speech: NDArray[np.float32], background: NDArray[np.float32], snr: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """``speech`` over a random stretch of ``background`` (looped if shorter), ``snr`` decibels above it.

    All three are mono ``(samples,)`` at one rate. Silent backgrounds stay silent.
    """
    start = int(rng.integers(0, max(1, len(background))))
    behind = np.resize(np.roll(background, -start), len(speech))
    power = float(np.mean(behind**2))
    if power <= 1e-12:
        return speech
    gain = np.sqrt(float(np.mean(speech**2)) / (power * 10 ** (snr / 10)))
    return (speech + np.float32(gain) * behind).astype(np.float32)


def _run(jobs: Sequence[_Job], processes: int) -> Iterator[None]:
    waiting = [job for job in jobs if not job.file.exists()]
    yield from (None for _ in range(len(jobs) - len(waiting)))
    if processes <= 1:
        yield from map(_make, waiting)
        return
    # spawn: forking a process that has run torch may hang
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_make, waiting, chunksize=16)


def _make(job: _Job) -> None:
    """Write the file of one job; an empty file says that its speech is too long or silent."""
    digest = hashlib.sha256(job.file.name.encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    voices = _VOICES[job.lang]
    voice = voices[rng.integers(len(voices))] + _VARIANTS[rng.integers(len(_VARIANTS))]
    speech = _speak(job, voice, int(rng.integers(*job.config.speed)), int(rng.integers(*job.config.pitch)))
    if not 0.2 <= len(speech) / RATE <= job.config.seconds or not np.any(speech):
        job.file.touch()
        return
    pauses = (rng.uniform(0.0, 0.4, 2) * RATE).astype(int)
    mixed = np.pad(speech, (int(pauses[0]), int(pauses[1])))
    if job.backgrounds and rng.random() >= job.config.bare:
        background = _background(job.backgrounds[rng.integers(len(job.backgrounds))])
        mixed = mix(mixed, background, float(rng.uniform(*job.config.snr)), rng)
    mixed = mixed / max(1e-6, float(np.abs(mixed).max())) * np.float32(rng.uniform(0.2, 0.95))
    unfinished = job.file.with_suffix(".new")
    soundfile.write(unfinished, mixed, RATE, format="FLAC", subtype="PCM_16")
    unfinished.replace(job.file)


def _speak(job: _Job, voice: str, speed: int, pitch: int) -> NDArray[np.float32]:
    """What espeak-ng says, mono at ``RATE``."""
    command = [job.program, "-v", voice, "-s", str(speed), "-p", str(pitch), "-b", "1", "--stdin", "--stdout"]
    done = subprocess.run(command, input=job.text.encode(), capture_output=True, check=False)  # noqa: S603
    if done.returncode != 0 or len(done.stdout) < _HEADER:
        raise TrainingError(
            f"espeak-ng failed with voice {voice} ({done.returncode}): {done.stderr.decode(errors='replace')}"
        )
    rate = int.from_bytes(done.stdout[24:28], "little")
    whole = len(done.stdout) - (len(done.stdout) - _HEADER) % 2
    samples = np.frombuffer(done.stdout[_HEADER:whole], dtype="<i2").astype(np.float32) / 32768.0
    return _resampled(samples, rate)


@lru_cache(maxsize=512)
def _background(path: Path) -> NDArray[np.float32]:
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return _resampled(samples.mean(axis=1), rate)


def _resampled(samples: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    import torch
    from torchaudio.functional import resample

    torch.set_num_threads(1)  # one process a core already
    made: NDArray[np.float32] = resample(torch.from_numpy(samples.copy()), rate, RATE).numpy()
    return made


def _row(job: _Job, example: Example, out: Path) -> dict[str, object]:
    return {
        "path": job.file.relative_to(out).as_posix(),
        "labels": dict(example.labels),
        "dataset": DATASET,
        "source": example.dataset,
        "lic": example.licence,
        "weak": example.weak,
        "group": example.group or job.file.stem,
        "lang": example.lang,
        "split": example.split,
        "text": job.text,
    }


def _digest(text: str, lang: str, backgrounds: Sequence[Path], config: Speech) -> str:
    how = {**asdict(config), "processes": 0}
    named = [text, lang, [path.name for path in backgrounds], how]
    return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()[:24]


def _words(text: str) -> int:
    """Words, every Chinese character counting as one."""
    return len(re.findall(r"[\u3400-\u9fff]|[^\s\u3400-\u9fff]+", text))
