"""``moderator scan`` from files to verdict lines, database and exit code."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from moderator.cli import main
from moderator.cli.policy import policy
from moderator.cli.queue import queue
from moderator.cli.scan import scan
from moderator.errors import PolicyError
from moderator.store import Store
from tests.media.clips import clip
from tests.media.files import animation, encoded, quadrants, sound, tone
from tests.pipeline.small_model import BENIGN, HARMFUL, small_model

HARM = "i will stab you with a knife"
EXAMPLE = Path(__file__).parents[2] / "examples" / "plugin-emphasis"


def run(*arguments: object, db: str = "") -> Result:
    given = [str(each) for each in (*arguments, "--model", small_model(), "--device", "cpu")]
    with_db = given if not db else [*given, "--db", db]
    result = CliRunner().invoke(scan, with_db, standalone_mode=False)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def moderate(
    *arguments: object, cwd: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """The real command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "moderator", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def called(*arguments: object) -> int:
    """The entry point in this process; its exit code."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as exited:
        patch.setattr(sys, "argv", ["moderator", *map(str, arguments)])
        main()
    assert isinstance(exited.value.code, int)
    return exited.value.code


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]


def write_jsonl(path: Path, records: Sequence[object]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in records), encoding="utf-8")
    return path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, where the default database would be."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def mixed_jsonl(folder: Path) -> tuple[Path, list[tuple[str, str]]]:
    """Good and bad records; per record its id and how its reason begins ("" for none)."""
    (folder / "good.png").write_bytes(encoded(quadrants(), "PNG"))
    (folder / "corrupt.png").write_bytes(encoded(quadrants(), "PNG")[:60])
    (folder / "empty.txt").write_bytes(b"")
    (folder / "empty.png").write_bytes(b"")
    rows: list[tuple[bytes, str, str]] = [
        (b'{"id": "a", "text": "the library opens at nine"}', "a", ""),
        (b'{"id": "b", "text": ', "", "record cannot be read: broken JSON: "),
        (b"", "-", ""),
        (b"   \t ", "-", ""),
        (b'{"id": "c", "image": "gone.png"}', "c", f"image[0]: {folder}/gone.png: no such file"),
        (b'{"id": "d", "image": "corrupt.png"}', "d", "image[0]: "),
        (b'{"id": "e", "image": "empty.png", "text": "fine"}', "e", "image[0]: empty: no bytes"),
        (b'{"id": "f", "text": ""}', "f", "text[0]: empty"),
        (b'{"id": "g", "text": "a\\u0000b \\u202egnp.exe \\ud800"}', "g", ""),
        (json.dumps({"id": "h", "text": "x" * 200_000}).encode(), "h", ""),
        (b'{"id": "i"}', "i", "no parts"),
        (b'{"id": "j", "text": 7}', "", "record cannot be read: text: must be a string"),
        (b'{"id": ["k"], "text": "x"}', "", "record cannot be read: id: must be a string"),
        (b'{"id": "l", "text": "x", "context": 3}', "", "record cannot be read: context: must be an object"),
        (b"[1, 2]", "", "record cannot be read: not a JSON object but list"),
        (b'{"id": "m", "text": "\xff\xfe"}', "", "record cannot be read: not UTF-8"),
        (b'{"id": "n", "tekst": "x"}', "", "record cannot be read: no part, but unknown keys 'tekst'"),
        (b"[" * 100_000, "", "record cannot be read: broken JSON: nested too deeply"),
        (b'{"id": "a", "text": ["the same id again", "and a second part"]}', "a", ""),
        (b'{"id": "o", "video": "good.png"}', "o", "video[0]: not a video (bytes look like PNG)"),
        (b'{"id": "p\\u0000\\u001b[31m", "text": "i will stab you with a knife"}', "p\\x00\x1b[31m", ""),
        (b'{"text": "no id and no end of line"}', "", ""),
    ]
    path = folder / "mixed.jsonl"
    path.write_bytes(b"\n".join(line for line, _, _ in rows))
    expected = [
        (name or f"{path}:{number}", reason)
        for number, (_, name, reason) in enumerate(rows, start=1)
        if name != "-"
    ]
    return path, expected


@pytest.mark.parametrize("batch", [1, 64])
def test_mixed_records_give_a_line_each_in_order(here: Path, batch: int) -> None:
    path, expected = mixed_jsonl(here)
    result = run(path, "--output", "out.jsonl", "--batch-size", batch)
    assert result.return_value == 0
    lines = lines_of(here / "out.jsonl")
    assert [line["id"] for line in lines] == [name for name, _ in expected]
    for line, (_, reason) in zip(lines, expected, strict=True):
        if reason:
            assert line["action"] == "review"
            assert any(each.startswith(reason) for each in line["degraded"]), (reason, line["degraded"])
        else:
            assert line["degraded"] == []
            assert len(line["scores"]) == 9
        assert line["model_digest"]
        assert line["policy_digest"]
    actions = {line["id"]: line["action"] for line in lines}
    assert actions[f"{path}:22"] == "allow"
    assert actions["p\\x00\x1b[31m"] != "allow"
    assert "Traceback" not in result.output
    assert "\x1b" not in result.output
    assert "\u202e" not in result.output


def test_videos_in_folders_and_records(here: Path) -> None:
    folder = here / "posts"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(clip(seconds=0))
    (folder / "b.dat").write_bytes(clip("WebM", frames=3))
    (folder / "c.mov").write_bytes(clip()[:-500])
    records = here / "posts.jsonl"
    records.write_text('{"id": "x", "text": "hello", "video": ["posts/a.mp4", "posts/b.dat"]}\n')
    assert run(folder, records, "--output", "out.jsonl").return_value == 0
    whole, small, broken, both = lines_of(here / "out.jsonl")
    assert [whole["degraded"], both["degraded"]] == [[], []]
    assert [len(each["scores"]) for each in (whole, small, both)] == [9, 9, 9]
    assert whole["coverage"] == {"video[0]": 0.8}
    assert small["degraded"] == ["audio-logmel: trained on too little to clear an item alone"]
    assert broken["degraded"][0].startswith("video[0]: cannot be decoded: InvalidDataError")
    assert [small["action"], broken["action"]] == ["review", "review"]


def test_two_runs_and_the_real_command_write_the_same_bytes(here: Path) -> None:
    path, expected = mixed_jsonl(here)
    common = ("scan", path.name, "--model", small_model(), "--device", "cpu")
    first = moderate(*common, "--output", "first.jsonl", cwd=here)
    second = moderate(*common, "--output", "second.jsonl", "--db", "sqlite:///other.db", cwd=here)
    for done in (first, second):
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        assert f"{len(expected)} items in " in done.stdout
        assert "not fully judged: 1 × image: no such file" in done.stdout
    assert (here / "first.jsonl").read_bytes() == (here / "second.jsonl").read_bytes()
    assert len(lines_of(here / "first.jsonl")) == len(expected)
    assert (here / "moderator.db").is_file()


def test_a_directory_of_everything(here: Path) -> None:
    inbox = here / "inbox"
    (inbox / "deep" / "er").mkdir(parents=True)
    (inbox / "note.txt").write_text(BENIGN[0], encoding="utf-8")
    (inbox / "no-suffix").write_text(BENIGN[1], encoding="utf-8")
    for kind, suffix in (("PNG", "png"), ("JPEG", "jpg"), ("WEBP", "webp")):
        (inbox / f"picture.{suffix}").write_bytes(encoded(quadrants(), kind))
    (inbox / "moving.gif").write_bytes(animation("GIF", 3))
    for kind in ("WAV", "MP3", "FLAC"):
        (inbox / "deep" / f"tone.{kind.lower()}").write_bytes(sound(tone(0.5, rate=16_000), 16_000, kind))
    (inbox / "deep" / "er" / "harm.md").write_text(HARM, encoding="utf-8")
    (inbox / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnot really")
    (inbox / "empty.txt").touch()
    (inbox / "archive.zip").write_bytes(b"PK\x03\x04" + bytes(30))
    (inbox / "program.exe").write_bytes(bytes(range(256)))
    (inbox / "posts.jsonl").write_text('{"text": "x"}\n', encoding="utf-8")
    (inbox / "link.txt").symlink_to(inbox / "note.txt")
    Image.new("RGB", (4, 4)).save(inbox / "liar.txt", "PNG")

    result = run("inbox", "--output", "out.jsonl", "--show", 0)
    assert result.return_value == 0
    lines = {line["id"]: line for line in lines_of(here / "out.jsonl")}
    assert list(lines) == [
        "broken.png",
        "deep/er/harm.md",
        "deep/tone.flac",
        "deep/tone.mp3",
        "deep/tone.wav",
        "empty.txt",
        "liar.txt",
        "moving.gif",
        "no-suffix",
        "note.txt",
        "picture.jpg",
        "picture.png",
        "picture.webp",
    ]
    assert lines["note.txt"]["action"] == lines["no-suffix"]["action"] == "allow"
    assert lines["deep/er/harm.md"]["action"] != "allow"
    for name in ("picture.png", "moving.gif", "liar.txt"):
        assert lines[name]["degraded"] == []  # the nudity detector may clear pictures
    for kind in ("wav", "mp3", "flac"):
        assert lines[f"deep/tone.{kind}"]["degraded"] == [
            "audio-logmel: trained on too little to clear an item alone"
        ]
    assert lines["broken.png"]["scores"] == {}
    assert lines["empty.txt"]["degraded"] == ["text[0]: empty: no bytes"]
    for skipped in ("archive.zip", "program.exe", "posts.jsonl", "link.txt"):
        assert skipped in result.output
    assert "skipped: 1 × symbolic link (link.txt)" in result.output


def test_csv_and_parquet_and_single_files_in_one_scan(here: Path) -> None:
    with (here / "posts.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerows([("id", "text", "context.surface"), ("c1", BENIGN[0], "kids"), ("c2", HARM, "")])
        writer.writerow(("c3", "", ""))
    table = {"id": ["q1", "q2"], "text": [BENIGN[1], None], "image": [None, encoded(quadrants(), "PNG")]}
    pyarrow.parquet.write_table(pyarrow.table(table), here / "posts.parquet")
    (here / "one.txt").write_text(BENIGN[2], encoding="utf-8")
    result = run("posts.csv", "posts.parquet", "one.txt", "--output", "out.jsonl")
    assert result.return_value == 0
    lines = {line["id"]: line for line in lines_of(here / "out.jsonl")}
    assert list(lines) == ["c1", "c2", "c3", "q1", "q2", "one.txt"]
    assert [line["action"] != "allow" for line in lines.values()] == [False, True, True, False, False, False]
    assert lines["c3"]["degraded"] == ["no parts"]


def test_output_replaces_and_goes_to_stdout_with_notes_on_stderr(here: Path) -> None:
    write_jsonl(here / "in.jsonl", [{"id": "a", "text": BENIGN[0]}, {"id": "b", "text": HARM}])
    (here / "out.jsonl").write_text("old\n" * 9)
    assert run("in.jsonl", "--output", "out.jsonl").return_value == 0
    assert [line["id"] for line in lines_of(here / "out.jsonl")] == ["a", "b"]
    assert list(here.glob("*.partial")) == []
    result = run("in.jsonl", "--output", "-")
    assert result.stdout == (here / "out.jsonl").read_text()
    assert "2 items in" in result.stderr


def test_json_summary(here: Path) -> None:
    write_jsonl(
        here / "in.jsonl", [{"text": BENIGN[0]}, {"text": HARM}, {"image": "gone.png"}, {"image": "no.png"}]
    )
    result = run("in.jsonl", "--json", "--output", "out.jsonl", db=f"sqlite:///{here}/x.db")
    summary = json.loads(result.stdout)
    assert summary["items"] == 4
    assert summary["actions"]["allow"] == 1
    assert sum(summary["actions"].values()) == 4
    assert summary["degraded"] == {"image: no such file": 2}
    assert summary["labels"]["violence"] == {summary_action(here): 1}
    assert summary["interrupted"] is False
    assert summary["output"] == "out.jsonl"
    assert summary["db"] == f"sqlite:///{here}/x.db"
    assert 0 <= summary["store_seconds"] <= summary["seconds"]


def summary_action(folder: Path) -> str:
    return str(lines_of(folder / "out.jsonl")[1]["action"])


def test_reasons_of_bad_lines_are_counted_by_kind(here: Path) -> None:
    (here / "in.jsonl").write_text("".join(f"{'x' * n}{{\n" for n in range(40)), encoding="utf-8")
    summary = json.loads(run("in.jsonl", "--json").stdout)
    broken = "record cannot be read: broken JSON: "
    assert summary["degraded"] == {
        f"{broken}Expecting value": 39,
        f"{broken}Expecting property name enclosed in double quotes": 1,
    }


def test_verdicts_tasks_and_decisions_are_in_the_database(here: Path, database_url: str) -> None:
    texts = [*BENIGN[:4], HARM, *BENIGN[4:6]]
    write_jsonl(here / "in.jsonl", [{"id": f"p{n}", "text": text} for n, text in enumerate(texts)])
    with (here / "in.jsonl").open("a", encoding="utf-8") as file:
        file.write("broken\n")
    assert run("in.jsonl", "--output", "out.jsonl", "--batch-size", 3, db=database_url).return_value == 0
    lines = lines_of(here / "out.jsonl")
    with Store.open(database_url) as store:
        kept = [verdict for _, verdict in store.verdicts(1)]
    assert [each.item_id for each in kept] == [line["id"] for line in lines]
    assert [each.action.value for each in kept] == [line["action"] for line in lines]
    for verdict, line in zip(kept, lines, strict=True):
        assert verdict.scores == pytest.approx(line["scores"], abs=1e-6)

    def asked(*arguments: str) -> Any:
        result = CliRunner().invoke(queue, [*arguments, "--db", database_url, "--json"])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    tasks = asked("list")
    assert {task["item"] for task in tasks} == {line["id"] for line in lines if line["action"] == "review"}
    assert "in.jsonl:8" in {task["item"] for task in tasks}
    task = str(tasks[0]["id"])
    decision = ("decide", task, "--action", "allow", "--reviewer", "ana", "--reason", "a joke")
    assert CliRunner().invoke(queue, [*decision, "--db", database_url]).exit_code == 0
    assert [each["id"] for each in asked("list")] == [each["id"] for each in tasks[1:]]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Missing argument 'PATHS...'"),
        (("gone.jsonl",), "gone.jsonl: no such file or directory"),
        (("in.jsonl", "--batch-size", "0"), "Invalid value for '--batch-size'"),
        (("in.jsonl", "--device", "toaster"), "device 'toaster': only auto, cpu and cuda are supported"),
        (("in.jsonl", "--output", "-", "--json"), "--output - and --json both want standard output"),
        (("in.jsonl", "--output", "in.jsonl"), "--output in.jsonl would replace an input"),
        (("in.jsonl", "--model", "no-model"), "model 'no-model': no fusion.safetensors there"),
        (("program.exe",), "program.exe: cannot be scanned: unknown type (.exe)"),
    ],
)
def test_wrong_usage_exits_2_before_anything_is_judged(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    write_jsonl(here / "in.jsonl", [{"text": "x"}])
    (here / "program.exe").write_bytes(bytes(range(256)))
    assert called("scan", *arguments) == 2
    assert said in capsys.readouterr().err
    assert json.loads((here / "in.jsonl").read_text()) == {"text": "x"}


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlite:////nowhere/at/all/x.db", "nowhere"),
        ("postgresql://nobody@127.0.0.1:1/none", "127.0.0.1"),
    ],
)
def test_an_unreachable_database_is_one_clear_line(
    here: Path, capsys: pytest.CaptureFixture[str], url: str, said: str
) -> None:
    write_jsonl(here / "in.jsonl", [{"text": "x"}])
    assert called("scan", "in.jsonl", "--db", url, "--model", small_model()) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")
    assert said in line


def start(here: Path, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "moderator", "scan", *map(str, arguments), "--model", str(small_model())],
        cwd=here,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def stored(url: str) -> int:
    with Store.open(url) as store:
        return sum(1 for _ in store.verdicts(1))


def wait_until(done: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_an_interrupt_keeps_what_was_done(here: Path) -> None:
    """Lines equal stored verdicts and are the beginning of an uninterrupted run; another scan goes on."""
    texts = [f"{BENIGN[n % len(BENIGN)]} number {n}" for n in range(20_000)]
    write_jsonl(here / "long.jsonl", [{"id": f"p{n}", "text": text} for n, text in enumerate(texts)])
    url = f"sqlite:///{here}/both.db"
    process = start(here, "long.jsonl", "--db", url, "--output", "cut.jsonl", "--batch-size", "8", "--json")
    wait_until(lambda: (here / "both.db").exists() and stored_safely(url) > 16)
    write_jsonl(here / "short.jsonl", [{"text": text} for text in texts[:3]])
    beside = run("short.jsonl", "--json", db=url)
    assert json.loads(beside.stdout)["items"] == 3
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err == "stopping after this batch; Ctrl-C again to drop it\n"
    summary = json.loads(out)
    assert summary["interrupted"] is True
    lines = lines_of(here / "cut.jsonl")
    assert 16 < len(lines) < len(texts)
    assert len(lines) == summary["items"]
    with Store.open(url) as store:
        assert [each.item_id for _, each in store.verdicts(1)] == [line["id"] for line in lines]
    write_jsonl(
        here / "begin.jsonl", [{"id": f"p{n}", "text": text} for n, text in enumerate(texts[: len(lines)])]
    )
    assert run("begin.jsonl", "--output", "whole.jsonl", "--batch-size", 8).return_value == 0
    assert (here / "cut.jsonl").read_bytes() == (here / "whole.jsonl").read_bytes()


def stored_safely(url: str) -> int:
    try:
        return stored(url)
    except Exception:  # noqa: BLE001 - the other process is still making the tables
        return 0


def test_a_second_interrupt_drops_the_batch_in_hand(here: Path) -> None:
    slow = {"text": " ".join(BENIGN) * 200}
    write_jsonl(here / "long.jsonl", [{"text": BENIGN[0]}] * 4 + [slow] * 40)
    url = f"sqlite:///{here}/x.db"
    process = start(here, "long.jsonl", "--db", url, "--output", "cut.jsonl", "--batch-size", "4")
    wait_until(lambda: (here / "x.db").exists() and stored_safely(url) == 4)
    process.send_signal(signal.SIGINT)
    out = err = ""
    for _ in range(5):  # Python swallows one that arrives while an object is being finalised
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            out, err = process.communicate(timeout=8)
            break
    assert process.returncode == 130, err
    assert "interrupted" in out
    assert len(lines_of(here / "cut.jsonl")) == stored(url) == 4


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder of installed plugins: the example, and one that raises when it is imported."""
    folder = tmp_path / "site"
    source = tmp_path / "sources" / "plugin-emphasis"
    shutil.copytree(EXAMPLE, source)
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--no-build-isolation", "--no-deps", "--no-index", "--target", str(folder), str(source)),
        ],
        check=True,
        capture_output=True,
    )
    put(folder, "raises", "raise RuntimeError('no licence\\x1b[31m file')\n")
    return folder


def put(folder: Path, name: str, source: str) -> None:
    """A plugin of one module in ``folder``, as an installer would leave it."""
    info = folder / f"moderator_{name}-0.1.dist-info"
    info.mkdir(parents=True)
    (folder / f"moderator_{name}.py").write_text(source)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: moderator-{name}\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text(f"[moderator]\n{name} = moderator_{name}\n")


POLICY = """
name: house
version: 1
otherwise: allow
on_degraded: review
rules:
  - {name: loud, when: shouting >= 0.5, then: block, why: Shouting}
"""


def test_installed_plugins_take_part_and_broken_ones_are_said(here: Path, site: Path) -> None:
    write_jsonl(here / "in.jsonl", [{"text": "BUY THIS NOW!!!"}, {"text": BENIGN[0]}])
    (here / "house.yaml").write_text(POLICY)
    common = ("scan", "in.jsonl", "--policy", "house.yaml", "--model", small_model(), "--output", "out.jsonl")
    done = moderate(*common, cwd=here, environment={"PYTHONPATH": str(site)})
    assert done.returncode == 0, done.stderr
    assert done.stderr == "plugin raises not usable (load): RuntimeError: no licence\\x1b[31m file\n"
    lines = lines_of(here / "out.jsonl")
    assert [line["action"] for line in lines] == ["block", "allow"]
    assert lines[0]["signals"]["shouting"] == 1.0
    assert lines[0]["matches"] == [{"rule": "loud", "action": "block", "why": "Shouting"}]

    allowed = {"PYTHONPATH": str(site), "MODERATOR_ALLOW_PLUGINS": "text,emphasis"}
    done = moderate(*common, cwd=here, environment=allowed)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert lines_of(here / "out.jsonl")[0]["action"] == "block"


def test_a_signal_of_a_broken_plugin_sends_every_item_to_review(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "site", "raises", "import no_such_module\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    write_jsonl(here / "in.jsonl", [{"text": HARM}, {"text": BENIGN[0]}])
    (here / "house.yaml").write_text(POLICY)
    failure = "plugin raises not usable (load): ModuleNotFoundError: No module named 'no_such_module'\n"
    done = run("in.jsonl", "--policy", "house.yaml", "--output", "out.jsonl")
    assert (done.return_value, done.stderr.replace(" \n", " ")) == (0, failure)
    reason = "nobody could look for the signals 'shouting' (plugins that failed: raises)"
    for line in lines_of(here / "out.jsonl"):
        assert (line["action"], line["degraded"], len(line["scores"])) == ("review", [reason], 9)

    unknown = "house.yaml:7: rule 'loud': unknown label or signal 'shouting'"
    checked = CliRunner().invoke(policy, ["check", "house.yaml"])
    assert (checked.exit_code, checked.stderr) == (1, failure)
    assert unknown in checked.stdout

    monkeypatch.setenv("MODERATOR_ALLOW_PLUGINS", "text,image,audio,rules,nudity")
    with pytest.raises(PolicyError) as refused:
        run("in.jsonl", "--policy", "house.yaml")
    assert unknown in str(refused.value)
    left_out = "hashes, lexicon, ocr, speech, raises"
    assert f"add its plugin to allow_plugins, which leaves out {left_out})" in str(refused.value)


CHATTY = """
print("imported")
from moderator import hookimpl
from moderator.testing import FakeDetector

class Chatty(FakeDetector):
    name = "chatty"

    def __init__(self, options=None):
        print("constructed")
        super().__init__(options)

    def load(self, device):
        print("loaded")

@hookimpl
def register_detectors():
    print("asked")
    return [Chatty]
"""


def test_plugins_that_print_do_not_disturb_the_lines(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "site", "chatty", CHATTY)
    monkeypatch.syspath_prepend(tmp_path / "site")
    write_jsonl(here / "in.jsonl", [{"id": "a", "text": BENIGN[0]}])
    done = run("in.jsonl", "--output", "-")
    assert json.loads(done.stdout)["id"] == "a"
    for said in ("imported", "asked", "constructed", "loaded"):
        assert said in done.stderr


TERMINATED = """
import signal
from moderator import hookimpl
from moderator.testing import FakeDetector

class Terminated(FakeDetector):
    name = "terminated"

    def detect_batch(self, contents):
        if any("terminate" in content.data for content in contents):
            signal.raise_signal(signal.SIGTERM)
        return [[] for _ in contents]

@hookimpl
def register_detectors():
    return [Terminated]
"""


def test_sigterm_keeps_what_was_done(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "site", "terminated", TERMINATED)
    monkeypatch.syspath_prepend(tmp_path / "site")
    texts = [*BENIGN[:3], "please terminate", *BENIGN[4:8]]
    write_jsonl(here / "in.jsonl", [{"id": f"p{n}", "text": text} for n, text in enumerate(texts)])
    before = signal.getsignal(signal.SIGTERM)
    url = f"sqlite:///{here}/x.db"
    done = run("in.jsonl", "--output", "out.jsonl", "--batch-size", 2, db=url)
    assert done.return_value == 130
    assert "interrupted" in done.stdout
    assert [line["id"] for line in lines_of(here / "out.jsonl")] == ["p0", "p1", "p2", "p3"]
    assert stored(url) == 4
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_interrupt_after_the_summary_is_no_death_by_signal(here: Path) -> None:
    write_jsonl(here / "in.jsonl", [{"text": BENIGN[0]}])
    process = start(here, "in.jsonl", "--output", "out.jsonl")
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("scan 1 in "):
            break
    for wait in (0, 0.3, 0.3):
        time.sleep(wait)
        process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode in (0, 130)
    assert len(lines_of(here / "out.jsonl")) == 1


def test_an_embedder_left_out_by_the_allow_list_degrades_its_modality(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "picture.png").write_bytes(encoded(quadrants(), "PNG"))
    write_jsonl(here / "in.jsonl", [{"image": "picture.png"}, {"text": BENIGN[0]}])
    monkeypatch.setenv("MODERATOR_ALLOW_PLUGINS", "text,hashes,lexicon,nudity,rules")
    result = run("in.jsonl", "--output", "out.jsonl")
    assert result.return_value == 0
    assert result.stderr == ""
    picture, text = lines_of(here / "out.jsonl")
    assert picture["degraded"] == [
        "image[0]: image-timm: the model needs this plugin, which is not installed or not allowed"
    ]
    assert picture["action"] == "review"
    assert text["action"] == "allow"


def test_harmful_sentences_do_not_pass(here: Path) -> None:
    texts = [text for texts in HARMFUL.values() for text in texts]
    write_jsonl(here / "in.jsonl", [{"text": text} for text in texts])
    assert run("in.jsonl", "--output", "out.jsonl", "--policy", "strict").return_value == 0
    assert sum(line["action"] == "allow" for line in lines_of(here / "out.jsonl")) < len(texts) // 3
