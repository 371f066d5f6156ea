from __future__ import annotations

from admf.engine.failures import combine, describe_all, ungroup


def test_one_error_stays_bare_and_several_become_a_group():
    first, second = ValueError("first"), OSError("second")
    assert combine("closing failed", []) is None
    assert combine("closing failed", [first]) is first
    group = combine("closing failed", [first, second])
    assert isinstance(group, ExceptionGroup)
    assert group.exceptions == (first, second)


def test_an_error_alone_in_its_groups_is_taken_out():
    error, other = ValueError("alone"), OSError("other")
    assert ungroup(error) is error
    assert ungroup(ExceptionGroup("outer", [ExceptionGroup("inner", [error])])) is error
    several = ExceptionGroup("several", [error, other])
    assert ungroup(several) is several
    assert ungroup(ExceptionGroup("outer", [several])) is several


def test_groups_are_described_by_their_members():
    group = ExceptionGroup("outer", [ValueError("a"), ExceptionGroup("inner", [OSError("b")])])
    assert list(describe_all([group, KeyError("c")])) == [
        "ValueError: a",
        "OSError: b",
        "KeyError: 'c'",
    ]
