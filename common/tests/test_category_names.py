"""The categories of a file against those of its benchmark."""

import json
from pathlib import Path

import pytest
from cli_data import run

from vidseg_common.datasets.annotations import Category
from vidseg_common.datasets.category_names import (
    CATEGORY_NAMES,
    category_faults,
    standard_categories,
)

FAULTS = {
    "missing": (lambda c: c[:-2] + c[-1:], ["categories: category {n}, {name}, of {t} is missing"]),
    "wrong name": (
        lambda c: [*c[:-2], Category(c[-2].id, "unicorn"), c[-1]],
        ["category {n}, name: 'unicorn' is no category of {t}, where {n} is {name}"],
    ),
    "another": (
        lambda c: [*c, Category(99, "unicorn")],
        ["category 99, name: 'unicorn' is no category of {t}"],
    ),
    "wrong id": (
        lambda c: [*c[:-2], Category(77, c[-2].name), c[-1]],
        ["category 77, id: {name} is category {n} of {t}"],
    ),
}
TITLES = {"ytvis2019": "YouTube-VIS 2019", "ytvis2021": "YouTube-VIS 2021", "ovis": "OVIS"}


def told(name: str, categories: list[Category]) -> list[str]:
    faults = category_faults(name, categories)
    return [f"{', '.join(filter(None, (w, field)))}: {text}" for w, field, text in faults]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", CATEGORY_NAMES)
def test_faults(name: str, fault: str) -> None:
    right = list(standard_categories(name))
    change, expected = FAULTS[fault]
    words = {"n": right[-2].id, "name": right[-2].name, "t": TITLES[name]}
    assert told(name, change(right)) == [text.format(**words) for text in expected]


@pytest.mark.parametrize("name", CATEGORY_NAMES)
def test_nothing_is_wrong_with_the_list_itself_or_with_own_ones(name: str) -> None:
    right = list(standard_categories(name))
    assert told(name, right) == []
    assert told(name, right[::-1]) == []
    assert told(name, [Category(c.id, c.name.upper()) for c in right]) == []
    assert told(name, []) == told(name, [Category(1, "person"), Category(2, "car")]) == []
    assert told(name, right[:8]) == []


def test_the_list_of_another_benchmark() -> None:
    newer = list(standard_categories("ytvis2021"))
    expected = "categories: these are the categories of YouTube-VIS 2021, not of YouTube-VIS 2019"
    assert told("ytvis2019", newer) == [expected]


def test_validate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "train.json"
    categories = [vars(category) for category in standard_categories("ovis")]
    content = {"videos": [], "categories": categories[:-1], "annotations": []}
    path.write_text(json.dumps(content))
    assert run("validate", path, "--format", "ovis") == 2
    message = "train.json: categories: category 25, Vehical, of OVIS is missing"
    assert message in capsys.readouterr().out
    assert run("info", path) == 0  # read it can be
    path.write_text(json.dumps({**content, "categories": categories}))
    assert run("validate", path) == 0
    assert run("validate", path, "--format", "ytvis2021") == 2
    assert "categories of OVIS, not of YouTube-VIS 2021" in capsys.readouterr().out
