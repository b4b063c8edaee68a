"""Arguments as the native part takes them, or an error that says which one is wrong and what would be accepted."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Mapping
from typing import Any


def wrong(argument: str, value: object, expected: str) -> TypeError:
    """The error for a value that is of another kind."""
    return TypeError(f"{argument}: {value!r}: expected {expected}")


def text(argument: str, value: str | None, expected: str) -> str | None:
    """A text, or nothing."""
    if value is not None and not isinstance(value, str):
        raise wrong(argument, value, expected)
    return value


def path(argument: str, value: str | os.PathLike[str] | None) -> str | os.PathLike[str] | None:
    """A path, or nothing."""
    if value is not None and not isinstance(value, str | os.PathLike):
        raise wrong(argument, value, "a path")
    return value


def whole(argument: str, value: int | None, least: int, most: int) -> int | None:
    """A whole number, also one of NumPy, or nothing."""
    if value is None:
        return None
    expected = f"a whole number from {least} to {most}"
    if isinstance(value, bool):
        raise wrong(argument, value, expected)
    try:
        number = operator.index(value)
    except TypeError:
        raise wrong(argument, value, expected) from None
    if not least <= number <= most:
        raise ValueError(f"{argument}: {number}: expected {expected}")
    return number


def items(argument: str, value: Iterable[Any] | Any, expected: str) -> list[Any]:
    """Several things; a text, a path or a number is one."""
    if isinstance(value, str | os.PathLike | int | float):
        return [value]
    try:
        return list(value)
    except TypeError:
        raise wrong(argument, value, expected) from None


def texts(argument: str, value: Iterable[str] | str, expected: str) -> list[str]:
    """Several texts; one alone is one."""
    several = items(argument, value, expected)
    if not all(isinstance(one, str) for one in several):
        raise wrong(argument, value, expected)
    return several


def by_path(argument: str, value: Mapping[str, Any] | None, example: str) -> dict[str, Any] | None:
    """Values by path, or nothing."""
    if value is None:
        return None
    if not isinstance(value, Mapping) or not all(isinstance(path, str) for path in value):
        raise wrong(argument, value, f"a dict by path, such as {example}")
    return dict(value)


def refuse_both(argument: str, given: bool, other: str, also_given: bool) -> None:
    """Refuses two arguments that ask for different things, as the command does."""
    if given and also_given:
        raise ValueError(f"the argument {argument!r} cannot be used with {other!r}")


def refuse_alone(argument: str, given: bool, other: str, also_given: bool) -> None:
    """Refuses an argument that says nothing without another."""
    if given and not also_given:
        raise ValueError(f"the argument {argument!r} cannot be used without {other!r}")
