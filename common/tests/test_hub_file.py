import pytest

from vidseg_common import hub_file as module
from vidseg_common.errors import DownloadError
from vidseg_common.hub_file import hub_file

URL = "https://host.example/models/resnet18-f37072fd.pth"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """torch's cache of downloads, empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def give(monkeypatch, content):
    monkeypatch.setattr(module, "download", lambda target, *, url: target.write_bytes(content))


def test_old_file_names_are_found(cache):
    old = cache / "resnet18-5c106cde.pth"
    old.write_bytes(b"x")
    assert hub_file(URL) == old


def test_fetched_file_must_have_the_digest_of_its_name(cache, monkeypatch):
    give(monkeypatch, b"foreign")
    with pytest.raises(DownloadError, match="does not begin with f37072fd"):
        hub_file(URL)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("name", ["resnet18-f37072fd.pth", "swin_large_22k.pth"])
def test_fetched_file_gets_its_name(cache, monkeypatch, name):
    give(monkeypatch, b"right")
    monkeypatch.setattr(module, "sha256_of", lambda path: "f37072fd" + "0" * 56)
    path = hub_file(f"https://host.example/{name}")
    assert path == cache / name and path.read_bytes() == b"right"
