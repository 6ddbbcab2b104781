"""Builds the images for real and tries each, without a container engine: `make docker-check`.

A small Debian with Python takes the place of the base image, so that no registry of images is
needed, and buildah that of the engine; everything else is what `make docker-METHOD` does: the same
Dockerfile and target, the same pinned torch. In each image the method's command line answers
`--help`, and one recorded case of the original is compared, as the image's user. Whatever was built
is removed in the end. Needs Debian or Ubuntu and root, and tens of GB of disk while it runs.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: Method to the recorded case that is compared in its image: one that takes seconds.
CASES = {
    "stcn": "propagate_one_object",
    "stemseg": "decoder_embedding_xyff_8",
    "stmask": "op_dcnv2_s1",
    "devis": "op_msda_a",
    "vatrack": "roi_align",
}
TOOLS = ("buildah", "debootstrap")
BASE = "localhost/vidseg-check-base"
#: Free disk in GB that a check needs, by storage driver: vfs copies an image for every layer.
DISK_NEEDED = {"overlay": 20, "vfs": 30}
#: Settings of pip that lead to packages, and may name folders or files of this machine.
PIP_SETTINGS = ("index-url", "extra-index-url", "find-links", "cert", "trusted-host", "timeout")


class CheckError(Exception):
    """Something is missing here, or an image is not as it should be."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; status 1 and one line when something is wrong."""
    args = parse(argv)
    folder = None
    try:
        need_tools()
        folder = Path(tempfile.mkdtemp(prefix="vidseg-docker-check-", dir=args.folder))
        check(args, folder)
    except CheckError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    finally:
        if folder is not None:
            remove(folder)
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="docker/check.py", description=str(__doc__).split("\n\n")[0]
    )
    add = parser.add_argument
    add("methods", nargs="*", default=list(CASES), metavar="METHOD", help="images to check")
    add("--target", choices=("gpu", "cpu"), default="gpu", help="stage of the Dockerfiles")
    add("--suite", default=None, help="release of Debian for the base; default: the one of here")
    add("--mirror", default=None, help="where debootstrap fetches it; default: its own")
    add("--driver", choices=tuple(DISK_NEEDED), help="of the storage; default: overlay, else vfs")
    add("--folder", type=Path, default=None, help="for everything temporary; default: TMPDIR")
    args = parser.parse_args(argv)
    unknown = sorted(set(args.methods) - set(CASES))
    if unknown:
        parser.error(f"unknown method {unknown[0]!r}; there are {', '.join(CASES)}")
    return args


def need_tools() -> None:
    """Installs what is missing where that is possible.

    Raises:
        CheckError: it is not; the message says what to install.
    """
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if os.geteuid() != 0:
        raise CheckError("images are built as root here: sudo make docker-check")
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise CheckError(f"{' and '.join(missing)} must be installed; without apt-get, by hand")
    say(f"installing {' and '.join(missing)}")
    for words in (["update"], ["install", "--yes", "--no-install-recommends", *missing, "crun"]):
        run(["apt-get", "-qq", *words], f"apt-get {words[0]}")


def check(args: argparse.Namespace, folder: Path) -> None:
    """Builds and tries the images.

    Raises:
        CheckError: too little disk, a step failed, or an image is not as it should be.
    """
    driver = args.driver or ("overlay" if overlay_works(folder) else "vfs")
    free = shutil.disk_usage(folder).free / 1e9
    if free < DISK_NEEDED[driver]:
        raise CheckError(
            f"{folder}: {free:.0f} GB are free and {DISK_NEEDED[driver]} are needed with the"
            f" storage driver {driver}; name another folder with ARGS='--folder FOLDER'"
        )
    store = Storage(folder, driver)
    say(f"storage driver {driver}, {free:.0f} GB free")
    make_base(store, args.suite, args.mirror)
    for method in args.methods:
        check_method(store, method, args.target)
    say(f"{len(args.methods)} images built and tried")


@dataclass(frozen=True)
class Storage:
    """Images and containers in a folder of their own, away from those of this machine."""

    folder: Path
    driver: str

    def buildah(self, command: str, *words: str | Path) -> str:
        """What a command of buildah prints.

        Raises:
            CheckError: it failed; with the end of its output.
        """
        scratch = self.folder / "tmp"
        scratch.mkdir(exist_ok=True)
        return run(
            [
                *("buildah", "--root", self.folder / "storage", "--runroot", self.folder / "run"),
                *("--storage-driver", self.driver, command, *words),
            ],
            f"buildah {command}",
            BUILDAH_ISOLATION="chroot",
            TMPDIR=str(scratch),
        )

    def size(self, image: str) -> str:
        """Size of an image, as buildah writes it."""
        return self.buildah("images", "--format", "{{.Size}}", image).strip()


def make_base(store: Storage, suite: str | None, mirror: str | None) -> None:
    """The image that takes the place of BASE: Debian with Python."""
    start = time.monotonic()
    tree = store.folder / "base"
    suite = suite or suite_here()
    packages = "--include=ca-certificates,python3,python3-venv"
    source = [mirror] if mirror else []
    run(["debootstrap", "--variant=minbase", packages, suite, tree, *source], "debootstrap")
    container = store.buildah("from", "scratch").strip()
    store.buildah("add", "--quiet", container, tree, "/")
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    store.buildah("config", "--env", f"PATH={path}", "--cmd", "/bin/sh", container)
    store.buildah("commit", "--quiet", "--rm", container, BASE)
    remove(tree)
    say(f"base: {suite} of debootstrap, {store.size(BASE)}, {seconds(start)}")


def suite_here() -> str:
    """Code name of the release of this machine.

    Raises:
        CheckError: it has none.
    """
    text = Path("/etc/os-release").read_text(encoding="utf-8")
    found = re.search(r"^VERSION_CODENAME=(\w+)$", text, re.M)
    if not found:
        raise CheckError(
            "this machine's release has no name; give one with ARGS='--suite bookworm'"
        )
    return found[1]


def check_method(store: Storage, method: str, target: str) -> None:
    """Builds an image and tries it.

    Raises:
        CheckError: a step failed, or the image is not as it should be.
    """
    image = f"localhost/vidseg-{method}"
    start = time.monotonic()
    store.buildah(
        "build",
        *("--quiet", f"--layers={'true' if store.driver == 'overlay' else 'false'}"),
        *("--file", ROOT / "docker" / f"{method}.Dockerfile", "--target", target),
        *("--build-arg", f"BASE={BASE}", "--build-arg", f"BASE_CPU={BASE}"),
        *(*pip_settings(store.folder), "--tag", image, ROOT),
    )
    say(f"{method}: target {target} built, {store.size(image)}, {seconds(start)}")
    start = time.monotonic()
    config = json.loads(store.buildah("inspect", "--type", "image", image))["OCIv1"]["config"]
    container = store.buildah("from", image).strip()

    def inside(*words: str) -> str:
        return store.buildah("run", container, "--", *words).strip()

    entry = config["Entrypoint"]
    user = inside("id", "-u")
    wanted = {"/workspace/data", "/workspace/runs", "/workspace/cache"}
    expect(user not in ("", "0"), f"{method}: runs as user {user!r}")
    expect(wanted < set(config["Volumes"]), f"{method}: has the volumes {config['Volumes']}")
    for volume in sorted(config["Volumes"]):
        inside("touch", f"{volume}/written")
    usage = inside(*entry, "--help").splitlines()[0]
    expect(usage.startswith(f"usage: {method} "), f"{method}: --help begins with {usage!r}")
    versions = "import torch, torchvision as v; print(torch.__version__, v.__version__)"
    pair = inside("python", "-c", versions)
    compared = inside(*entry, "parity", "--only", CASES[method]).splitlines()[-1]
    expect("PASS" in compared, f"{method}: {compared}")
    say(f"{method}: user {user}; torch and torchvision {pair}; {usage}; {seconds(start)}")
    say(f"{method}: {compared}")
    store.buildah("rm", container)
    if store.driver == "vfs":  # with layers, this would take what the next image shares
        store.buildah("rmi", image)


def pip_settings(folder: Path) -> list[str | Path]:
    """Flags that hand the settings of pip on this machine to a build: a secret, and folders."""
    if importlib.util.find_spec("pip") is None:
        return []
    found = {}
    words = [sys.executable, "-m", "pip", "config", "list"]
    for line in run(words, "pip config list").splitlines():
        key, _, value = line.partition("=")
        name = key.rsplit(".", 1)[-1]
        if name in PIP_SETTINGS:
            found[name] = str(ast.literal_eval(value))
    secret = folder / "pip.conf"
    secret.write_text("\n".join(["[global]", *(f"{k} = {v}" for k, v in found.items())]) + "\n")
    places = {place for value in found.values() for word in value.split() for place in local(word)}
    volumes = [f"--volume={place}:{place}:ro" for place in sorted(places)]
    return ["--secret", f"id=pip,src={secret}", *volumes]


def local(word: str) -> list[Path]:
    """The file or folder of this machine that a setting of pip names, if it names one."""
    path = Path(word.removeprefix("file://"))
    if not path.is_absolute() or not path.exists():
        return []
    # The pages of an index link to files that lie beside their folder.
    return [path.parent if word.startswith("file://") else path]


def overlay_works(folder: Path) -> bool:
    """Whether this machine can lay folders over each other, so that layers need no copies.

    What is mounted for the trial goes when the folder is removed.
    """
    places = {name: folder / "try" / name for name in ("lower", "upper", "work", "all")}
    for place in places.values():
        place.mkdir(parents=True)
    lower, upper, work, merged = places.values()
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    words = ["mount", "-t", "overlay", "overlay", "-o", options, str(merged)]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def remove(folder: Path) -> None:
    """Removes a folder, unless something is still mounted in it.

    Raises:
        CheckError: a mount stayed; nothing was removed, as it may show files of this machine.
    """
    for place in mounts_in(folder):
        subprocess.run(["umount", place], capture_output=True, check=False)
    left = mounts_in(folder)
    if left:
        raise CheckError(f"{left[0]} is still mounted; unmount it and remove {folder}")
    shutil.rmtree(folder)


def mounts_in(folder: Path) -> list[str]:
    """What is mounted below a folder, the innermost first."""
    lines = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    places = [line.split()[1] for line in lines]
    return [place for place in reversed(places) if Path(place).is_relative_to(folder.resolve())]


def run(words: Sequence[str | Path], name: str, **environment: str) -> str:
    """What a command prints.

    Raises:
        CheckError: it failed; with the end of its output.
    """
    done = subprocess.run(
        [str(word) for word in words],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        lines = (done.stdout + done.stderr).strip().splitlines()
        raise CheckError("\n  ".join([f"{name} failed:", *lines[-20:]]))
    return done.stdout


def expect(holds: bool, otherwise: str) -> None:
    """Raises CheckError with a text unless something holds."""
    if not holds:
        raise CheckError(otherwise)


def seconds(start: float) -> str:
    """Time since a start, for people."""
    return f"{time.monotonic() - start:.0f} s"


def say(line: str) -> None:
    """Prints at once, as the steps take minutes."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
