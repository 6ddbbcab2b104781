"""The rules of CONTRIBUTING.md that a program can check, on every tracked file."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAX_FILE_LINES = 600
MAX_FUNCTION_LINES = 80
IGNORED_FOLDERS = {".git", "__pycache__", "runs", "saves", "log", "build", "dist"}
BINARY_SUFFIXES = {".png", ".jpg", ".gif", ".mp4", ".npz", ".pth", ".safetensors", ".zip", ".hkl"}
BROAD = {"Exception", "BaseException"}
# Written in parts, so that this file does not contain what it forbids.
HOSTS = ("pypi" + r"\.org", "python" + r"hosted\.org", "pytorch" + r"\.org/whl", "anaconda" + r"\.")
FOLDERS = ("work/", "root/", "home/", "Users/", "mnt/", "tmp/plan")
PRIVATE_TEXT = re.compile(
    "|".join([*HOSTS, *(r"(?<![\w.~}/-])/" + folder + r"[\w.-]*" for folder in FOLDERS)])
)


def tracked_files() -> list[Path]:
    """Files under version control; all files where the tree is no working copy."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=False
    )
    if listed.returncode == 0 and listed.stdout:
        paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:
        paths = [
            path
            for path in ROOT.rglob("*")
            if not IGNORED_FOLDERS & set(path.relative_to(ROOT).parts)
            and not any(part.startswith(".venv") for part in path.relative_to(ROOT).parts)
        ]
    return sorted(path for path in paths if path.is_file())


FILES = tracked_files()
PYTHON = [path for path in FILES if path.suffix == ".py"]
PACKAGES = [path for path in PYTHON if "tests" not in path.relative_to(ROOT).parts]


def name_of(node: ast.expr | None) -> str:
    """Dotted name of an expression such as `torch.load`, "" for anything else."""
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def is_long_function(node: ast.AST) -> bool:
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return False
    return (node.end_lineno or node.lineno) - node.lineno + 1 > MAX_FUNCTION_LINES


def is_star_import(node: ast.AST) -> bool:
    return isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names)


def is_cuda_call(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "cuda"
    )


def is_unsafe_load(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call) or name_of(node.func) != "torch.load":
        return False
    safe = [word.value for word in node.keywords if word.arg == "weights_only"]
    return not (len(safe) == 1 and isinstance(safe[0], ast.Constant) and safe[0].value is True)


def is_unpickling(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and name_of(node.func) in {
        *("pickle.load", "pickle.loads", "pickle.Unpickler", "yaml.unsafe_load"),
    }


def is_silent_handler(node: ast.AST) -> bool:
    """A handler of everything that does nothing, or `suppress` of everything."""
    if isinstance(node, ast.Call) and name_of(node.func).endswith("suppress"):
        return any(name_of(argument) in BROAD for argument in node.args)
    if not isinstance(node, ast.ExceptHandler):
        return False
    kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
    broad = node.type is None or any(name_of(kind) in BROAD for kind in kinds)
    empty = (ast.Pass, ast.Continue, ast.Break)
    return broad and all(
        isinstance(line, empty) or (isinstance(line, ast.Expr) and not is_call(line.value))
        for line in node.body
    )


def is_call(node: ast.AST) -> bool:
    return isinstance(node, (ast.Call, ast.Await, ast.Yield))


RULES = {
    f"function over {MAX_FUNCTION_LINES} lines": is_long_function,
    "star import": is_star_import,
    "device fixed by a call of cuda()": is_cuda_call,
    "torch.load without weights_only=True": is_unsafe_load,
    "unpickling": is_unpickling,
    "all errors silenced": is_silent_handler,
}


#: Bytes that this process made itself and that never touch a file.
EXEMPT = {("unpickling", "common/vidseg_common/packed.py")}


def find(rule: str, source: str) -> Iterator[int]:
    """Lines of a source that break a rule."""
    for node in ast.walk(ast.parse(source)):
        if RULES[rule](node):
            yield getattr(node, "lineno", 0)


@pytest.mark.parametrize("rule", RULES)
def test_code(rule):
    found = [
        f"{path.relative_to(ROOT)}:{line}: {rule}"
        for path in PACKAGES
        if (rule, path.relative_to(ROOT).as_posix()) not in EXEMPT
        for line in find(rule, path.read_text("utf-8"))
    ]
    assert not found, "\n".join(found)


def test_file_lengths():
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in PYTHON}
    found = [f"{p.relative_to(ROOT)}: {n} lines" for p, n in lengths.items() if n > MAX_FILE_LINES]
    assert not found, "\n".join(found)


def test_no_private_paths_or_hosts():
    found = []
    for path in FILES:
        if path.suffix.lower() in BINARY_SUFFIXES:
            continue
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            match = PRIVATE_TEXT.search(line)
            # Inside an image the folders belong to the image, not to anybody's machine.
            if match and not ("docker" in path.relative_to(ROOT).parts and match[0][0] == "/"):
                found.append(f"{path.relative_to(ROOT)}:{number}: {match[0]}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("rule", "bad", "good"),
    [
        ("star import", "from os import *", "from os import path"),
        ("device fixed by a call of cuda()", "x.cuda()", "torch.cuda.is_available()\nx.to(d)"),
        (
            "torch.load without weights_only=True",
            "torch.load(f)",
            "torch.load(f, weights_only=True)",
        ),
        ("torch.load without weights_only=True", "torch.load(f, weights_only=a)", "json.load(f)"),
        ("unpickling", "pickle.load(f)", "pickle.dumps(f)"),
        (
            "all errors silenced",
            "try:\n    f()\nexcept Exception:\n    pass",
            "try:\n    f()\nexcept Exception as error:\n    raise A from error",
        ),
        (
            "all errors silenced",
            "try:\n    f()\nexcept:\n    ...",
            "try:\n    f()\nexcept OSError:\n    pass",
        ),
        ("all errors silenced", "contextlib.suppress(Exception)", "contextlib.suppress(OSError)"),
        (
            f"function over {MAX_FUNCTION_LINES} lines",
            "def f():\n" + "    x = 1\n" * MAX_FUNCTION_LINES,
            "def f():\n" + "    x = 1\n" * (MAX_FUNCTION_LINES - 1),
        ),
    ],
)
def test_the_rules_themselves(rule, bad, good):
    assert list(find(rule, bad))
    assert not list(find(rule, good))


def test_tests_give_the_number_of_threads_back():
    """Else the speed of a test depends on which others ran before it."""
    texts = {p: p.read_text("utf-8") for p in FILES if p.name == "conftest.py"}
    assert any("set_num_threads(" in text for text in texts.values())
    for path, text in texts.items():
        kept = text.count("torch.get_num_threads()")
        assert text.count("torch.set_num_threads(") == 2 * kept, path


@pytest.mark.parametrize(
    ("line", "is_private"),
    [
        ("see /" + "work/main/x", True),
        ("open('/" + "root/.cache')", True),
        ("--index-url https://" + "pypi" + ".org/simple", True),
        ("../shared/data and network/home/page", False),
        ("frames in ${ROOT}/" + "work/out, runs/demo", False),
    ],
)
def test_private_text(line, is_private):
    assert bool(PRIVATE_TEXT.search(line)) == is_private
