"""Weights in torch's own cache folder, fetched on first use."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from vidseg_common.download import download, sha256_of
from vidseg_common.errors import DownloadError

#: The same weights under the name that older torchvision releases fetched.
OLD_NAMES = {
    "resnet50-0676ba61.pth": "resnet50-19c8e357.pth",
    "resnet18-f37072fd.pth": "resnet18-5c106cde.pth",
}


def hub_file(url: str) -> Path:
    """The file of an address, from the cache where it is there.

    Args:
        url: its last part is the name in the cache; a name such as "x-0676ba61.pth" carries the
            first digits of the file's SHA-256, which are verified.

    Raises:
        DownloadError: it cannot be fetched, or what came is another file.
    """
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    name = url.rsplit("/", 1)[1]
    for present in (folder / name, folder / OLD_NAMES.get(name, name)):
        if present.is_file():
            return present
    unchecked = folder / f"{name}.unchecked"
    download(unchecked, url=url)
    digest = re.search(r"-([0-9a-f]{8})\.\w+$", name)
    if digest and not sha256_of(unchecked).startswith(digest[1]):
        unchecked.unlink()
        raise DownloadError(f"{url}: the file's sha256 does not begin with {digest[1]}")
    return unchecked.replace(folder / name)
