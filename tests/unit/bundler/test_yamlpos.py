from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bundler import yamlpos
from bundler.yamlpos import Caps, Node, ambiguous, parse, walk

CAPS = Caps(size=1 << 20, depth=16, nodes=1000)


def one(data: bytes) -> Node:
    parsed = parse(data, CAPS)
    assert parsed.faults == ()
    (document,) = parsed.documents
    return document


def fault(data: bytes) -> tuple[int, str]:
    (found,) = parse(data, CAPS).faults
    return found.line, found.problem


@pytest.fixture(params=["libyaml", "pure"], autouse=True)
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both parsers of PyYAML must give the same: a wheel without libyaml is no other product."""
    if request.param == "pure":
        monkeypatch.setattr(yamlpos, "_PARSER", yaml.SafeLoader)
    else:
        assert yamlpos._PARSER is yaml.CSafeLoader


def test_values_lines_and_texts() -> None:
    root = one(b"a: 1\nb:\n- x\n- 'y'\n- 2020.10\n")
    assert root.data() == {"a": 1, "b": ["x", "y", 2020.1]}
    assert isinstance(root.value, dict)
    assert root.key_lines == {"a": 1, "b": 2}
    items = root.value["b"].value
    assert isinstance(items, tuple)
    assert [(item.line, item.text, item.plain) for item in items] == [
        (3, "x", True),
        (4, "y", False),
        (5, "2020.10", True),
    ]


def test_anchors_and_merge_keys() -> None:
    assert one(b"a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: *a\n").data() == {
        "a": {"x": 1, "y": 2},
        "b": {"x": 1, "y": 3},
        "c": {"x": 1, "y": 2},
    }
    assert one(b"- &a {x: 1}\n- &b {x: 2, y: 2}\n- {<<: [*a, *b]}\n").data() == [
        {"x": 1},
        {"x": 2, "y": 2},
        {"x": 1, "y": 2},
    ]


def test_a_quoted_merge_sign_is_a_key() -> None:
    assert one(b'{"<<": 1}').data() == {"<<": 1}


def test_dates_stay_as_they_are_written() -> None:
    assert one(b"[2027-01-01T00:00:00Z, 2001-01-01, =]").data() == ["2027-01-01T00:00:00Z", "2001-01-01", "="]


def test_empty_documents_are_left_out() -> None:
    assert [node.data() for node in parse(b"---\n# nothing\n---\na: 1\n---\n...\n", CAPS).documents] == [{"a": 1}]
    assert parse(b"", CAPS) == yamlpos.Parsed((), ())


@pytest.mark.parametrize(
    ("data", "line", "problem"),
    [
        (b"a: 1\nb: 2\na: 3\n", 3, "key 'a' occurs twice, first in line 1"),
        (b"a: !!str 1\n", 1, "tag 'tag:yaml.org,2002:str' is not allowed"),
        (b"a: !!python/object/apply:os.system [id]\n", 1, "tag 'tag:yaml.org,2002:python/object/apply:os.system'"),
        (b"\n- !x {}\n", 2, "tag '!x' is not allowed"),
        (b"1: a\n", 1, "key '1' is not a string"),
        (b"? [a]\n: b\n", 1, "key '' is not a string"),
        (b"on: a\n", 1, "key 'on' is not a string"),
        (b"a: &a [*a]\n", 1, "alias *a stands inside what it names"),
        (b"a: *b\n", 1, "alias *b has no anchor before it"),
        (b"a: {<<: 1}\n", 1, "only a mapping can be merged"),
        (b"a: .inf\n", 1, "'.inf' is not a finite number"),
        (b"a: " + b"9" * 30, 1, "is not a finite number of 64 bits"),
        (b"a: " + b"9" * 5000, 1, "is not a finite number of 64 bits"),
        (b"a: 1.0e+999\n", 1, "is not a finite number"),
        (b"a: b\n  c: d\n", 2, "not YAML: mapping values are not allowed"),
        (b"a: \x01\n", 1, "not YAML: "),
        (b"a: 1\nb: \xff\n", 2, "byte 8 is not UTF-8"),
        (b"x: " + b"[" * 16 + b"]" * 16, 1, "nested more than 16 levels deep"),
        (b"a" * ((1 << 20) + 1), 1, "the file is larger than 1048576 bytes"),
        (b"- 0\n" * 1500, 1001, "more than 1000 values"),
    ],
)
def test_faults(data: bytes, line: int, problem: str) -> None:
    found = fault(data)
    assert found[0] == line
    assert problem in found[1]


def test_every_fault_that_does_not_stop_reading_is_found() -> None:
    parsed = parse(b"a: !!int 1\na: 2\n3: x\n", CAPS)
    assert [item.line for item in parsed.faults] == [1, 2, 3]
    assert [node.data() for node in parsed.documents] == [{"a": "1"}]


def test_alias_bomb_is_counted_in_full() -> None:
    bomb = b"a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    for level in range(1, 9):
        bomb += b"a%d: &a%d [%s]\n" % (level, level, b", ".join([b"*a%d" % (level - 1)] * 10))
    # Written out it would be a hundred million values: who does that does not come to an end.
    assert fault(bomb) == (3, "more than 1000 values, aliases counted in full")


def test_aliases_cannot_nest_deeper_than_the_cap() -> None:
    text = b"a0: &a0 [x]\n" + b"".join(b"a%d: &a%d [*a%d]\n" % (n, n, n - 1) for n in range(1, 30))
    line, problem = fault(text)
    assert "alias *a13 nests more than 16 levels deep" in problem
    assert line == 15


def test_depth_in_the_millions_does_not_exhaust_the_stack() -> None:
    # Newer versions of libyaml have a bound of their own.
    assert "nest" in fault(b"[" * 1_000_000)[1]
    assert "nested more than 16 levels" in fault(b"- " * 500_000)[1]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
        max_leaves=12,
    ).filter(lambda value: value is not None)
)
def test_reads_back_what_yaml_writes(value: object) -> None:
    assert one(yaml.safe_dump(value).encode("ascii")).data() == value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1:30", True),
        ("1:30.5", True),
        ("1e3", True),
        ("y", True),
        ("N", True),
        ("0o17", True),
        ("09", True),
        ("0644", False),
        ("'1:30'", False),
        ("10.0.0.1:80", False),
        ("1.5", False),
        ("yes", False),
        ("8080:80a", False),
    ],
)
def test_plain_scalars_that_kubectl_reads_differently(text: str, expected: bool) -> None:
    assert ambiguous(one(f"[{text}]".encode()).value[0]) is expected  # type: ignore[index,arg-type]  # a list of one


def test_walk_visits_every_node() -> None:
    assert [node.text for node in walk(one(b"a: [x, {b: y}]\nc: z\n")) if node.text] == ["x", "y", "z"]
