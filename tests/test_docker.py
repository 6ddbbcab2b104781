"""The images: pins, users, volumes and what goes into them, read off their files."""

import fnmatch
import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
DOCKER = ROOT / "docker"
METHODS = ("stcn", "stemseg", "stmask", "devis", "vatrack")
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text("utf-8"))
Instructions = list[tuple[str, str]]


def load_check() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docker_check", DOCKER / "check.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


check = load_check()


def instructions(method: str) -> Instructions:
    text = (DOCKER / f"{method}.Dockerfile").read_text("utf-8")
    text = re.sub(r"^#.*\n", "", text, flags=re.M).replace("\\\n", " ")
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line.strip()]
    return [(word, " ".join(rest.split())) for word, rest in lines]


def stages(method: str) -> dict[str, Instructions]:
    """Name of a stage to its instructions, FROM among them."""
    found: dict[str, Instructions] = {}
    for word, rest in instructions(method):
        if word == "FROM":
            found[rest.split(" AS ")[1]] = []
        if found:
            found[list(found)[-1]].append((word, rest))
    return found


def arguments(method: str) -> dict[str, str]:
    """Build arguments and their defaults, as given before the first stage."""
    pairs = []
    for word, rest in instructions(method):
        if word == "FROM":
            break
        assert word == "ARG"
        pairs.append(rest.split("=", 1))
    return dict(pairs)


def pins(path: Path) -> dict[str, str]:
    """Package to the version that Python 3.12 gets."""
    found = {}
    for line in path.read_text("utf-8").splitlines():
        if not line.strip() or line.startswith(("#", "-r")):
            continue
        wanted = Requirement(line)
        if wanted.marker is None or wanted.marker.evaluate({"python_version": "3.12"}):
            (version,) = wanted.specifier
            assert version.operator == "==" and "*" not in version.version, line
            found[wanted.name.lower()] = version.version
    return found


def is_left_out(name: str) -> bool:
    """Whether .dockerignore keeps a path out; the last pattern that fits decides, as in Docker."""
    parts = name.split("/")
    ancestors = ["/".join(parts[: n + 1]) for n in range(len(parts))]
    left_out = False
    for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines():
        if not line or line[0] == "#":
            continue
        pattern = line.removeprefix("!").removeprefix("**/")
        names = parts if "**/" in line else [a for a in ancestors if fits(a, pattern)]
        if any(fnmatch.fnmatchcase(n, pattern) for n in names):
            left_out = not line.startswith("!")
    return left_out


def fits(name: str, pattern: str) -> bool:
    """Whether a pattern fits, of which a star stays within one folder."""
    return name.count("/") == pattern.count("/") and fnmatch.fnmatchcase(name, pattern)


@pytest.mark.parametrize("method", METHODS)
def test_bases_are_arguments_pinned_by_version(method: str) -> None:
    given = arguments(method)
    for name in ("BASE", "BASE_CPU"):
        image, _, tag = given[name].rpartition(":")
        assert image and re.match(r"\d+\.\d+", tag), given[name]
    assert "cuda" in given["BASE"] and "runtime" in given["BASE"]
    first = {stage: steps[0][1] for stage, steps in stages(method).items()}
    assert first == {"cpu": "${BASE_CPU} AS cpu", "gpu": "${BASE} AS gpu"}
    assert list(first)[-1] == "gpu"  # what is built when no target is named


@pytest.mark.parametrize("method", METHODS)
def test_targets_differ_in_their_base_only(method: str) -> None:
    found = stages(method)
    assert found["cpu"][1:] == found["gpu"][1:]


@pytest.mark.parametrize("method", METHODS)
def test_images_have_the_versions_that_are_tested(method: str) -> None:
    given = arguments(method)
    tested = pins(ROOT / "requirements" / "torch.txt")
    assert (given["TORCH"], given["TORCHVISION"]) == (tested["torch"], tested["torchvision"])
    own = pins(DOCKER / "requirements" / f"{method}.txt")
    assert pins(ROOT / "requirements" / "base.txt").items() <= own.items()
    build = pins(ROOT / "requirements" / "dev.txt")
    assert own["hatchling"] == build["hatchling"]
    assert "torch" not in own  # its version and index are arguments


@pytest.mark.parametrize("method", METHODS)
def test_an_image_runs_its_method_as_somebody_without_rights(method: str) -> None:
    steps = stages(method)["gpu"]
    last = dict(steps)
    assert int(last["USER"]) > 0
    assert json.loads(last["ENTRYPOINT"]) == [method]
    weights = "saves" if method in ("stcn", "stemseg") else "weights"
    wanted = {f"{last['WORKDIR']}/{name}" for name in ("data", "runs", weights)}
    assert wanted < set(json.loads(last["VOLUME"]))
    assert last["RUN"] == f"sh /opt/build/install.sh packages {method}"
    assert [word for word, _ in steps].index("USER") > max(
        i for i, (word, _) in enumerate(steps) if word in ("RUN", "COPY")
    )


@pytest.mark.parametrize("method", METHODS)
def test_what_is_copied_exists_and_is_let_in(method: str) -> None:
    sources = [rest.split()[0] for word, rest in stages(method)["gpu"] if word == "COPY"]
    assert f"docker/requirements/{method}.txt" in sources and method in sources
    assert not {*METHODS, "docker", "."} - {method} & set(sources)
    for source in sources:
        assert (ROOT / source).exists() and not is_left_out(source), source


def test_steps_of_the_installer_exist() -> None:
    script = (DOCKER / "install.sh").read_text("utf-8")
    known = set(re.findall(r"^(\w+)\(\) \{", script, re.M))
    used = {
        step
        for method in METHODS
        for _, rest in instructions(method)
        for step in re.findall(r"install\.sh (\w+)", rest)
    }
    assert used == {"system", "torch", "requirements", "debian", "packages"} and used <= known


def test_no_file_names_a_host() -> None:
    for path in [*DOCKER.rglob("*"), ROOT / ".dockerignore"]:
        if path.is_file() and path.suffix != ".pyc":
            text = path.read_text("utf-8")
            assert not re.search(r"(https?|ftp)://|\b\w+\.(org|com|io|net)\b", text), path


@pytest.mark.parametrize(
    ("name", "left_out"),
    [
        *((name, True) for name in (".git", ".git/config", ".venv", ".venv/bin/python", "runs/a")),
        *((name, True) for name in ("saves/stcn.pth", "weights/x.pth", "data/DAVIS", "docs/x.md")),
        *((name, True) for name in ("stcn/tests/unit/test_a.py", "common/tests/test_rle.py")),
        *((name, True) for name in ("stcn/saves/stcn.pth", "stcn/stcn/__pycache__/a.pyc")),
        *((name, True) for name in ("docker/compose.yaml", "docker/check.py", ".env")),
        *((name, False) for name in ("stcn/stcn/cli.py", "stcn/tests/parity/records/cases.json")),
        *((name, False) for name in ("stcn/stcn/weights/stcn_demo.safetensors",)),
        *((name, False) for name in ("stemseg/configs/davis_1.yaml", "stmask/web/index.html")),
        *((name, False) for name in ("common/pyproject.toml", "docker/install.sh")),
        *((name, False) for name in ("docker/requirements/stcn.txt", "vatrack/tools/test.py")),
    ],
)
def test_what_goes_into_an_image(name: str, left_out: bool) -> None:
    assert is_left_out(name) == left_out


def test_compose_has_the_five_methods() -> None:
    assert sorted(COMPOSE["services"]) == sorted(METHODS)
    for method, service in COMPOSE["services"].items():
        build = service["build"]
        assert build["dockerfile"] == f"docker/{method}.Dockerfile"
        assert (DOCKER / build["context"]).resolve() == ROOT
        assert build["target"] == "${TARGET:-gpu}"
        given = arguments(method)
        for name, value in build["args"].items():
            assert value == f"${{{name}:-{given[name]}}}"
        shown = {re.findall(r"/workspace/\w+", volume)[0] for volume in service["volumes"]}
        assert set(json.loads(dict(stages(method)["gpu"])["VOLUME"])) <= shown


def test_every_method_has_a_recorded_case_to_try() -> None:
    assert tuple(check.CASES) == METHODS
    for method, name in check.CASES.items():
        records = ROOT / method / "tests" / "parity" / "records" / "cases.json"
        cases = json.loads(records.read_text("utf-8"))["cases"]
        assert name in [case["name"] for case in cases]


def test_check_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check.os, "geteuid", lambda: 1000)
    assert check.main(["stcn"]) == 1
    assert (
        capsys.readouterr().err == "error: images are built as root here: sudo make docker-check\n"
    )
    monkeypatch.setattr(check.os, "geteuid", lambda: 0)
    monkeypatch.setattr(check.shutil, "which", lambda name: None)
    with pytest.raises(check.CheckError, match="buildah and debootstrap must be installed"):
        check.need_tools()
    with pytest.raises(SystemExit):
        check.parse(["stcm"])


def test_check_needs_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(check.DISK_NEEDED, "vfs", 10**9)
    with pytest.raises(check.CheckError, match="GB are free and 1000000000 are needed"):
        check.check(check.parse(["--driver", "vfs"]), tmp_path)


def test_settings_of_pip_go_in_as_a_secret_with_the_folders_they_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, wheels = tmp_path / "index" / "simple", tmp_path / "wheels"
    index.mkdir(parents=True)
    wheels.mkdir()
    listed = (
        f"global.extra-index-url='file://{index}'\nglobal.timeout='9'\nuser.name='x'\n"
        f":env:.find-links='{wheels} /no/such/folder'\n"
    )
    monkeypatch.setattr(check, "run", lambda *_: listed)
    flags = [str(flag) for flag in check.pip_settings(tmp_path)]
    secret = tmp_path / "pip.conf"
    assert secret.read_text("utf-8") == (
        f"[global]\nextra-index-url = file://{index}\ntimeout = 9\n"
        f"find-links = {wheels} /no/such/folder\n"
    )
    assert flags == [
        *("--secret", f"id=pip,src={secret}"),
        *(f"--volume={place}:{place}:ro" for place in (index.parent, wheels)),
    ]


def test_nothing_is_removed_while_something_is_mounted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "storage").mkdir()
    monkeypatch.setattr(check, "mounts_in", lambda _: [str(tmp_path / "storage")])
    monkeypatch.setattr(check.subprocess, "run", lambda *_, **__: None)
    with pytest.raises(check.CheckError, match="is still mounted"):
        check.remove(tmp_path)
    assert (tmp_path / "storage").is_dir()
