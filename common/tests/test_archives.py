"""Unpacking archives that are good, hostile, damaged or in the way."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from vidseg_common.download import extract
from vidseg_common.errors import DownloadError

FILES = {
    "DAVIS/JPEGImages/a/00000.jpg": np.random.default_rng(0).bytes(20_000),
    "DAVIS/ImageSets/val.txt": b"a\n",
    "README": b"text",
}
KINDS = ("data.zip", "data.tar", "data.tar.gz", "data.tar.bz2", "data.tar.xz")


def pack(path: Path, files: dict[str, bytes]) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr("DAVIS/", b"")
            for name, content in files.items():
                packed.writestr(name, content)
        return path
    mode = "w:" + {".tar": "", ".gz": "gz", ".bz2": "bz2", ".xz": "xz"}[path.suffix]
    with tarfile.open(path, mode) as packed_tar:  # type: ignore[call-overload]
        folder = tarfile.TarInfo("DAVIS")
        folder.type = tarfile.DIRTYPE
        packed_tar.addfile(folder)
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            packed_tar.addfile(info, io.BytesIO(content))
    return path


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_extract(tmp_path: Path, kind: str) -> None:
    archive = pack(tmp_path / kind, FILES)
    out = tmp_path / "deep" / "out"
    assert extract(archive, out, progress=False) == [out / "DAVIS", out / "README"]
    assert tree(out) == FILES
    assert sorted(path.name for path in out.iterdir()) == ["DAVIS", "README"]


@pytest.mark.parametrize("kind", ["data.zip", "data.tar"])
def test_merges_with_what_is_there(tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    (out / "DAVIS" / "ImageSets").mkdir(parents=True)
    (out / "DAVIS" / "ImageSets" / "val.txt").write_bytes(b"older")
    (out / "DAVIS" / "ImageSets" / "train.txt").write_bytes(b"mine")
    for _ in range(2):
        extract(pack(tmp_path / kind, FILES), out, progress=False)
        assert tree(out) == {**FILES, "DAVIS/ImageSets/train.txt": b"mine"}


def test_users_own_link_to_another_disk_is_followed(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "DAVIS").symlink_to(tmp_path / "disk")
    extract(pack(tmp_path / "data.zip", FILES), tmp_path / "out", progress=False)
    assert (tmp_path / "disk" / "ImageSets" / "val.txt").read_bytes() == b"a\n"
    assert (tmp_path / "out" / "DAVIS").is_symlink()


@pytest.mark.parametrize("kind", ["data.zip", "data.tar.gz"])
@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/evil", "..\\evil", "C:\\evil", "C:/evil"]
)
def test_paths_that_lead_out_are_refused(tmp_path: Path, kind: str, name: str) -> None:
    archive = pack(tmp_path / kind, {**FILES, name: b"evil"})
    with pytest.raises(DownloadError, match="leads out of the folder"):
        extract(archive, tmp_path / "out", progress=False)
    assert list((tmp_path / "out").iterdir()) == []
    assert not (tmp_path / "evil").exists() and not Path("/evil").exists()


@pytest.mark.parametrize(
    ("kind", "what"),
    [(tarfile.SYMTYPE, "link"), (tarfile.LNKTYPE, "link"), (tarfile.FIFOTYPE, "no file")],
)
def test_links_and_devices_in_tar_are_refused(tmp_path: Path, kind: bytes, what: str) -> None:
    archive = tmp_path / "data.tar"
    with tarfile.open(archive, "w") as packed:
        info = tarfile.TarInfo("inside")
        info.type, info.linkname = kind, "/etc/passwd"
        packed.addfile(info)
    with pytest.raises(DownloadError, match=f"'inside' is .*{what}"):
        extract(archive, tmp_path / "out", progress=False)
    assert list((tmp_path / "out").iterdir()) == []


def test_links_in_zip_are_refused(tmp_path: Path) -> None:
    archive = tmp_path / "data.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        info = zipfile.ZipInfo("inside")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        packed.writestr(info, "/etc")
    with pytest.raises(DownloadError, match="'inside' is a link"):
        extract(archive, tmp_path / "out", progress=False)


@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_archives_leave_nothing(tmp_path: Path, kind: str, fraction: float) -> None:
    archive = pack(tmp_path / kind, FILES)
    size = archive.stat().st_size
    if kind == "data.tar":
        # Four headers and the contents in blocks; what follows is end mark and padding.
        size = 512 * (4 + 40 + 1 + 1)
    os.truncate(archive, int(size * fraction))
    with pytest.raises(DownloadError, match=f"{kind}.*(damaged|cut off)"):
        extract(archive, tmp_path / "out", progress=False)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("kind", ["data.zip", "data.tar.gz", "data.tar.bz2", "data.tar.xz"])
def test_changed_bytes_are_noticed(tmp_path: Path, kind: str) -> None:
    archive = pack(tmp_path / kind, FILES)
    data = bytearray(archive.read_bytes())
    data[5000:5100] = bytes(100)
    archive.write_bytes(data)
    with pytest.raises(DownloadError, match="damaged"):
        extract(archive, tmp_path / "out", progress=False)


def test_damage_in_the_middle_of_a_large_archive(tmp_path: Path) -> None:
    """Beyond what is read to find out the kind of the archive."""
    rng = np.random.default_rng(1)
    for kind in KINDS[2:]:
        archive = pack(tmp_path / kind, {f"{i}": rng.bytes(400_000) for i in range(6)})
        data = bytearray(archive.read_bytes())
        middle = len(data) * 3 // 4
        data[middle : middle + 100] = bytes(100)
        archive.write_bytes(data)
        with pytest.raises(DownloadError, match="damaged"):
            extract(archive, tmp_path / "out", progress=False)


def test_tar_that_ends_with_a_zip_is_a_tar(tmp_path: Path) -> None:
    inner = pack(tmp_path / "inner.zip", {"a": b"1"}).read_bytes()
    extract(pack(tmp_path / "data.tar", {"inner.zip": inner}), tmp_path / "out", progress=False)
    assert tree(tmp_path / "out") == {"inner.zip": inner}


def test_file_and_folder_of_one_name(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "README").mkdir(parents=True)
    with pytest.raises(DownloadError, match="README is in the way"):
        extract(pack(tmp_path / "data.zip", FILES), out, progress=False)
    assert [path.name for path in out.iterdir()] == ["README"]


def test_no_archive(tmp_path: Path) -> None:
    (tmp_path / "text.zip").write_text("not an archive")
    with pytest.raises(DownloadError, match="no zip or tar"):
        extract(tmp_path / "text.zip", tmp_path / "out", progress=False)
    with pytest.raises(DownloadError, match="no such archive"):
        extract(tmp_path / "nothing.zip", tmp_path / "out", progress=False)


def test_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vidseg_common import archives

    monkeypatch.setattr(archives.shutil, "disk_usage", lambda _: type("U", (), {"free": 1}))
    with pytest.raises(DownloadError, match="not enough room"):
        extract(pack(tmp_path / "data.zip", FILES), tmp_path / "out", progress=False)


def test_permissions_are_those_of_new_files(tmp_path: Path) -> None:
    extract(pack(tmp_path / "data.tar", FILES), tmp_path / "out", progress=False)
    (tmp_path / "fresh").mkdir()
    assert (tmp_path / "out" / "DAVIS").stat().st_mode == (tmp_path / "fresh").stat().st_mode
