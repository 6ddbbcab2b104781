"""Running a command as its script does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vidseg_common.errors import run_cli


@pytest.fixture
def tool(weights, tmp_path, capsys) -> Callable[..., str]:
    """Runs a tool with the tiny weights into `tmp_path/OUTPUT`; gives what it printed."""

    def run(main: Callable[[list[str]], int], *words: object, output: str = "out") -> str:
        flags = ["--output", str(tmp_path / output), "--model", str(weights), "--device", "cpu"]
        with pytest.raises(SystemExit) as caught:
            run_cli(lambda: main([*flags, *map(str, words)]))
        captured = capsys.readouterr()
        assert caught.value.code == 0, captured.err
        return captured.out

    return run


@pytest.fixture
def listing() -> Callable[[Path], list[str]]:
    """All files below a folder, hidden ones too."""

    def files(folder: Path) -> list[str]:
        found = (path for path in folder.rglob("*") if path.is_file())
        return sorted(path.relative_to(folder).as_posix() for path in found)

    return files
