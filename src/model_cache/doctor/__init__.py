"""Does this root work here? Everything that the rest relies on, tried on its file system and with two processes.

`examine` gives a list of `Check`s. What is tried is apart from what it means: each trial gathers what happened, and a
pure function judges it.
"""

from .check import Check, Status
from .examination import Report, examine

__all__ = ["Check", "Report", "Status", "examine"]
