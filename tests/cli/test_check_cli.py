"""``moderator check``: one post from the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from moderator.cli.check import check
from moderator.types import Action, Evidence, Verdict
from tests.media.files import encoded, quadrants, sound, tone
from tests.pipeline.small_model import BENIGN, small_model

HARM = "i will stab you with a knife"


def run(*arguments: object) -> Result:
    given = [str(each) for each in (*arguments, "--model", small_model(), "--device", "cpu")]
    return CliRunner().invoke(check, given)


def test_a_verdict_for_people() -> None:
    result = run("--text", HARM, "--text", BENIGN[0])
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0] in ("review", "block")
    assert "violence" in result.stdout
    assert "█" in result.stdout
    assert run("--text", BENIGN[0]).stdout.splitlines()[0] == "allow"


def test_a_verdict_for_scripts_is_a_line_of_a_scan() -> None:
    result = run("--text", HARM, "--json")
    verdict = json.loads(result.stdout)
    assert set(verdict) == {
        *("id", "action", "scores", "signals", "matches", "degraded", "evidence", "coverage"),
        *("model_digest", "policy_digest"),
    }
    assert verdict["action"] != "allow"
    assert len(verdict["scores"]) == 9


def test_parts_of_every_kind_are_one_post(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(quadrants(), "PNG"))
    (tmp_path / "a.wav").write_bytes(sound(tone(0.3)))
    media = ("--image", tmp_path / "a.png", "--audio", tmp_path / "a.wav")
    verdict = json.loads(run("--text", BENIGN[0], *media, "--json").stdout)
    assert verdict["degraded"] == []
    verdict = json.loads(
        run(*media, "--image", tmp_path / "gone.png", "--video", "gone.mp4", "--json").stdout
    )
    assert verdict["action"] == "review"
    assert verdict["degraded"] == [
        f"image[1]: {tmp_path}/gone.png: no such file",
        "video[0]: gone.mp4: no such file",
        "audio-logmel: trained on too little to clear an item alone",
    ]


def test_context_is_read_by_the_policy() -> None:
    text = "what the fuck"
    plain = json.loads(run("--text", text, "--json").stdout)
    kids = json.loads(run("--text", text, "--context", '{"surface": "kids"}', "--json").stdout)
    assert "kids-review" not in [match["rule"] for match in plain["matches"]]
    assert "kids-review" in [match["rule"] for match in kids["matches"]]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "nothing to judge: give --text, --image, --audio or --video"),
        (("--text", "x", "--context", "{"), "Invalid value for --context: not JSON: "),
        (("--text", "x", "--context", "[" * 100_000), "Invalid value for --context: not JSON: "),
        (("--text", "x", "--context", "[1]"), "Invalid value for --context: must be a JSON object"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], said: str) -> None:
    result = CliRunner().invoke(check, arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def test_bytes_that_are_no_text_and_steer_no_terminal(tmp_path: Path) -> None:
    """Undecodable bytes in an argument arrive as lone surrogates."""
    odd = b"kill \x1b[31mf\xffuck yourself \xe2\x80\xae \xff", b"no\xffsuch\x1bfile"
    people = run("--text", os.fsdecode(odd[0]), "--image", os.fsdecode(odd[1]))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "moderator", "check", "--model", str(small_model()), "--json"),
            *(b"--text", odd[0], b"--image", odd[1]),
        ],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert done.returncode == people.exit_code == 0, done.stderr
    assert done.stderr == b""
    for out in (done.stdout.decode("ascii"), people.stdout):
        assert "\x1b" not in out
        assert "\u202e" not in out
        assert "no such file" in out


def test_a_verdict_shows_all_it_knows(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    from moderator.cli.verdict_view import verdict_detail

    verdict = Verdict(
        "x",
        Action.REVIEW,
        {"hate": 0.75},
        signals={"lexicon_hate": 0.9},
        degraded=("text[0]: too long\x1b[0m",),
        evidence=(Evidence("lexicon", 0, (3.0, 7.5), "\u202eword"),),
        coverage={"audio[0]": 0.25},
    )
    Console(width=200).print(verdict_detail(verdict))
    out = capsys.readouterr().out
    assert out.splitlines()[0] == "review"
    for line in (
        "not fully judged: text[0]: too long\\x1b[0m",
        "signal lexicon_hate = 0.90",
        "evidence lexicon at 3–7.5 of part 0: \\u202eword",
        "looked at 25% of audio[0]",
        "hate  0.750",
    ):
        assert line in out
