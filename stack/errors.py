"""The error tree of the stack.

* StackError            the message says what is wrong with this machine or folder, and the mend
  + AlreadyRunningError   another stack holds this folder
  + SourceError           one source of a model's weights did not give the file; try the next
"""


class StackError(Exception):
    """Something about this machine or folder is in the way."""


class AlreadyRunningError(StackError):
    """Another stack holds this folder."""


class SourceError(StackError):
    """One source of a model's weights did not give the file."""
