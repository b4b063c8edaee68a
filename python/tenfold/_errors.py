"""Exceptions."""

from __future__ import annotations


class ScenarioError(ValueError):
    """What is wrong with a scenario, an override or a sweep: where, and what would be accepted.

    ``str(error)`` is ``file:line:column: message (remedy)``. Where the place is known, the lines of the file are a
    note below the traceback.
    """

    def __init__(
        self,
        message: str,
        file: str | None = None,
        line: int | None = None,
        column: int | None = None,
        remedy: str | None = None,
        excerpt: str | None = None,
    ) -> None:
        super().__init__(message, file, line, column, remedy, excerpt)
        #: What is wrong.
        self.message = message
        #: Name of the file, or ``set`` for an override.
        self.file = file
        #: Line, from 1.
        self.line = line
        #: Column in characters, from 1.
        self.column = column
        #: What would be accepted.
        self.remedy = remedy
        #: The place in the file, for a terminal.
        self.excerpt = excerpt
        if excerpt and hasattr(self, "add_note"):
            self.add_note(excerpt)

    def __str__(self) -> str:
        place = "" if self.file is None else f"{self.file}: "
        if self.line is not None:
            place = f"{self.file}:{self.line}:{self.column}: "
        remedy = "" if self.remedy is None else f" ({self.remedy})"
        return f"{place}{self.message}{remedy}"
