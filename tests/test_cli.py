"""Every command: --help works, and typing errors are answered with the nearest name."""

import argparse
import importlib
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import devis.cli
import stcn.cli
import stemseg.cli
import stmask.cli
import vatrack.cli
from vidseg_common.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "docs"))
try:
    command_flags = importlib.import_module("command_flags")
finally:
    sys.path.remove(str(ROOT / "docs"))
COMMANDS: dict[str, tuple[str, str]] = command_flags.COMMANDS
PROGRAMS = {
    "stcn": stcn.cli,
    "stemseg": stemseg.cli,
    "stmask": stmask.cli,
    "devis": devis.cli,
    "vatrack": vatrack.cli,
}
CONSOLE = [(program, name) for program, cli in PROGRAMS.items() for name in cli.COMMANDS]
ENTRY_FILES = sorted(
    [
        *(*ROOT.glob("stcn/*.py"), *ROOT.glob("stcn/ms/[!_]*.py"), *ROOT.glob("stemseg/data/*.py")),
        *(*ROOT.glob("stemseg/inference/**/*.py"), *ROOT.glob("stemseg/training/*.py")),
        *(*ROOT.glob("stmask/*.py"), *ROOT.glob("stmask/scripts/*.py"), *ROOT.glob("devis/*.py")),
        *ROOT.glob("vatrack/tools/*.py"),
    ]
)


def main_of(command: str) -> Callable[..., Any]:
    module, name = COMMANDS[command]
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_exits_with_0(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main_of(command)(["--help"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith("usage: ")


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_flag_names_the_nearest(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = command_flags.flags_of(command_flags.parser_of(command))
    flag = max((f for f in flags if f.startswith("--")), key=len)
    with pytest.raises(SystemExit) as stop:
        main_of(command)([f"{flag[:-1]}~"])
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert f"did you mean {flag}?" in message and message.count("\n") == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_says_what_it_means(command: str) -> None:
    actions = command_flags.actions_of(command_flags.parser_of(command))
    assert not [action.dest for action in actions if not action.help]


@pytest.mark.parametrize(("program", "name"), CONSOLE)
def test_console_commands_have_a_parser_here(program: str, name: str) -> None:
    assert any(command.split()[:2] == [program, name] for command in COMMANDS)


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_overview_lists_every_command(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    cli = PROGRAMS[program]
    assert cli.dispatch([]) == 0
    overview = capsys.readouterr().out
    assert all(f"  {name} " in overview for name in cli.COMMANDS)
    assert cli.dispatch(["--help"]) == 0


@pytest.mark.parametrize(
    ("words", "nearest"),
    [
        (["stcn", "predcit"], "predict"),
        (["stcn", "eval", "davis2071"], "davis2017"),
        (["stcn", "download", "weigths"], "weights"),
        (["stemseg", "evla"], "eval"),
    ],
)
def test_an_unknown_command_names_the_nearest(words: list[str], nearest: str) -> None:
    with pytest.raises(UserError, match=f"did you mean {nearest}"):
        PROGRAMS[words[0]].dispatch(words[1:])


@pytest.mark.parametrize("path", ENTRY_FILES, ids=lambda path: path.name)
def test_entry_files_run_their_command(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(path), run_name="__main__")
    assert stop.value.code == 0
    name = f"ms.{path.stem}" if path.parent.name == "ms" else path.stem
    assert re.match(rf"usage: (\w+/)*{name}", capsys.readouterr().out)


def test_errors_of_the_user_are_one_line_and_status_2(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "stcn", "predcit"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 2
    assert result.stderr == "error: unknown command 'predcit'; did you mean predict?\n"


def test_flags_are_shown_as_typed() -> None:
    parser = argparse.ArgumentParser()
    shown = {
        parser.add_argument("--on", action="store_true"): "--on",
        parser.add_argument("-n", "--number", type=int): "-n, --number N",
        parser.add_argument("--where", type=Path): "--where PATH",
        parser.add_argument("--kind", choices=["a", "b"]): "--kind a or b",
        parser.add_argument("--names", nargs="+", metavar="NAME"): "--names NAME ...",
        parser.add_argument("file"): "file",
        parser.add_argument("rest", nargs="*"): "[rest ...]",
    }
    for action, text in shown.items():
        assert command_flags.signature(action) == text
