import posixpath
import re

from hypothesis import given
from hypothesis import strategies as st

from workers.tracking.names import distinct, key_part, key_parts

MLFLOW_TAKES = re.compile(r"^[/\w.\- :]*$")
"""What MLflow 3.17 allows in a key, besides that it is no path to another one."""


@given(st.text(max_size=300))
def test_every_name_gives_a_key_that_mlflow_takes(name):
    key = f"{key_part(name)}/mean"
    assert MLFLOW_TAKES.match(key)
    assert posixpath.normpath(key) == key
    assert not key.startswith(("/", ".."))
    assert len(key) <= 250


@given(st.lists(st.text(max_size=5), max_size=8, unique=True))
def test_different_names_never_share_a_key(names):
    parts = key_parts(names)
    assert len({part.casefold() for part in parts}) == len(names)


def test_japanese_names_stay_and_decomposed_letters_are_composed():
    assert key_part("正解率 か\u3099") == "正解率 が"


def test_what_mlflow_refuses_becomes_an_underscore():
    assert key_part("a/b👍") == "a_b_"
    assert key_parts(["👍", "👎", "_ 2"]) == ["_", "_ 2", "_ 2 2"]


def test_names_that_differ_in_case_alone_are_numbered():
    assert distinct(["EM", "em"]) == ["EM", "em 2"]
