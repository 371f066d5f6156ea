from __future__ import annotations

from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from admf.engine.spool import Spool


@pytest.mark.parametrize("max_bytes", [1, 64, 1 << 20])
@given(records=st.lists(st.binary(max_size=100), max_size=20))
def test_records_come_back_in_order_from_memory_and_from_a_file(max_bytes, records) -> None:
    with closing(Spool(max_bytes)) as spool:
        for record in records:
            spool.append(record)
        assert len(spool) == len(records)
        assert list(spool) == records
        assert list(spool) == records


def test_records_may_be_added_while_others_are_read() -> None:
    with closing(Spool(16)) as spool:
        spool.append(b"one")
        spool.append(b"two")
        reader = iter(spool)
        assert next(reader) == b"one"
        spool.append(b"three")
        other = list(spool)
        assert next(reader) == b"two"
        assert next(reader, None) is None
        assert other == [b"one", b"two", b"three"]


def test_a_closed_spool_is_gone() -> None:
    spool = Spool()
    spool.append(b"one")
    spool.close()
    with pytest.raises(ValueError, match="closed"):
        list(spool)
