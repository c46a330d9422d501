"""The words in sounds: read by Whisper, CTC models and PocketSphinx, to the end, the same each time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from moderator.errors import ModeratorError, PluginError, WeightsError
from moderator.host import PluginHost
from moderator.settings import Settings
from moderator.testing import check_plugin
from moderator.types import Content, Modality, Source
from moderator_speech import sphinx
from moderator_speech.extractor import SpokenWords
from moderator_speech.sound import at_rate, levelled, windows
from moderator_speech.transformer import Transformer
from tests.plugins.tiny_asr import spoken, tiny_ctc, tiny_whisper


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_whisper(tmp_path_factory.mktemp("whisper"))


@pytest.fixture(scope="module")
def ctc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_ctc(tmp_path_factory.mktemp("ctc"))


def loaded(options: dict[str, object] | None = None) -> SpokenWords:
    made = SpokenWords(options)
    made.load("cpu")
    return made


def words(reader: SpokenWords, *contents: Content) -> list[str]:
    return [" ".join(str(each.data) for each in made) for made in reader.extract_batch(contents)]


@pytest.mark.parametrize("kind", ["whisper", "ctc"])
def test_models_of_transformers_keep_the_contract(kind: str, request: pytest.FixtureRequest) -> None:
    model = str(request.getfixturevalue(kind))
    assert [result for result in check_plugin(SpokenWords({"model": model})) if not result.ok] == []
    reader = loaded({"model": model})
    buzz, tone, _, silence = reader.examples()
    (extract,) = reader.extract_batch([buzz])[0]
    assert (extract.modality, extract.source) == (Modality.TEXT, Source.TRANSCRIPT)
    first, second, none = words(reader, buzz, tone, silence)
    assert first and second and first != second  # random weights, yet it listens
    assert none == ""
    assert reader.clears
    assert [found.path.name for found in reader.weights()] == ["model.safetensors"]


def test_capitals_of_models_that_know_no_others_are_no_shouting(ctc: Path) -> None:
    (said,) = words(loaded({"model": str(ctc)}), SpokenWords.examples()[0])
    assert said == said.lower() and any(letter.isalpha() for letter in said)


def test_the_language_is_detected_or_given(whisper: Path) -> None:
    buzz = SpokenWords.examples()[0]
    free, english, german = (
        loaded({"model": str(whisper), **given}) for given in ({}, {"language": "en"}, {"language": "de"})
    )
    assert words(free, buzz)[0] in (words(english, buzz)[0], words(german, buzz)[0])
    assert words(english, buzz) != words(german, buzz)
    assert len({each.fingerprint for each in (free, english, german)}) == 3
    with pytest.raises(PluginError, match=r"does not know language 'fr'; it knows de, en"):
        loaded({"model": str(whisper), "language": "fr"})


def test_batches_of_a_gpu_are_filled_up(whisper: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Transformer("asr", {"model": str(whisper)}, "cpu")
    sounds = [np.asarray(each.data, np.float32)[:8_000] for each in SpokenWords.examples()[:3]]
    alone = reader.read(sounds)
    monkeypatch.setattr(reader, "_rows", 2)
    assert reader.read(sounds) == alone
    assert reader.read(sounds[:1]) == alone[:1]


def test_long_clips_are_read_to_the_end() -> None:
    rate = 1_000
    loud = np.random.default_rng(0).normal(0, 0.2, 70 * rate).astype(np.float32)
    pauses = (27_300, 54_700)
    for pause in pauses:
        loud[pause - 60 : pause + 60] = 0
    made = list(windows(loud, rate))
    assert np.array_equal(np.concatenate(made), loud)
    assert all(len(each) <= 30 * rate for each in made)
    edges = np.cumsum([len(each) for each in made])[:-1]
    assert np.abs(edges - pauses).max() < 60
    assert [len(each) for each in windows(loud[:rate], rate)] == [rate]


def test_each_window_of_a_long_clip_is_read(ctc: Path) -> None:
    buzz = np.asarray(SpokenWords.examples()[0].data)
    reader = loaded({"model": str(ctc)})
    once, often = words(
        reader,
        Content(Modality.AUDIO, buzz, rate=16_000),
        Content(Modality.AUDIO, np.tile(buzz, 20), rate=16_000),  # 40 s
    )
    assert len(often) > 10 * len(once)


def test_rates_are_changed_and_quiet_sounds_are_raised() -> None:
    tone = np.sin(np.arange(44_101) / 44_101 * 2 * np.pi * 100).astype(np.float32)
    made = at_rate(tone, 44_101, 16_000)
    assert made.dtype == np.float32 and abs(len(made) - 16_000) <= 1
    assert at_rate(tone[:0], 8_000, 16_000).size == 0
    raised = levelled(tone * np.float32(1e-4), 44_101)
    assert raised is not None and raised.max() == pytest.approx(0.9)
    assert levelled(tone * np.float32(1e-6), 44_101) is None
    assert levelled(tone[:100], 44_101) is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"speed": 2}, "unknown option speed; known are model, revision, language, clears"),
        ({"clears": "yes"}, "clears must be a bool"),
        ({"model": ""}, "model must be a str"),
        ({"language": "de"}, r"needs a model: \[plugins.asr\] model"),
    ],
)
def test_bad_options_are_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(PluginError, match=said):
        SpokenWords(options)


def rewrite(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_what_is_wrong_with_a_model_is_said(tmp_path: Path, ctc: Path) -> None:
    def refusal(folder: Path, kind: type[ModeratorError] = WeightsError, **options: object) -> str:
        with pytest.raises(kind) as caught:
            loaded({"model": str(folder), **options})
        return str(caught.value)

    (tmp_path / "empty").mkdir()
    assert "no weights at" in refusal(tmp_path / "empty")
    assert "language is for Whisper" in refusal(ctc, PluginError, language="en")

    folder = tiny_whisper(tmp_path / "whisper")
    settings = folder / "generation_config.json"
    rewrite(settings, is_multilingual=False)
    assert "reads English only" in refusal(folder, PluginError, language="de")
    settings.unlink()
    assert "lacks generation_config.json" in refusal(folder)
    (folder / "preprocessor_config.json").unlink()
    assert "lacks what the model needs beside its weights" in refusal(folder)
    rewrite(folder / "config.json", auto_map={"AutoModel": "own.Model"})
    assert "asks to run its own code" in refusal(folder)

    folder = tiny_ctc(tmp_path / "ctc")
    rewrite(folder / "config.json", model_type="bert", auto_map=None)
    assert "is a 'bert' model; whisper and models with a CTC head" in refusal(folder, PluginError)
    from safetensors.torch import load_file, save_file

    folder = tiny_ctc(tmp_path / "headless")
    weights = folder / "model.safetensors"
    save_file(
        {key: value for key, value in load_file(weights).items() if "lm_head" not in key},
        weights,
        metadata={"format": "pt"},
    )
    assert "lacks 2 weights, 'lm_head.bias' first; was it trained to recognise speech?" in refusal(folder)


def test_the_fingerprint_depends_on_all_files_and_options(tmp_path: Path) -> None:
    folder = tiny_ctc(tmp_path / "ctc")
    with pytest.raises(PluginError, match="load"):
        _ = SpokenWords({"model": str(folder)}).fingerprint
    first = loaded({"model": str(folder)}).fingerprint
    assert loaded({"model": str(folder)}).fingerprint == first
    assert loaded({"model": str(folder), "clears": False}).fingerprint != first
    rewrite(folder / "preprocessor_config.json", do_normalize=False)
    assert loaded({"model": str(folder)}).fingerprint != first


@pytest.mark.parametrize("options", [None, {"model": "folder"}])
def test_without_anything_to_read_with_there_is_no_extractor(
    options: dict[str, object] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sphinx, "find_spec", lambda name: None)
    tables = {"asr": options} if options else {}
    host = PluginHost.discover(Settings(allow_plugins=("speech",), plugins=tables))
    assert ("asr" in host.extractors) is (options is not None)
    assert host.failures == ()
    with pytest.raises(WeightsError, match="pip install pocketsphinx"):
        SpokenWords().load("cpu")


@pytest.mark.usefixtures("espeak")
def test_pocketsphinx_reads_plain_english() -> None:
    reader = loaded()
    assert not reader.clears
    assert {found.origin for found in reader.weights()} == {"package"}
    clips = [
        spoken("nobody likes you and your whole family is stupid"),
        spoken("every reporter who covered this story has kids and a mortgage"),
    ]
    first, second = words(reader, *clips)
    assert (
        len(set(first.split()) & {"nobody", "likes", "you", "your", "whole", "family", "is", "stupid"}) >= 4
    )
    assert len(set(second.split()) & {"every", "reporter", "story", "kids", "mortgage"}) >= 3
    # what was read before changes nothing
    assert words(reader, *clips[::-1]) == [second, first]
    quiet = [Content(Modality.AUDIO, np.asarray(clips[0].data) * np.float32(1e-3), rate=clips[0].rate)]
    assert set(words(reader, *quiet)[0].split()) & set(first.split())


def test_pocketsphinx_hears_no_words_in_a_tone() -> None:
    _, tone, _, silence = SpokenWords.examples()
    assert words(loaded(), tone, silence) == ["", ""]
