"""Arrow arrays without what nobody sees: what lies under nulls, and how lists came to lie in their buffers.

So equal arrays are equal bytes. Nested ones are rebuilt level by level; dictionaries, maps, unions and what else Arrow has are left
as they are.
"""

from __future__ import annotations

from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc

Array = Any
"""An Arrow array; the stubs know them by the types of their elements only."""


def settled(array: Array) -> Array:
    """The same array, laid out in the one way that its elements have."""
    kind = array.type
    if pa.types.is_struct(kind) and kind.num_fields:
        return _struct(array)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _lists(array)
    if pa.types.is_fixed_size_list(kind) and kind.list_size:
        return _fixed_lists(array)
    if kind.num_fields or pa.types.is_dictionary(kind) or pa.types.is_null(kind):
        return array
    return _without_strays(array.take(_places(array)) if array.null_count else array)


def _places(array: Array) -> Array:
    """Each element's own place, null where the array is: taking by it leaves nothing under the nulls."""
    return pa.array(range(len(array)), pa.int64(), mask=array.is_null().to_numpy(zero_copy_only=False))


def _own(array: Array) -> Array:
    """The same with buffers of its own: else what stands before and behind it could be written, too."""
    return pa.concat_arrays([array, array[:0]])


def _without_strays(array: Array) -> Array:
    """The same without bits behind the end of a bitmap."""
    if not pa.types.is_boolean(array.type) or not len(array) % 8:
        return array
    array = _own(array)
    validity, bits = array.buffers()
    last = len(array) // 8
    trimmed = bytearray(bits)[: last + 1]
    trimmed[last] &= (1 << len(array) % 8) - 1
    return pa.Array.from_buffers(array.type, len(array), [validity, pa.py_buffer(bytes(trimmed))])


def _struct(array: Array) -> Array:
    children = [settled(child) for child in array.flatten()]  # null where the struct is
    return pa.StructArray.from_arrays(children, fields=list(array.type), mask=array.is_null())


def _lists(array: Array) -> Array:
    lengths: Any = pc.fill_null(cast("Array", pc.list_value_length(array)), 0)
    offsets = pa.concat_arrays([pa.array([0], type=lengths.type), pc.cumulative_sum(lengths)])
    inner = array.flatten()  # without what lies in null lists
    values = settled(_own(inner) if len(inner) < len(array.values) else inner)
    made: Any = pa.LargeListArray if pa.types.is_large_list(array.type) else pa.ListArray
    return made.from_arrays(offsets, values, type=array.type, mask=array.is_null())


def _fixed_lists(array: Array) -> Array:
    taken = array.take(_places(array)) if array.null_count or array.offset else array
    values = taken.values[: len(taken) * taken.type.list_size]
    if taken.null_count:  # null in null lists, whatever was there
        places: Any = pa.array(range(len(values)), pa.int64())
        parents = pc.divide(places, taken.type.list_size)
        values = values.take(pc.if_else(taken.is_valid().take(parents), places, pa.scalar(None, pa.int64())))
    return pa.FixedSizeListArray.from_arrays(settled(values), type=array.type, mask=array.is_null())
