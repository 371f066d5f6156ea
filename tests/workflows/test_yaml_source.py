from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from admf.engine.errors import ConfigError
from admf.workflows.nodes import Node, Place, find, plain
from admf.workflows.yaml_source import MAX_FILE_BYTES, compose, read_text

HERE = Place("x.yaml", 1, 1)


def read(text: str) -> object:
    root, problems = compose(text, HERE)
    assert problems == []
    return plain(root)


def refusal(text: str) -> str:
    """Return the first mistake, whether it ends the reading or not."""
    try:
        _, problems = compose(text, HERE)
    except ConfigError as error:
        return str(error)
    return "\n".join(map(str, problems))


def file_refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        read_text(path)
    return str(caught.value).replace(str(path), "x.yaml")


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("NULL", None),
        ("nUll", "nUll"),
        ("true", True),
        ("False", False),
        ("TRUE", True),
        ("tRUE", "tRUE"),
        *((word, word) for word in ("yes", "Yes", "no", "on", "ON", "off", "y", "n")),
        ("7", 7),
        ("-7", -7),
        ("+7", 7),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("9" * 4096, "9" * 4096),
        ("1e3", 1000.0),
        ("1E-2", 0.01),
        (".5", 0.5),
        ("5.", 5.0),
        ("-1.5e+3", -1500.0),
        ("e3", "e3"),
        (".", "."),
        ("2004-08-19", "2004-08-19"),
        ("2004-08-19T09:30:00Z", "2004-08-19T09:30:00Z"),
        ("'7'", "7"),
        ('"true"', "true"),
        ("'null'", "null"),
        ("=", "="),
    ],
)
def test_scalars_follow_the_core_schema_of_yaml_1_2(written: str, value: object) -> None:
    result = read(f"a: {written}")

    assert result == {"a": value}
    assert isinstance(result, dict)
    assert type(result["a"]) is type(value)


@given(st.integers(-(2**63), 2**63 - 1))
def test_whole_numbers_read_back(number: int) -> None:
    assert read(f"a: {number}") == {"a": number}


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_read_back_to_the_last_bit(number: float) -> None:
    assert read(f"a: {number!r}") == {"a": number}


simple_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(
        st.characters(min_codepoint=0x20, max_codepoint=0xFFFD, exclude_categories=["C", "Z"])
    ),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text("abcdefgh_", min_size=1, max_size=8), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.text("abcdefgh_", min_size=1), simple_values, max_size=4))
def test_json_is_read_as_json_readers_read_it(data: dict[str, object]) -> None:
    assert read(json.dumps(data)) == data


def test_places_are_lines_and_columns_of_keys_and_values() -> None:
    root, _ = compose("# é\nä: 1\nb:\n  - x\n  - {c: ü, d:   'z'}\ne:\nf: 1\n", HERE)

    assert root.place == Place("x.yaml", 2, 1)
    assert root.keys["b"] == Place("x.yaml", 3, 1)
    places = {path: find(root, path).place for path in [("ä",), ("b", 0), ("b", 1), ("b", 1, "d")]}
    assert places == {
        ("ä",): Place("x.yaml", 2, 4),
        ("b", 0): Place("x.yaml", 4, 5),
        ("b", 1): Place("x.yaml", 5, 5),
        ("b", 1, "d"): Place("x.yaml", 5, 17),
    }
    mapping = find(root, ("b", 1))
    assert mapping is not None
    assert mapping.keys["d"] == Place("x.yaml", 5, 12)


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_lines_are_counted_alike_for_every_line_end(ending: str) -> None:
    assert refusal(ending.join(["a: 1", "b: 2", "b: 3"])).startswith("x.yaml:3:1: b: duplicate")


def test_a_place_without_lines_gives_its_name_to_all_nodes() -> None:
    root, problems = compose("{a: 1, a: !x 2}", Place("--set q"))

    assert root.value["a"].place == Place("--set q")
    assert [str(problem) for problem in problems] == [
        "--set q: a: the tag '!x' is not allowed; remove it",
        "--set q: a: duplicate key",
    ]


def test_aliases_stand_for_the_value_of_their_anchor() -> None:
    assert read("a: &x [1, {b: 2}]\nc: *x\nd: [*x, *x]") == {
        "a": [1, {"b": 2}],
        "c": [1, {"b": 2}],
        "d": [[1, {"b": 2}], [1, {"b": 2}]],
    }


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing", "---", "---\n...\n"])
def test_an_empty_text_is_null(text: str) -> None:
    assert read(text) is None


def test_a_byte_order_mark_and_a_version_directive_are_welcome(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes(b"\xef\xbb\xbf%YAML 1.2\n---\na: 1\n")

    assert read(read_text(file)) == {"a": 1}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\na: 2\n", "x.yaml:2:1: a: duplicate key; the first is on line 1"),
        ("a: {b: 1, c: 2, b: 3}", "x.yaml:1:17: a.b: duplicate key; the first is on line 1"),
        ("a: 1\n'a': 2\n", "x.yaml:2:1: a: duplicate key; the first is on line 1"),
        ("a: !!python/object:os.system x", "the tag 'tag:yaml.org,2002:python/object:os.system'"),
        ("a: !!python/object/apply:os.system [ls]", "x.yaml:1:4: a: the tag "),
        ("a: !mine {b: 1}", "x.yaml:1:4: a: the tag '!mine' is not allowed; remove it"),
        ("a: !!str 5", "x.yaml:1:4: a: the tag "),
        ("a: &x {b: 1}\nc: {<<: *x}", "x.yaml:2:5: c.<<: merge keys are not supported"),
        ("a: .nan", "x.yaml:1:4: a: must be a finite number, got nan"),
        ("a: [-.inf]", "x.yaml:1:5: a.0: must be a finite number, got -inf"),
        ("a: 1e999", "x.yaml:1:4: a: must be a finite number, got inf"),
        ("a: 9223372036854775808", "x.yaml:1:4: a: is too large"),
        ("a: " + "x" * 4097, "x.yaml:1:4: a: is longer than 4,096 characters"),
        ("? " + "x" * 4097 + "\n: 1", "xxx...: is longer than 4,096 characters"),
        ('a: "x\\0y"', "x.yaml:1:4: a: holds the control character U+0000"),
        ('a: 1\n"\\e": 1', "x.yaml:2:1: '\\x1b': holds the control character U+001B"),
        ("a: 1\n---\nb: 2\n", "x.yaml:2:1: a second document starts here"),
        ("[a]: 1", "x.yaml:1:1: a key must be a plain name"),
        ("b: {? {a: 1} : 1}", "x.yaml:1:7: b: a key must be a plain name"),
        ("a: *x", "x.yaml:1:4: a: alias '*x' has no anchor before it"),
        ("a: &x [*x]", "x.yaml:1:8: a.0: alias '*x' stands inside its own anchor"),
        ("a: &x 1\n*x : 2", "x.yaml:2:1: a key must be a plain name"),
        ("a:\n\t- 1\n", "x.yaml:2:1: a tab is used as indentation; use spaces"),
        ("a: 1\n  \tb: 2\n", "x.yaml:2:3: a tab is used as indentation; use spaces"),
        ("a: b: c", "x.yaml:1:5: is not YAML: mapping values are not allowed"),
        ("a: @x", "x.yaml:1:4: is not YAML: found character that cannot start any token (put"),
        ("a: [1, 2\nb: 3", "x.yaml:2:2: is not YAML: did not find expected ',' or ']'"),
        ("a: 'x", "x.yaml:1:4: is not YAML: found unexpected end of stream (a quote"),
        ("a: 1\nb\n", "x.yaml:2:1: is not YAML: could not find expected ':'"),
        ("%YAML 3.0\n--- a", "x.yaml:1:1: is not YAML: found incompatible YAML document"),
        ("a: 1\nb: x\0y", "x.yaml:2:5: control character U+0000 is not allowed; remove it"),
        ("a: \x07", "x.yaml:1:4: control character U+0007"),
        ("a: 1 # \u2028", "x.yaml:1:8: control character U+2028"),
        ("a: \ud800", "x.yaml:1:4: control character U+D800"),
    ],
)
def test_what_is_not_plain_yaml_is_refused_with_its_place(text: str, expected: str) -> None:
    assert expected in refusal(text)


def test_reading_goes_on_after_a_mistake_that_allows_it() -> None:
    root, problems = compose("a: !x 1\nb: .nan\na: 2\nc: 3", HERE)

    assert [problem.line for problem in problems] == [1, 2, 3]
    assert plain(root) == {"a": "1", "b": None, "c": 3}


def test_earlier_mistakes_are_kept_when_reading_ends() -> None:
    assert refusal("a: .nan\nb: *x") == (
        "x.yaml:1:4: a: must be a finite number, got nan\n"
        "x.yaml:2:4: b: alias '*x' has no anchor before it"
    )
    assert refusal("a: .nan\nb: @").splitlines()[0].endswith("must be a finite number, got nan")


@pytest.mark.parametrize(
    ("opening", "column"), [("[", 101), ("- ", 201), ("{a: ", 401), ("[a, ", 398), ("- - ", 201)]
)
def test_nesting_100_000_deep_is_refused_at_the_first_level_too_many(
    opening: str, column: int
) -> None:
    message = refusal(opening * 100_000)

    # libyaml 0.2.6 and later read ahead over brackets, up to a limit of their own
    assert message.startswith((f"x.yaml:1:{column}: ", "x.yaml:1:1001: "))
    assert message.endswith("nests deeper than 100 levels")


def test_nesting_up_to_the_limit_is_read() -> None:
    value = read("[" * 99 + "1" + "]" * 99)

    for _ in range(99):
        assert isinstance(value, list)
        (value,) = value
    assert value == 1


def test_depth_cannot_be_smuggled_in_by_aliases() -> None:
    deep = "[" * 90 + "{inner}" + "]" * 90 + "\n"
    text = "a0: &a0 " + deep.format(inner="1") + "a1: &a1 " + deep.format(inner="*a0")

    assert refusal(text) == "x.yaml:2:99: a1.0.0.0.0.0.0.0...: nests deeper than 100 levels"


def test_a_bomb_of_aliases_is_refused_before_it_goes_off() -> None:
    lines = ["a0: &a0 [" + ", ".join(["boom"] * 10) + "]"]
    lines += [f"a{n}: &a{n} [" + ", ".join([f"*a{n - 1}"] * 10) + "]" for n in range(1, 10)]

    assert refusal("\n".join(lines)).endswith("a4.7: holds more than 100,000 values")


def test_a_long_list_is_refused() -> None:
    assert refusal("a: [" + "1," * 100_000 + "]").endswith(
        "a.99998: holds more than 100,000 values"
    )


def test_a_file_of_two_megabytes_is_refused_without_reading_all_of_it(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes(b"# \n" * 700_000)

    assert (
        file_refusal(file)
        == "x.yaml: is larger than 1 MiB; an experiment file is text of a few KiB"
    )


def test_a_file_of_exactly_one_mebibyte_is_read(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes(b"#" * MAX_FILE_BYTES)

    assert len(read_text(file)) == MAX_FILE_BYTES


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a: 1\nb: caf\xe9\n", "x.yaml:2:7: is not UTF-8: byte 0xe9; save the file as UTF-8"),
        ("ä: ".encode() + b"\xff", "x.yaml:1:4: is not UTF-8: byte 0xff; save the file as UTF-8"),
        ("a: 1\n".encode("utf-16"), "x.yaml: is UTF-16; save it as UTF-8"),
    ],
)
def test_other_encodings_are_refused(tmp_path: Path, content: bytes, expected: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes(content)

    assert file_refusal(file) == expected


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert file_refusal(tmp_path / "none.yaml") == "x.yaml: no such file"
    assert file_refusal(tmp_path) == "x.yaml: is a folder, not an experiment file"


@pytest.mark.parametrize("name", ["a\0b", "x" * 300])
def test_a_path_that_cannot_be_opened_is_refused(name: str) -> None:
    assert "cannot be read: " in file_refusal(Path(name))


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        root, _ = compose(text, HERE)
    except ConfigError:
        return
    assert isinstance(root, Node)


pieces = st.sampled_from(
    [
        "a: ",
        "b: ",
        "- ",
        "[",
        "]",
        "{",
        "}",
        ",",
        "\n",
        "  ",
        "\n  ",
        "&x ",
        "*x",
        "? ",
        ": ",
        "!t ",
        "1",
        "'",
        '"',
        "|\n",
        ">\n",
        "# ",
        "<<: ",
        "---\n",
        "...\n",
        "%YAML 1.2\n",
        "\t",
        "é",
        "\\x41",
        "~",
    ]
)


@given(st.lists(pieces, max_size=40).map("".join))
def test_any_mixture_of_yaml_syntax_is_read_or_refused(text: str) -> None:
    try:
        root, problems = compose(text, HERE)
    except ConfigError:
        return
    if not problems and root.value is not None:
        assert yaml.safe_load(yaml.safe_dump(plain(root))) == plain(root)
