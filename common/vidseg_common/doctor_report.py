"""What the doctor finds out: facts by name, and problems with their remedies."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Section:
    """Findings about one subject.

    Attributes:
        title: the subject.
        facts: name -> what was found.
        problems: one line each, saying what is wrong and what to do.
    """

    title: str
    facts: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
