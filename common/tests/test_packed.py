import pytest

from vidseg_common.packed import PackedList


def test_packed_list():
    items = [{"a": i} for i in range(5)]
    packed = PackedList(iter(items))
    assert (list(packed), packed[-1], packed[1:4:2]) == (items, items[-1], items[1:4:2])
    assert len(PackedList([])) == 0
    with pytest.raises(IndexError):
        packed[5]
