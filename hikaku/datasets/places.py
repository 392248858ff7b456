"""Lines and columns of an upload, and the errors that name them."""

from dataclasses import dataclass

from hikaku.errors import Fault, InvalidInput


@dataclass(frozen=True, slots=True)
class Place:
    """Where in an upload something stands; both count from 1."""

    line: int
    column: int = 1
    """Character of the line; in CSV and TSV, field of the row."""

    def after(self, text: str) -> "Place":
        """Where one stands after reading `text` from here on."""
        breaks = text.count("\n")
        if breaks:
            return Place(self.line + breaks, len(text) - text.rfind("\n"))
        return Place(self.line, self.column + len(text))

    def refuse(self, message: str) -> InvalidInput:
        """Make the error that says what is wrong here."""
        here = f"line {self.line}, column {self.column}"
        return InvalidInput(f"{here}: {message}", faults=[Fault(pointer=here, message=message)])
