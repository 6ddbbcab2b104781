"""Collects everything that is wrong in a file, so that one run tells all of it."""

from __future__ import annotations

from pathlib import Path

from vidseg_common.datasets.annotations import Problem
from vidseg_common.errors import DatasetError, list_problems

__all__ = ["ProblemLog"]


class ProblemLog:
    """The problems of one file, in the order they were met.

    An error keeps the file from being used; a note is what only a validation tells: the content
    is clear, but some tool may stumble over it.

    Args:
        file: the file or folder that is read.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self._errors: list[Problem] = []

    def error(self, where: str, field: str, message: str) -> None:
        """Adds what keeps the file from being used; arguments as `Problem` has them."""
        self.note(where, field, message)
        self._errors.append(self.problems[-1])

    def note(self, where: str, field: str, message: str) -> None:
        """Adds what a validation tells and a reader accepts."""
        self.problems.append(Problem(self.file, where, field, message))

    def unreadable(self, error: Exception) -> None:
        """Adds the reason why the file could not be read to its end."""
        self.error("", "", str(error).removeprefix(f"{self.file}: "))

    def raise_errors(self, what: str) -> None:
        """Raises all errors in one message, if there are any.

        Args:
            what: what the file is, for the message.

        Raises:
            DatasetError: there is an error.
        """
        if self._errors:
            lines = (str(error).removeprefix(f"{self.file}: ") for error in self._errors)
            raise DatasetError(list_problems(f"{self.file}: {what} cannot be used:", lines))
