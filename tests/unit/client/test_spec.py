from pathlib import Path
from typing import cast

import pytest
from hikaku_client.errors import Fault, InvalidRequest, SpecError
from hikaku_client.spec import load

GOOD = """\
name: 色
prompt: "{{object}}は何色ですか?"
rows:
  - {object: りんご, expected: 赤}
endpoints: [a, b]
scorers: [contains]
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "spec.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def complaint(folder: Path, text: str) -> str:
    with pytest.raises(SpecError) as caught:
        load(write(folder, text))
    return str(caught.value).replace(f"{folder}/", "")


def test_shorthands_are_written_out(tmp_path):
    assert load(write(tmp_path, GOOD)).spec == {
        "name": "色",
        "prompt": {"template": "{{object}}は何色ですか?"},
        "rows": [{"object": "りんご", "expected": "赤"}],
        "endpoints": ["a", "b"],
        "scorers": [{"type": "contains"}],
    }


def test_a_list_of_messages_is_a_prompt(tmp_path):
    text = GOOD.replace(
        '"{{object}}は何色ですか?"', "[{role: system, content: 一語で}, {role: user, content: x}]"
    )
    assert load(write(tmp_path, text)).spec["prompt"] == {
        "messages": [{"role": "system", "content": "一語で"}, {"role": "user", "content": "x"}]
    }


def test_words_that_old_yaml_reads_as_something_else_stay_words(tmp_path):
    words = "{object: x, a: no, b: on, c: 2026-01-01, d: 12:30, e: 007, f: 1_000, g: 0x10}"
    text = GOOD.replace("{object: りんご, expected: 赤}", words) + "reuse: off\n"
    spec = load(write(tmp_path, text)).spec
    assert spec["reuse"] == "off"
    (row,) = cast("list[object]", spec["rows"])
    assert row == {
        "object": "x",
        "a": "no",
        "b": "on",
        "c": "2026-01-01",
        "d": "12:30",
        "e": "007",
        "f": "1_000",
        "g": "0x10",
    }


def test_numbers_and_truth_are_what_they_are(tmp_path):
    row = "{object: x, a: 1, b: -2.5, c: 1e3, d: true, e: null, f: [1, {g: .5}]}"
    spec = load(write(tmp_path, GOOD.replace("{object: りんご, expected: 赤}", row))).spec
    values = {"a": 1, "b": -2.5, "c": 1000.0, "d": True, "e": None, "f": [1, {"g": 0.5}]}
    assert spec["rows"] == [{"object": "x", **values}]


def test_anchors_may_repeat_a_part(tmp_path):
    text = GOOD.replace("  - {object", "  - &one {object") + "tags: {a: x}\n"
    text = text.replace("endpoints", "  - {<<: *one, object: 空}\nendpoints")
    rows = load(write(tmp_path, text)).spec["rows"]
    assert isinstance(rows, list)
    assert rows[1] == {"object": "空", "expected": "赤"}


@pytest.mark.parametrize(
    ("old", "new", "place", "message"),
    [
        ("endpoints:", "endpoint:", "5:1", "unknown key 'endpoint'; did you mean 'endpoints'?"),
        ("name: 色", "name: 色\nname: 形", "2:1", "the key 'name' is there twice"),
        ("[a, b]", "a", "5:1", "endpoints is a list of names"),
        ("[a, b]", "[a, 3]", "5:16", "an endpoint is a name"),
        ("[a, b]", "[{name: a, parms: {}}]", "5:23", "did you mean 'params'?"),
        ("[contains]", "[{typ: contains}]", "6:11", "a scorer is a type"),
        ("{object: りんご, expected: 赤}", "りんご", "4:5", "a row is a mapping"),
        (
            "object: りんご",
            "objct: りんご",
            "4:5",
            "row 0 has no value for {{object}}; did you mean",
        ),
        ("object: りんご", "object:", "4:5", "row 0 has no value for {{object}}"),
        ("rows:", "dataset: {id: ds_1}\nrows:", "3:1", "exactly one of rows, rows_file, dataset"),
        ("name: 色", "repeats: twice", "1:1", "repeats is a whole number"),
        ("name: 色", "repeats: true", "1:1", "repeats is a whole number"),
        ("name: 色", "reuse: yes", "1:1", "reuse is one of off, read, write, on"),
        ("name: 色", "baseline: c", "1:1", "baseline 'c' is none of the endpoints: a, b"),
        ("name: 色", "rows_file: no.csv", "1:1", "there is no file"),
        ("name: 色", "name: [", "3:1", "belongs in quotes"),
        ("name: 色", "name: 色\n3: x", "2:1", "unknown key '3'"),
        ('"{{object}}は何色ですか?"', "{template: x, id: y}", "2:1", "exactly one of template"),
        ('"{{object}}は何色ですか?"', "[{role: bot, content: x}]", "2:11", "role is one of"),
        ('"{{object}}は何色ですか?"', "[{role: user, content: 3}]", "2:23", "content is text"),
    ],
)
def test_a_mistake_is_told_with_line_column_and_mend(tmp_path, old, new, place, message):
    assert old in GOOD
    told = complaint(tmp_path, GOOD.replace(old, new))
    assert f"spec.yaml:{place}: " in told
    assert message in told


def test_every_mistake_is_told_at_once(tmp_path):
    told = complaint(tmp_path, GOOD.replace("[a, b]", "a") + "repeats: x\npriority: y\n")
    assert [line for line in ("5:1", "7:1", "8:1") if f"spec.yaml:{line}: " in told] == [
        "5:1",
        "7:1",
        "8:1",
    ]


def test_a_missing_key_is_not_told_beside_its_misspelling(tmp_path):
    told = complaint(tmp_path, GOOD.replace("prompt:", "promt:"))
    assert "did you mean 'prompt'?" in told
    assert "missing" not in told


def test_the_mark_stands_under_wide_letters(tmp_path):
    told = complaint(tmp_path, GOOD.replace("name: 色", "tags: {色色: 1, x: {").replace("色\n", ""))
    line, mark = told.splitlines()[-2:]
    assert mark.index("^") > 0
    assert line.startswith("  ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"- a\n", "a spec is a mapping"),
        ("名: 色".encode("cp932"), "not UTF-8"),
        (b"name: a\x00b", "spec.yaml:1:8: U+0000 is not allowed"),
        (b"name: !!python/name:os.system x", "could not determine a constructor"),
    ],
)
def test_a_file_that_is_no_spec_says_why(tmp_path, content, message):
    path = tmp_path / "spec.yaml"
    path.write_bytes(content)
    with pytest.raises(SpecError) as caught:
        load(path)
    assert message in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SpecError, match=r"no\.yaml: No such file"):
        load(tmp_path / "no.yaml")


def test_a_byte_order_mark_does_no_harm(tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text(GOOD, encoding="utf-8-sig")
    assert load(path).spec["name"] == "色"


def test_a_rows_file_is_found_beside_the_spec(tmp_path):
    (tmp_path / "q.jsonl").write_text("{}\n", encoding="utf-8")
    inline = "rows:\n  - {object: りんご, expected: 赤}\n"
    file = load(write(tmp_path, GOOD.replace(inline, "rows_file: q.jsonl\n")))
    assert file.rows_file == tmp_path / "q.jsonl"
    assert "rows_file" not in file.spec


@pytest.mark.parametrize(
    ("pointer", "place"),
    [
        ("/prompt/template", "2:1"),
        ("/rows/0/object", "4:6"),
        ("/rows/0/nothing", "4:5"),
        ("/endpoints/1", "5:16"),
        ("/scorers/0/type", "6:11"),
        ("/nothing", "1:1"),
        ("", "1:1"),
    ],
)
def test_the_servers_pointers_lead_back_to_the_file(tmp_path, pointer, place):
    file = load(write(tmp_path, GOOD))
    error = InvalidRequest("no", faults=[Fault(pointer=pointer, message="wrong")])
    assert f"spec.yaml:{place}: wrong" in str(file.mapped(error))


def test_a_complaint_without_a_place_names_the_file(tmp_path):
    mapped = load(write(tmp_path, GOOD)).mapped(InvalidRequest("too many", status=422))
    assert str(mapped).endswith("spec.yaml: too many")
