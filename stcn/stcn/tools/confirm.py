"""The question before something large is fetched."""

from __future__ import annotations

import sys


def say(line: str = "") -> None:
    """Write a line for the user."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def confirmed(question: str, *, yes: bool) -> bool:
    """Ask the user to type y, and return whether that happened.

    Args:
        question: what is about to be done.
        yes: the user agreed beforehand; nothing is asked.
    """
    if yes:
        return True
    say(question)
    sys.stdout.write("Type y to go on: ")
    sys.stdout.flush()
    answer = sys.stdin.readline().strip().lower()
    if answer == "y":
        return True
    say("Nothing was done.")
    return False
