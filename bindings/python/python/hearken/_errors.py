"""The exceptions of the package."""

from __future__ import annotations

from pathlib import Path


class HearkenError(Exception):
    """Base of all errors of hearken. Its text names file and place, what was expected and found, and what to do."""

    def __init__(
        self,
        message: str,
        *,
        stage: str | None = None,
        file: Path | None = None,
        place: str | None = None,
        problem: str | None = None,
        errno: int | None = None,
    ) -> None:
        super().__init__(message)
        self.stage = stage
        self.file = file
        self.place = place
        self.problem = message if problem is None else problem
        if errno is not None:
            setattr(self, "errno", errno)  # noqa: B010 (for type checkers OSError alone has it)


class UsageError(HearkenError, ValueError):
    """Wrong arguments of a call."""


class InputError(HearkenError):
    """A file or samples that cannot be used as they are."""


class IoError(HearkenError, OSError):
    """A refusal of the operating system: a disk that is full, a file without permission."""

    def __str__(self) -> str:
        # That of OSError would print the error number in place of the text.
        return str(self.args[0]) if self.args else ""


class MissingFileError(IoError, FileNotFoundError):
    """A file that does not exist."""
