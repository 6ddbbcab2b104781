"""The categories of YouTube-VIS 2019, 2021 and OVIS, for messages and defaults.

A file brings its own list, which is the one that counts. Source: spec common section 1.4.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from vidseg_common.arguments import did_you_mean
from vidseg_common.datasets.annotations import Category
from vidseg_common.errors import UserError

__all__ = ["CATEGORY_NAMES", "category_faults", "standard_categories", "title_of"]

CategoryFault = tuple[str, str, str]
"""Which category, which field of it, and what is wrong."""


def _numbered(text: str) -> dict[int, str]:
    return dict(enumerate(text.split(), start=1))


CATEGORY_NAMES: Mapping[str, Mapping[int, str]] = {
    "ytvis2019": _numbered("""
        person giant_panda lizard parrot skateboard sedan ape dog snake monkey hand rabbit duck
        cat cow fish train horse turtle bear motorbike giraffe leopard fox deer owl surfboard
        airplane truck zebra tiger elephant snowboard boat shark mouse frog eagle earless_seal
        tennis_racket"""),
    "ytvis2021": _numbered("""
        airplane bear bird boat car cat cow deer dog duck earless_seal elephant fish flying_disc
        fox frog giant_panda giraffe horse leopard lizard monkey motorbike mouse parrot person
        rabbit shark skateboard snake snowboard squirrel surfboard tennis_racket tiger train truck
        turtle whale zebra"""),
    # "Vehical" is how the files of OVIS spell it.
    "ovis": _numbered("""
        Person Bird Cat Dog Horse Sheep Cow Elephant Bear Zebra Giraffe Poultry Giant_panda Lizard
        Parrot Monkey Rabbit Tiger Fish Turtle Bicycle Motorcycle Airplane Boat Vehical"""),
}
"""Name of every category by its number, for each format."""

_TITLES = {"ytvis2019": "YouTube-VIS 2019", "ytvis2021": "YouTube-VIS 2021", "ovis": "OVIS"}


def standard_categories(name: str) -> tuple[Category, ...]:
    """The categories of a data set in the order of their numbers.

    Args:
        name: "ytvis2019", "ytvis2021" or "ovis".

    Raises:
        UserError: another name.
    """
    if name not in CATEGORY_NAMES:
        raise UserError(
            f"no list of categories for {name!r}, only for {', '.join(CATEGORY_NAMES)}"
            f"{did_you_mean(name, CATEGORY_NAMES)}"
        )
    return tuple(Category(number, text, "object") for number, text in CATEGORY_NAMES[name].items())


def title_of(categories: Iterable[Category]) -> str | None:
    """Title of the data set whose categories these are, None where they are of no known one."""
    names = {category.id: category.name for category in categories}
    for name, standard in CATEGORY_NAMES.items():
        if names == standard:
            return _TITLES[name]
    return None


def category_faults(name: str, categories: Sequence[Category]) -> Iterator[CategoryFault]:
    """Finds where the categories of a file are not those of its benchmark.

    Files of own data may have any categories, so a list that shares less than half of its names
    with the benchmark is taken as one's own, and nothing is wrong with it. Upper and lower case
    do not count.

    Args:
        name: "ytvis2019", "ytvis2021" or "ovis".
        categories: those of the file.
    """
    standard, title = CATEGORY_NAMES[name], _TITLES[name]
    other = title_of(categories)
    if other not in (None, title):
        yield "", "categories", f"these are the categories of {other}, not of {title}"
        return
    numbers = {text.lower(): number for number, text in standard.items()}
    known = [category for category in categories if category.name.lower() in numbers]
    if 2 * len(known) < max(len(standard), len(categories)):
        return
    for category in categories:
        where, number = f"category {category.id}", numbers.get(category.name.lower())
        if number is None:
            right = standard.get(category.id)
            told = f", where {category.id} is {right}" if right else ""
            yield where, "name", f"{category.name!r} is no category of {title}{told}"
        elif number != category.id:
            yield where, "id", f"{category.name} is category {number} of {title}"
    given = {category.name.lower() for category in categories}
    ids = {category.id for category in categories}
    for number, text in standard.items():
        if text.lower() not in given and number not in ids:
            yield "", "categories", f"category {number}, {text}, of {title} is missing"
