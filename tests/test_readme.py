"""What the READMEs name exists: make targets, commands, flags, links and pictures."""

import importlib
import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vidseg_common import synthetic_cli
from vidseg_common.commands import convert as convert_command

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "docs"))
try:
    command_flags = importlib.import_module("command_flags")
finally:
    sys.path.remove(str(ROOT / "docs"))

DOCUMENTS = [
    ROOT / name
    for name in (
        *("README.md", "CONTRIBUTING.md", "stcn/README.md", "docs/stcn.md", "docs/data.md"),
        *("common/README.md", "docs/formats.md", "docs/metrics.md"),
        *("docs/vatrack_data.md",),
        *("stemseg/README.md", "docs/stemseg.md", "stmask/README.md", "docs/stmask.md"),
        "devis/README.md",
        *("vatrack/README.md", "docs/vatrack.md"),
        "docs/containers.md",
    )
]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z0-9-]+):", MAKEFILE, re.M))
#: Flags of tools that are not ours.
FOREIGN_FLAGS = {"--nproc_per_node", "--nodes", "--gpus-per-node", "--local_rank"}
#: Flags of container engines, and of docker/check.py.
CONTAINER_FLAGS = {
    *("--rm", "--gpus", "--user", "--shm-size", "--entrypoint"),
    *("--suite", "--mirror", "--driver", "--folder"),
}
#: Targets written with a placeholder.
PLACEHOLDER = re.compile(r"^(parity|train|eval|predict|weights|bench)-(METHOD)?$")
MODULE = re.compile(r"^(.*/)?python3?$")


def code_of(text: str) -> Iterator[str]:
    """Command lines of fenced blocks and inline code."""
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.M | re.S):
        if not language:
            yield from block.splitlines()
    outside = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    yield from re.findall(r"`([^`\n]+)`", outside)


def words_of(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()


def command_in(words: list[str], folder: str = "") -> tuple[str, list[str]] | None:
    """Our command that a line runs, and the words after it; None for other lines.

    Args:
        words: of the line.
        folder: of the document; an entry file there comes first among those of that name.
    """
    for i, word in enumerate(words):
        parts = word.split("/")
        names = (f"{folder}/{word}", "/".join(parts[-2:]), parts[-1])
        script = next((name for name in names if name in command_flags.COMMANDS), parts[-1])
        previous = words[i - 1] if i else ""
        if script in command_flags.COMMANDS and script.endswith(".py"):
            return script, words[i + 1 :]
        if previous == "-m":
            return word, words[i + 1 :]
    program = words[0].rsplit("/", 1)[-1] if words else ""
    if program not in ("stcn", "stemseg", "stmask", "devis", "vatrack", "vidseg"):
        return None
    for length in (3, 2):
        name = " ".join([program, *words[1:length]])
        if name in command_flags.COMMANDS:
            return name, words[length:]
    return (" ".join([program, words[1]]), []) if len(words) > 1 else None


LINES = [
    pytest.param(line, path.parent.name, id=f"{path.relative_to(ROOT).as_posix()}: {line}")
    for path in DOCUMENTS
    for line in dict.fromkeys(code_of(path.read_text(encoding="utf-8")))
]
OUR_LINES = [p for p in LINES if command_in(words_of(str(p.values[0])))]


@pytest.mark.parametrize(("line", "folder"), [p for p in LINES if "make " in str(p.values[0])])
def test_make_targets_exist(line: str, folder: str) -> None:
    for target in re.findall(r"\bmake ([a-z][a-z0-9-]*(?:METHOD)?)", line):
        assert target in TARGETS or PLACEHOLDER.match(target)


@pytest.mark.parametrize(("line", "folder"), OUR_LINES)
def test_commands_and_their_flags_exist(line: str, folder: str) -> None:
    found = command_in(words_of(line), folder)
    assert found
    command, rest = found
    if command == "pytest":
        return
    assert command in command_flags.COMMANDS, line
    known = command_flags.flags_of(command_flags.parser_of(command))
    flags = {word.split("=", 1)[0] for word in rest if re.match(r"--?[A-Za-z]", word)}
    assert flags <= known


@pytest.mark.parametrize(("line", "folder"), [p for p in LINES if "ARGS=" in str(p.values[0])])
def test_flags_in_args_of_make_exist(line: str, folder: str) -> None:
    command = {
        "eval-stcn": "stcn eval " + (re.findall(r"DATASET=(\S+)", line) or ["davis2017"])[0],
        "train-stcn": "stcn train",
        "weights-stcn": "stcn download weights",
        "data-stcn": "stcn download datasets",
        "predict-stcn": "stcn predict",
        "eval-stemseg": "stemseg eval",
        "train-stemseg": "stemseg train",
        "predict-stemseg": "stemseg predict",
        "weights-stemseg": "stemseg download",
        "eval-stmask": "stmask eval",
        "train-stmask": "stmask train",
        "predict-stmask": "stmask predict",
        "viewer-stmask": "stmask viewer",
        "weights-stmask": "stmask download",
        "eval-devis": "devis eval",
        "train-devis": "devis train",
        "predict-devis": "devis predict",
        "weights-devis": "devis download",
        "train-vatrack": "vatrack train",
        "eval-vatrack": "vatrack eval",
        "predict-vatrack": "vatrack predict",
        "weights-vatrack": "vatrack download",
    }
    target = (re.findall(r"\bmake ([a-z-]+)", line) or [None])[0]
    if target is None:
        return  # a fragment that says what to add
    known = command_flags.flags_of(command_flags.parser_of(command[target]))
    assert set(re.findall(r"(?<!\S|\w)--[A-Za-z_-]+", line.split("ARGS=")[1])) <= known


def test_every_mentioned_flag_exists_somewhere() -> None:
    known = FOREIGN_FLAGS | CONTAINER_FLAGS
    for command in command_flags.COMMANDS:
        known |= command_flags.flags_of(command_flags.parser_of(command))
    for path in DOCUMENTS:
        text = re.sub(r"<!--.*?-->", "", path.read_text(encoding="utf-8"))
        for flag in re.findall(r"(?<![\w-])--[A-Za-z][\w-]*(?:\.[a-z]\w*)*", text):
            assert flag in known, f"{path.name}: {flag}"


def anchors_of(path: Path) -> set[str]:
    """Names of a document's headings, as they are linked to."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.M)
    return {
        re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings
    }


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_local_links_and_pictures_exist(path: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+://", link):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), link
        if anchor:
            assert anchor in anchors_of(target), link


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_named_files_of_the_repository_exist(path: Path) -> None:
    folders = "stcn|stemseg|stmask|devis|vatrack|docs|benchmarks|tests|common|requirements"
    pattern = rf"`((?:{folders})/[\w./-]+\.\w+)`"
    for name in re.findall(pattern, path.read_text(encoding="utf-8")):
        assert (ROOT / name).exists() or "test_" in name, name


def test_example_of_annotations_is_what_convert_writes(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "stemseg.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```json\n(.*?)^```", text, re.M | re.S)
    (commands,) = re.findall(
        r"^```\n(python -m vidseg_common\.synthetic .*?)^```", text, re.M | re.S
    )
    (synthetic, convert) = commands.splitlines()
    for line, function in ((synthetic, synthetic_cli.main), (convert, convert_command.main)):
        _, words = command_in(words_of(line)) or ("", [])
        paths = ("tiny", "davis_val.json")
        function([str(tmp_path / word) if word in paths else word for word in words])
    written = (tmp_path / "davis_val.json").read_text(encoding="utf-8")
    assert json.loads(written) == json.loads(example)


def test_pictures_are_small() -> None:
    for picture in (ROOT / "docs" / "images").iterdir():
        assert picture.stat().st_size <= 200 * 1024, picture.name
