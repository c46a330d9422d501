"""The detector ``lexicon``: one signal per kind of list, scored by the severest entry found."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar, Final

from moderator.errors import PluginError
from moderator.media.text import normalise
from moderator.plugin import Detector
from moderator.types import Content, Evidence, Modality, Signal, SignalSpec
from moderator_lexicon.entries import WordList, digest, list_files, read_list
from moderator_lexicon.matcher import Found, Matcher

_VERSION: Final = 1
_MAX_EVIDENCE: Final = 20
_THRICE: Final = re.compile(r"([^\W\d_])\1\1", re.IGNORECASE)
_SIGNALS: Final = {
    "lexicon_profanity": "listed swear words",
    "lexicon_hate": "listed slurs and dehumanising phrases",
    "lexicon_violence": "listed threats",
    "lexicon_sexual": "listed sexual words and solicitation",
    "lexicon_self_harm": "listed phrases of suicide and self-injury",
    "lexicon_illicit": "listed offers of drugs, weapons, fraud",
    "lexicon_spam": "listed phrases of advertising and scams",
}


class LexiconDetector(Detector):
    """Finds listed words and phrases, whatever their case, punctuation or disguise.

    Options: ``lists`` (list files or folders of them, added to the shipped ones; their format is in
    ``moderator_lexicon.entries``), ``shipped`` (false leaves the shipped lists out), ``languages``
    (codes; default all), ``signals`` (names to report; default all).
    """

    name: ClassVar[str] = "lexicon"
    modality: ClassVar[Modality] = Modality.TEXT

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        super().__init__(options)
        known = ("lists", "shipped", "languages", "signals")
        for key in self.options:
            if key not in known:
                raise PluginError(f"lexicon: unknown option {key!r}; known are {', '.join(known)}")
        self._shipped = self.options.get("shipped", True)
        if not isinstance(self._shipped, bool):
            raise PluginError(f"lexicon: option shipped must be true or false, got {self._shipped!r}")
        self._languages = self._names("languages")
        own = [Path(path).expanduser() for path in self._names("lists") or ()]
        self._own = [read_list(file) for source in own for file in list_files(source)]
        self._specs = _specs(self._own)
        self._wanted = self._names("signals")
        for name in self._wanted or ():
            if name not in self._specs:
                raise PluginError(
                    f"lexicon: option signals names {name!r}; known are {', '.join(self._specs)}"
                )
        self._matcher: Matcher | None = None
        self._fingerprint = ""

    @property
    def signals(self) -> Sequence[SignalSpec]:
        """The seven signals of the shipped lists, and those the user's own lists name."""
        return tuple(self._specs.values())

    @property
    def fingerprint(self) -> str:
        if self._matcher is None:
            raise PluginError("lexicon: the fingerprint is known after load()")
        return self._fingerprint

    def load(self, device: str) -> None:
        """Read the lists and build the search; ``device`` does not matter."""
        shipped = [read_list(file) for file in list_files(files("moderator_lexicon.lists"))]
        available = [*(shipped if self._shipped else ()), *self._own]
        codes = {each.language for each in available}
        for code in self._languages or ():
            if code not in codes:
                raise PluginError(
                    f"lexicon: option languages names {code!r}; the lists have {', '.join(sorted(codes))}"
                )
        lists = [each for each in available if self._uses(each)]
        self._matcher = Matcher(lists, lambda text: normalise(text).text)
        self._fingerprint = f"{_VERSION}:{digest(lists)[:16]}"

    def detect_batch(self, contents: Sequence[Content]) -> list[list[Signal]]:
        """One signal for each kind of list something was found of."""
        if self._matcher is None:
            raise PluginError("lexicon: load() must be called before detect_batch()")
        return [self._detect(self._matcher, content) for content in contents]

    @classmethod
    def examples(cls) -> Sequence[Content]:
        """English and Chinese, with and without something to find."""
        texts = (
            "What a lovely morning in Scunthorpe.",
            "This is bullshit, total bullshit!",
            "今天天气很好，我们去公园吧。",
            "你这个傻逼，加微信领红包",
        )
        return [_as_content(text) for text in texts]

    def _names(self, key: str) -> tuple[str, ...] | None:
        value = self.options.get(key)
        if value is None:
            return None
        if isinstance(value, (str, Path)):
            value = [value]
        if not isinstance(value, (list, tuple)) or not all(isinstance(each, (str, Path)) for each in value):
            raise PluginError(f"lexicon: option {key} must be a list of texts, got {value!r}")
        return tuple(str(each) for each in value)

    def _uses(self, each: WordList) -> bool:
        return (self._languages is None or each.language in self._languages) and (
            self._wanted is None or each.signal in self._wanted
        )

    def _detect(self, matcher: Matcher, content: Content) -> list[Signal]:
        data = content.data
        if not isinstance(data, str):
            raise PluginError(f"lexicon: content of {content.modality} is no text")
        text = content.normalised or data
        by_signal: dict[str, list[Found]] = {}
        for found in matcher.find(text):
            if found.stretched and not _is_stretched(found, content, data):
                continue
            by_signal.setdefault(found.source.signal, []).append(found)
        return [
            Signal(
                name,
                max(found.entry.severity for found in matches),
                tuple(_evidence(found, content, len(data)) for found in _foremost(matches)),
            )
            for name, matches in sorted(by_signal.items())
        ]


def _specs(own: Sequence[WordList]) -> dict[str, SignalSpec]:
    descriptions = {each.signal: f"list {each.name}" for each in own} | _SIGNALS
    return {name: SignalSpec(name, description=text) for name, text in descriptions.items()}


def _foremost(matches: list[Found]) -> list[Found]:
    """The severest few, in order of the text: a text of nothing but listed words stays small."""
    severest = sorted(matches, key=lambda found: -found.entry.severity)[:_MAX_EVIDENCE]
    return sorted(severest, key=lambda found: found.start)


def _is_stretched(found: Found, content: Content, data: str) -> bool:
    """Whether a letter really stands three times in a row: normalising leaves two of them.

    "fuuuck" is a stretched word of a list, "assess" is not.
    """
    start, end = _span(found, content, len(data))
    return _THRICE.search(data, start, end + 1) is not None


def _span(found: Found, content: Content, length: int) -> tuple[int, int]:
    """A match in characters of the original."""
    start, end = found.start, found.end
    if not content.normalised:
        return start, end
    if content.offsets is not None and len(content.offsets) >= end:
        return int(content.offsets[start]), int(content.offsets[end - 1]) + 1
    if len(content.normalised) == length:
        return start, end
    return 0, length  # no way back to the original: all of it


def _evidence(found: Found, content: Content, length: int) -> Evidence:
    start, end = _span(found, content, length)
    mark = "*" if found.entry.prefix else ""
    detail = f"{found.entry.text}{mark} ({found.source.language})"
    return Evidence("lexicon", content.part, (float(start), float(end)), detail)


def _as_content(text: str) -> Content:
    normal = normalise(text)
    return Content(Modality.TEXT, text, normal.text, normal.offsets, span=(0.0, float(len(text))))
