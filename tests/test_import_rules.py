"""Who may import whom, checked on the syntax trees of all packages."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
METHODS = ("stemseg", "stcn", "stmask", "vatrack", "devis")
COMMON = "vidseg_common"
COMPUTING = ("model", "ops", "losses")
# The standard library without files, processes and network.
ALLOWED = {
    *("torch", "torchvision"),
    *("__future__", "abc", "collections", "contextlib", "copy", "dataclasses", "enum"),
    *("functools", "itertools", "math", "numbers", "operator", "types", "typing", "warnings"),
}

# What compiles a native operator handles files and a compiler; it still needs no other package.
BUILDERS = {("ops", "native.py"), ("ops", "__main__.py")}
# Kernels for GPUs are written in the language that comes with PyTorch there.
GPU_KERNELS = ("ops", "gpu.py")


def imported_modules(source: str, module: str, is_package: bool) -> set[str]:
    """Full dotted names that a module imports, at its top or inside functions."""
    package = module.split(".") if is_package else module.split(".")[:-1]
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = [*base, *([node.module] if node.module else [])]
            # "from package import name": name may be a module, so it is part of the answer.
            names.update(".".join([*stem, alias.name]) for alias in node.names)
    return names


def is_computing(parts: tuple[str, ...]) -> bool:
    """Whether a place inside a method's package belongs to model, ops or losses."""
    return parts[0].removesuffix(".py").split("_")[0] in COMPUTING


def violations(path: Path, package_root: Path) -> list[str]:
    """Imports of one file that its place does not allow."""
    relative = path.relative_to(package_root.parent)
    module = ".".join(relative.with_suffix("").parts).removesuffix(".__init__")
    imports = imported_modules(path.read_text("utf-8"), module, path.name == "__init__.py")
    owner, inner = relative.parts[0], relative.parts[1:]
    foreign = {name for name in METHODS if name != owner}
    allowed = ALLOWED | (sys.stdlib_module_names if inner in BUILDERS else frozenset())
    allowed |= {"triton"} if inner == GPU_KERNELS else frozenset()
    found = []
    for name in sorted(imports):
        first = name.split(".")[0]
        own_computing = first == owner and (
            len(name.split(".")) > 1 and is_computing(tuple(name.split(".")[1:]))
        )
        if first in foreign or (
            owner in METHODS and is_computing(inner) and first not in allowed and not own_computing
        ):
            found.append(f"{relative}: imports {name}")
    return found


def package_roots() -> list[Path]:
    roots = [ROOT / "common" / COMMON, *(ROOT / name / name for name in METHODS)]
    return [root for root in roots if root.is_dir()]


@pytest.mark.parametrize("package_root", package_roots(), ids=lambda root: root.name)
def test_imports_of_package(package_root):
    files = sorted(package_root.rglob("*.py"))
    assert files
    found = [text for path in files for text in violations(path, package_root)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("place", "source", "num_found"),
    [
        ("stcn/stcn/model/net.py", "import torch\nfrom torch import nn\nimport math", 0),
        ("stcn/stcn/model/net.py", "from stcn.model.parts import Block\nfrom . import parts", 0),
        ("stcn/stcn/model/net.py", "from ..losses import loss\nimport stcn.ops.gather", 0),
        ("stcn/stcn/losses.py", "from stcn.model import net", 0),
        ("stcn/stcn/model/net.py", "from vidseg_common import masks", 1),
        ("stcn/stcn/model/net.py", "import numpy as np", 1),
        ("stcn/stcn/model/net.py", "def f():\n    from pathlib import Path", 1),
        ("stcn/stcn/model/net.py", "from ..engine import train\nfrom stcn import config", 2),
        ("stcn/stcn/ops/gather.py", "import os, subprocess", 2),
        ("stcn/stcn/ops/native.py", "import os, torch, vidseg_common", 1),
        ("stcn/stcn/ops/gpu.py", "import torch, triton\nimport numpy", 1),
        ("stcn/stcn/ops/gather.py", "import triton", 1),
        ("stcn/stcn/losses/focal.py", "from scipy import optimize", 1),
        ("stcn/stcn/engine.py", "import numpy\nfrom vidseg_common import masks", 0),
        ("stcn/stcn/engine.py", "from devis.model import attention\nimport stmask", 2),
        ("common/vidseg_common/report.py", "import stcn", 1),
        ("common/vidseg_common/report.py", "from vidseg_common import masks", 0),
    ],
)
def test_the_rule_itself(tmp_path, place, source, num_found):
    path = tmp_path / place
    path.parent.mkdir(parents=True)
    path.write_text(source)
    package_root = tmp_path.joinpath(*Path(place).parts[:2])
    assert len(violations(path, package_root)) == num_found
