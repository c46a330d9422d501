"""Known pictures: what is found again, what is not, the lists, and that fast matching is exact."""

from __future__ import annotations

import builtins
import io
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from moderator.errors import PluginError
from moderator.pipeline.moderator import Moderator
from moderator.settings import Settings
from moderator.testing import check_plugin
from moderator.types import Action, Content, Item, Modality, Signal
from moderator_hashes.detector import HashDetector, pdq_hashes
from moderator_hashes.lists import read_list
from moderator_hashes.matching import MAX_DISTANCE, Matcher
from tests.media.files import encoded
from tests.pipeline.small_model import small_model

A, B, C = "0f" * 32, "3c" * 32, "A5" * 32


@cache
def scene(seed: int, width: int = 640, height: int = 480) -> Image.Image:
    """A picture with shapes of all sizes, the large ones strongest, as in photographs."""
    rng = np.random.default_rng(seed)
    pixels = np.zeros((height, width, 3), dtype=np.float32)
    for size in (4, 8, 16, 32, 64):
        noise = Image.fromarray(rng.integers(0, 256, (size * 3 // 4, size, 3)).astype(np.uint8))
        pixels += np.asarray(noise.resize((width, height), Image.Resampling.BICUBIC), np.float32) / size
    pixels -= pixels.min()
    return Image.fromarray((pixels * (255 / pixels.max())).astype(np.uint8))


def jpeg(picture: Image.Image, quality: int) -> Image.Image:
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=quality)
    return Image.open(io.BytesIO(data.getvalue())).convert("RGB")


def content(picture: Image.Image) -> Content:
    return Content(Modality.IMAGE, np.array(picture.convert("RGB")))


def hash_of(picture: Image.Image) -> str:
    pdqhash = pytest.importorskip("pdqhash")
    return bytes(pdq_hashes(pdqhash, np.array(picture))[0][0]).hex()


def loaded(**options: Any) -> HashDetector:
    detector = HashDetector(options)
    detector.load("cpu")
    return detector


def match(detector: HashDetector, picture: Image.Image) -> Signal | None:
    (signals,) = detector.detect_batch([content(picture)])
    return signals[0] if signals else None


@pytest.fixture
def known(tmp_path: Path) -> HashDetector:
    """One list of the scenes 0 to 4."""
    file = tmp_path / "scenes.txt"
    file.write_text("".join(f"{hash_of(scene(seed))}\n" for seed in range(5)), encoding="utf-8")
    return loaded(lists=[str(file)])


def test_the_contract_holds_with_and_without_lists(tmp_path: Path) -> None:
    pytest.importorskip("pdqhash")
    file = tmp_path / "known.txt"
    examples = [Image.fromarray(np.asarray(each.data, np.uint8)) for each in HashDetector.examples()]
    file.write_text(hash_of(examples[0]), encoding="utf-8")
    detector = HashDetector({"lists": [str(file)]})
    assert [result for result in check_plugin(detector) if not result.ok] == []
    assert [result for result in check_plugin(HashDetector()) if not result.ok] == []
    assert [len(signals) for signals in detector.detect_batch(detector.examples())] == [1, 0, 0]


def test_the_hash_is_that_of_other_tools() -> None:
    """Bits in the order the hexadecimal form has elsewhere: the high frequencies first."""
    pdqhash = pytest.importorskip("pdqhash")
    pixels = np.array(scene(3))
    bits, quality = pdqhash.compute(pixels)
    hashes, same = pdq_hashes(pdqhash, pixels)
    assert hashes.shape == (8, 32)
    assert quality == same
    assert hashes[0].tobytes().hex() == f"{int(''.join(map(str, bits)), 2):064x}"


EDITS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "scaled down": lambda picture: picture.resize((320, 240)),
    "scaled up": lambda picture: picture.resize((960, 720)),
    "squeezed": lambda picture: picture.resize((400, 480)),
    "recompressed": lambda picture: jpeg(picture, 20),
    "brighter": lambda picture: ImageEnhance.Brightness(picture).enhance(1.2),
    "more contrast": lambda picture: ImageEnhance.Contrast(picture).enhance(1.2),
    "grey": lambda picture: picture.convert("L").convert("RGB"),
    "mirrored": lambda picture: picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "upside down": lambda picture: picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    "turned": lambda picture: picture.transpose(Image.Transpose.ROTATE_90),
    "turned back": lambda picture: picture.transpose(Image.Transpose.ROTATE_270),
    "half a turn": lambda picture: picture.transpose(Image.Transpose.ROTATE_180),
    "transposed": lambda picture: picture.transpose(Image.Transpose.TRANSPOSE),
    "transversed": lambda picture: picture.transpose(Image.Transpose.TRANSVERSE),
    "all at once": lambda picture: jpeg(picture.transpose(Image.Transpose.TRANSVERSE).resize((300, 400)), 50),
}
TURNED = {
    "mirrored",
    "upside down",
    "turned",
    "turned back",
    "half a turn",
    "transposed",
    "transversed",
    "all at once",
}


@pytest.mark.parametrize("edit", EDITS)
def test_copies_are_found(known: HashDetector, edit: str) -> None:
    for seed in range(4):
        signal = match(known, EDITS[edit](scene(seed)))
        assert signal is not None
        assert signal.name == "hash_match"
        assert 1 - 31 / 64 <= signal.score <= 1
        (evidence,) = signal.evidence
        assert evidence.detail.startswith("scenes: ")
        assert evidence.detail.endswith("turned or mirrored") == (edit in TURNED)


@pytest.mark.parametrize("turn", Image.Transpose)
def test_small_pictures_are_found_exactly_however_they_are_turned(
    tmp_path: Path, turn: Image.Transpose
) -> None:
    small = scene(3, 200, 151)
    (tmp_path / "x.txt").write_text(hash_of(small), encoding="utf-8")
    signal = match(loaded(lists=[str(tmp_path / "x.txt")]), small.transpose(turn))
    assert signal is not None
    assert signal.score == 1


def test_the_score_of_the_same_picture_is_one_and_the_evidence_is_all_of_it(known: HashDetector) -> None:
    signal = match(known, scene(4))
    assert signal is not None
    assert signal.score == 1
    (evidence,) = signal.evidence
    assert (evidence.span, evidence.detail) == ((0, 0, 640, 480), "scenes: 0 of 256 bits differ")


def test_other_pictures_are_not_found(known: HashDetector) -> None:
    assert known.detect_batch([content(scene(seed)) for seed in range(10, 30)]) == [[]] * 20


def test_pictures_whose_hash_says_nothing_are_not_compared(tmp_path: Path) -> None:
    plain = Image.new("RGB", (64, 64), (90, 90, 90))
    (tmp_path / "plain.txt").write_text(hash_of(plain), encoding="utf-8")
    lists = [str(tmp_path / "plain.txt")]
    assert match(loaded(lists=lists), plain) is None
    signal = match(loaded(lists=lists, quality=0), plain)
    assert signal is not None
    assert signal.score == 1


def flipped(text: str, count: int) -> str:
    """The hash with its first ``count`` bits turned over."""
    return f"{int(text, 16) ^ (((1 << count) - 1) << (256 - count)):064x}"


@pytest.mark.parametrize(
    ("bits", "options", "score"),
    [
        (10, {}, 0.84375),
        (31, {}, 0.515625),
        (32, {}, None),
        (32, {"distance": 40}, 0.5),
        (1, {"distance": 0}, None),
    ],
)
def test_the_score_counts_differing_bits(
    tmp_path: Path, bits: int, options: dict[str, int], score: float | None
) -> None:
    file = tmp_path / "one.txt"
    file.write_text(flipped(hash_of(scene(1)), bits), encoding="utf-8")
    signal = match(loaded(lists=[str(file)], **options), scene(1))
    assert (signal.score if signal else None) == score


def test_evidence_names_the_nearest_entries_of_all_lists_and_what_they_say(tmp_path: Path) -> None:
    own = hash_of(scene(1))
    (tmp_path / "a.csv").write_text(
        f"collab,signal_type,signal_str,category,tags\nx,pdq,{flipped(own, 6)},POSITIVE_CLASS,one two\n"
    )
    rows = "".join(f"{flipped(own, bits)},HASH_PDQ,,\n" for bits in range(10, 20))
    (tmp_path / "b.csv").write_text(
        f'indicator,type,tags,description\n{own},HASH_PDQ,,"a bridge,\nat night"\n{rows}'
    )
    detector = loaded(lists={"shared": str(tmp_path / "a.csv"), "ours": str(tmp_path / "b.csv")})
    signal = match(detector, scene(1))
    assert signal is not None
    assert [each.detail for each in signal.evidence] == [
        "ours: 0 of 256 bits differ; type HASH_PDQ; a bridge, at night",
        "shared: 6 of 256 bits differ; type pdq; tags one two",
        "ours: 10 of 256 bits differ; type HASH_PDQ",
        "ours: 11 of 256 bits differ; type HASH_PDQ",
        "ours: 12 of 256 bits differ; type HASH_PDQ",
    ]
    assert str(tmp_path) not in repr(signal)


# --- matching


HASHES = st.integers(0, 2**256 - 1)
DIFFERENCES = st.sets(st.integers(0, 255), max_size=70).map(lambda bits: sum(1 << bit for bit in bits))


def packed(values: list[int]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    data = b"".join(value.to_bytes(32, "big") for value in values)
    return np.frombuffer(data, np.uint8).reshape(-1, 32)


@given(
    queries=st.lists(HASHES, min_size=1, max_size=8),
    differences=st.lists(st.tuples(st.integers(0, 7), DIFFERENCES), max_size=12),
    others=st.lists(HASHES, max_size=6),
    distance=st.integers(0, MAX_DISTANCE),
)
def test_matching_equals_counting_every_bit(
    queries: list[int], differences: list[tuple[int, int]], others: list[int], distance: int
) -> None:
    entries = others + [queries[index % len(queries)] ^ difference for index, difference in differences]
    expected = [
        (nearest, number)
        for number, entry in enumerate(entries)
        if (nearest := min((query ^ entry).bit_count() for query in queries)) <= distance
    ]
    found = Matcher(packed(entries)).within(packed(queries), distance)
    assert [(each.distance, each.entry) for each in found] == sorted(expected)
    for each in found:
        assert (queries[each.query] ^ entries[each.entry]).bit_count() == each.distance


def test_matching_looks_at_every_piece_of_a_long_list() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 256, (100_000, 32)).astype(np.uint8)
    places = [0, 16_383, 16_384, 50_000, 99_999]
    queries = hashes[places].copy()
    queries[:, 5] ^= 0b101
    found = Matcher(hashes).within(queries, 31)
    assert [(each.entry, each.distance, each.query) for each in found] == [
        (place, 2, number) for number, place in enumerate(places)
    ]
    with pytest.raises(ValueError, match="distance 64 is not within 0 to 63"):
        Matcher(hashes).within(queries, 64)


# --- lists


def entries(tmp_path: Path, text: str | bytes) -> list[tuple[str, str]]:
    file = tmp_path / "list.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    read = read_list("name", file)
    return [
        (value.tobytes().hex(), read.about[index])
        for value, index in zip(read.hashes, read.which.tolist(), strict=True)
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{A}\n{C}\n", [(A, ""), (C.lower(), "")]),
        (f"\ufeff# ours\r\n\r\n{A}\r\n  {B} \r\n", [(A, ""), (B, "")]),
        (f"{A},99,2021-05-07T18:07:52+0000,one two\n{B}\n", [(A, "tags one two"), (B, "")]),
        (f"hash\n#none\n{A}\n", [(A, "")]),
        (f"Indicator , TYPE\n{A},hash_pdq\n{B},HASH_MD5\nnot one,HASH_SHA1\n", [(A, "type hash_pdq")]),
        (
            f"collab,signal_type,signal_str,category,tags\n#1,pdq,{A},POSITIVE_CLASS,t\n#1,pdq,{B},NEGATIVE_CLASS,\n",
            [(A, "type pdq; tags t")],
        ),
        (f"id,status,indicator\n1,NON_MALICIOUS,{A}\n2,MALICIOUS,{B}\n", [(B, "")]),
        (
            f'description,indicator\n"two\nlines, ""quoted""",{A}\n,{B}\n',
            [(A, 'two lines, "quoted"'), (B, "")],
        ),
        (f"indicator,tags\n{A},\x1b[31mred\x00\n", [(A, "tags [31mred")]),
        (f"indicator,description\n{A},{'x' * 300}\n", [(A, "x" * 200)]),
    ],
)
def test_forms_of_lists(tmp_path: Path, text: str, expected: list[tuple[str, str]]) -> None:
    assert entries(tmp_path, text) == expected


BAD = "is not a hash of 64 hexadecimal digits"
NEITHER = (
    "1: 'md5' is neither a hash of 64 hexadecimal digits nor a header with indicator, signal_str or hash"
)


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        (f"{A}\n{A[:-1]}\n\n{B}\nxyz\n", [f"2: '{A[:-1]}' {BAD}", f"5: 'xyz' {BAD}"]),
        (f"{A}\n{A[:62]}  \n", [f"2: '{A[:62]}' {BAD}"]),
        ("", ["1: the list has no PDQ hash"]),
        ("indicator,type\nabc,HASH_MD5\n", ["1: the list has no PDQ hash"]),
        (
            "md5,tags\nabc,x\n",
            [NEITHER],
        ),
        (f'indicator,description\n{A},"a\nb"\n{B}\n', ["4: 1 columns where the header has 2"]),
        (
            f'indicator,description\n,"a\nb"\n{B},"c" d\n',
            [f"2: '' {BAD}", "4: broken CSV: ',' expected after '\"'"],
        ),
        (f'indicator,description\n{A},b\n{B},"c\n', ["3: broken CSV: unexpected end of data"]),
        (f"{A}\n{B}\n".encode() + b"\xff\n", ["3: not UTF-8; save the list as UTF-8"]),
    ],
)
def test_what_is_wrong_with_a_list_is_said_with_its_line(
    tmp_path: Path, text: str | bytes, problems: list[str]
) -> None:
    with pytest.raises(PluginError) as caught:
        entries(tmp_path, text)
    assert str(caught.value).splitlines() == [
        "hashes: list 'name':",
        *(f"list.csv:{problem}" for problem in problems),
    ]


def test_a_list_of_something_else_is_not_reported_line_by_line(tmp_path: Path) -> None:
    with pytest.raises(PluginError) as caught:
        entries(tmp_path, f"{A}\n" + "word\n" * 1000)
    assert len(str(caught.value).splitlines()) == 22


def test_a_missing_list_fails_when_it_is_loaded(tmp_path: Path) -> None:
    pytest.importorskip("pdqhash")
    detector = HashDetector({"lists": [str(tmp_path / "none.csv")]})
    with pytest.raises(PluginError, match=r"^hashes: list 'none': none\.csv cannot be read: No such file"):
        detector.load("cpu")
    with pytest.raises(PluginError, match=r"the fingerprint is known after load"):
        _ = detector.fingerprint
    with pytest.raises(PluginError, match=r"load\(\) comes before use"):
        detector.detect_batch([])


# --- options, and what happens without lists or without the package


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"list": []}, "hashes: unknown option 'list'; known are lists, distance, quality"),
        ({"lists": 3}, "hashes: option lists must be a list of files or a table of name = file, got 3"),
        ({"lists": [3]}, "hashes: option lists must name files, got 3"),
        ({"lists": {"a": ""}}, "hashes: option lists must name files, got ''"),
        (
            {"lists": ["a/x.csv", "b/x.txt"]},
            "hashes: two lists are called 'x'; give them names: lists = {name = file}",
        ),
        ({"distance": 64}, "hashes: option distance must be a whole number from 0 to 63, got 64"),
        ({"distance": True}, "hashes: option distance must be a whole number from 0 to 63, got True"),
        ({"quality": 0.5}, "hashes: option quality must be a whole number from 0 to 100, got 0.5"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PluginError) as caught:
        HashDetector(options)
    assert str(caught.value) == message


def test_the_fingerprint_follows_lists_and_options(tmp_path: Path) -> None:
    pytest.importorskip("pdqhash")
    one, two = tmp_path / "one.txt", tmp_path / "two.txt"
    one.write_text(f"{A}\n")
    two.write_text(f"{B}\n")
    base: dict[str, Any] = {"lists": {"x": str(one)}}
    made = [
        loaded(**options).fingerprint
        for options in (
            {},
            base,
            {"lists": {"y": str(one)}},
            {"lists": {"x": str(two)}},
            {**base, "distance": 30},
            {**base, "quality": 10},
        )
    ]
    assert len(set(made)) == len(made)
    assert loaded(**base).fingerprint == made[1]
    assert made[1].startswith("1:pdqhash ")


def test_without_lists_nothing_is_found_and_nothing_imported() -> None:
    code = (
        "import sys\n"
        "from moderator_hashes.detector import HashDetector\n"
        "detector = HashDetector()\n"
        "detector.load('cpu')\n"
        "assert detector.detect_batch(detector.examples()) == [[], [], []]\n"
        "assert detector.fingerprint == '1:no lists'\n"
        "assert 'pdqhash' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_with_lists_and_without_the_package_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest: Any, **more: Any) -> Any:
        if name == "pdqhash":
            raise ModuleNotFoundError("No module named 'pdqhash'")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(PluginError, match=r'pip install "moderator\[hashes\]"'):
        loaded(lists=[str(tmp_path / "x.txt")])


# --- whole


def verdicts(lists: dict[str, str], *pictures: Image.Image) -> list[Any]:
    settings = Settings(plugins={"hashes": {"lists": lists}})
    with Moderator.load(model=str(small_model()), settings=settings) as moderator:
        return moderator.judge([Item.of(image=encoded(each, "PNG")) for each in pictures])


def test_a_listed_picture_is_blocked_and_the_list_is_named(tmp_path: Path) -> None:
    file = tmp_path / "known.csv"
    file.write_text(f"indicator,type,tags\n{hash_of(scene(2))},HASH_PDQ,bridge\n")
    copy = jpeg(scene(2).transpose(Image.Transpose.ROTATE_180), 60)
    same, like, other = verdicts({"bridges": str(file)}, jpeg(scene(2), 60), copy, scene(11))
    assert same.action is Action.BLOCK
    assert [each.rule for each in same.matches] == ["hash-block", "hash-review"]
    (evidence,) = [each for each in same.evidence if each.source == "hashes"]
    assert evidence.detail.startswith("bridges: ")
    assert evidence.detail.endswith("bits differ; type HASH_PDQ; tags bridge")
    assert like.action in (Action.BLOCK, Action.REVIEW)
    assert "hash_match" not in other.signals
    assert str(tmp_path) not in repr([same, like, other])


def test_a_broken_list_sends_pictures_to_review(tmp_path: Path) -> None:
    pytest.importorskip("pdqhash")
    file = tmp_path / "known.csv"
    file.write_text(f"{A}\nxyz\n")
    (verdict,) = verdicts({"bridges": str(file)}, scene(2))
    assert verdict.action is Action.REVIEW
    (reason,) = verdict.degraded
    assert "known.csv:2: 'xyz' is not a hash" in reason
    assert str(tmp_path) not in reason
