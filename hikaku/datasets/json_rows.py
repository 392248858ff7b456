"""JSON Lines and JSON arrays, read one object at a time."""

import json
import re
from collections.abc import Iterator

from hikaku.datasets import diagnosis
from hikaku.datasets.encodings import foreign_byte
from hikaku.datasets.places import Place
from hikaku.datasets.rows import MAX_ROW_BYTES, Columns, SourceRow, row_of_json, too_large
from hikaku.errors import InvalidInput

_JSON = json.JSONDecoder(parse_int=str)  # Python's int refuses more than 4,300 digits
_LONGEST_WORD = len('"\\uD83D\\uDE00"')
"""A text that was cut off shows its fault no further than this from its end."""

_BLANK = re.compile(r"[ \t\r\n]*+")
_UTF_8_MARK = b"\xef\xbb\xbf"


def rows_of_lines(chunks: Iterator[bytes]) -> Iterator[SourceRow]:
    """Read UTF-8 JSON Lines; blank lines are passed over."""
    columns = Columns()
    number = 0
    for line_number, line in enumerate(_lines(chunks), start=1):
        if not line or line.isspace():
            continue
        place = Place(line_number)
        if len(line) > MAX_ROW_BYTES:
            raise place.refuse(too_large())
        row = row_of_json(number, line)
        if row is None:
            raise _explained(line, place)
        _count(columns, row, place)
        yield row
        number += 1


def rows_of_array(texts: Iterator[str]) -> Iterator[SourceRow]:
    """Read one JSON array of objects, without ever holding the whole of it."""
    columns = Columns()
    for number, (place, text) in enumerate(_elements(texts)):
        written = text.encode(errors="surrogatepass")
        if len(written) > MAX_ROW_BYTES:
            raise place.refuse(too_large())
        row = row_of_json(number, written)
        if row is None:
            raise _explained(written, place)
        _count(columns, row, place)
        yield row


def _count(columns: Columns, row: SourceRow, place: Place) -> None:
    try:
        columns.add(row.data)
    except ValueError as error:
        raise place.refuse(str(error)) from error


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    first = True
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        if first and lines:
            lines[0] = lines[0].removeprefix(_UTF_8_MARK)
            first = False
        yield from lines
        if len(rest) > MAX_ROW_BYTES:
            break
    yield rest.removeprefix(_UTF_8_MARK) if first else rest


def _explained(written: bytes, place: Place) -> InvalidInput:
    try:
        text = written.decode()
    except UnicodeDecodeError as error:
        before = written[: error.start].decode()
        return place.after(before).refuse(foreign_byte(error))
    fault = diagnosis.find(text) or diagnosis.FaultAt(0, "not a JSON object")
    return place.after(text[: fault.position]).refuse(fault.message)


class _Window:
    """The part of a text that is being looked at; grows at its end, forgets at its beginning."""

    def __init__(self, texts: Iterator[str]) -> None:
        self._texts = texts
        self.text = ""
        self.start = 0
        """Index in `text` of the first character that is not forgotten."""
        self.place = Place(1)
        """Where that character stands."""

    def grow(self) -> bool:
        """Read on; False at the end."""
        more = next(self._texts, None)
        self.text, self.start = self.text[self.start :] + (more or ""), 0
        return more is not None

    def drop(self, length: int) -> None:
        """Forget the first characters and the blanks after them."""
        self._go_to(_end_of_blank(self.text, self.start + length))
        while self.start == len(self.text) and self.grow():
            self._go_to(_end_of_blank(self.text, self.start))

    def _go_to(self, end: int) -> None:
        self.place = self.place.after(self.text[self.start : end])
        self.start = end

    @property
    def next_character(self) -> str:
        """The first character that is not forgotten; '' at the end."""
        return self.text[self.start : self.start + 1]

    @property
    def rest(self) -> str:
        """All that was read and is not forgotten."""
        return self.text[self.start :]

    def __len__(self) -> int:
        return len(self.text) - self.start


def _end_of_blank(text: str, start: int) -> int:
    blank = _BLANK.match(text, start)
    return blank.end() if blank else start


def _elements(texts: Iterator[str]) -> Iterator[tuple[Place, str]]:
    """Cut the array into the texts of its elements, each with the place where it begins."""
    window = _Window(texts)
    window.drop(0)
    if window.next_character != "[":
        message = "an array of objects is expected: [{...}, ...]; for an object a line use jsonl"
        raise window.place.refuse(message)
    window.drop(1)
    more = window.next_character != "]"
    while more:
        length = _length_of_object(window)
        yield window.place, window.text[window.start : window.start + length]
        window.drop(length)
        more = window.next_character == ","
        if more:
            window.drop(1)
    _check_end(window)


def _check_end(window: _Window) -> None:
    if window.next_character != "]":
        raise window.place.refuse("a comma, or the ] that ends the array, is expected here")
    window.drop(1)
    if window.next_character:
        raise window.place.refuse("the array has ended; remove what follows")


def _length_of_object(window: _Window) -> int:
    """Find where the object that begins the window ends, reading on as far as needed."""
    while True:
        try:
            return _JSON.raw_decode(window.text, window.start)[1] - window.start
        except (ValueError, RecursionError) as error:
            if len(window) <= MAX_ROW_BYTES and window.grow():
                continue
            raise _not_an_object(window) from error


def _not_an_object(window: _Window) -> InvalidInput:
    text = window.rest[:MAX_ROW_BYTES]
    fault = diagnosis.find(text) or diagnosis.FaultAt(0, "not a JSON object")
    is_cut = fault.message == diagnosis.UNTERMINATED or fault.position > len(text) - _LONGEST_WORD
    if len(window) > MAX_ROW_BYTES and is_cut:
        return window.place.refuse(too_large())
    return window.place.after(text[: fault.position]).refuse(fault.message)
