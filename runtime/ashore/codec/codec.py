"""The codec: both directions, with or without foreign values inside."""

from __future__ import annotations

from typing import Any, Final

from ashore.codec.decoding import Decoding, decoder
from ashore.codec.encoding import Encoding, Foreign, is_plain, pack_plain
from ashore.codec.tags import Unencodable


class Codec:
    """Encodes and decodes values; `foreign` stores what the codec itself does not know.

    `decode(data)` gives a new object each time, of the types that were encoded; it raises `Undecodable`, and neither imports a
    module nor runs code that the bytes choose.
    """

    def __init__(self, foreign: Foreign | None = None) -> None:
        self._foreign = foreign
        self.decode: Final = decoder(Decoding(foreign).extension)

    def encode(self, value: Any, *, name: str = "value", numbers: bool = False) -> bytes:
        """Canonical bytes: equal values of equal type give equal bytes, in every process. Raises `Unencodable`.

        `name` is what an error calls the value. With `numbers`, numpy's numbers, at any depth, become Python's: they are what is
        meant by a parameter. A dict keeps its order: equal ones of other order have other bytes.
        """
        if is_plain(value) and (data := pack_plain(value)) is not None:
            return data
        return encode_with(self._foreign, value, name=name, numbers=numbers)


def encode_with(foreign: Foreign | None, value: Any, *, name: str = "value", numbers: bool = False) -> bytes:
    """What `Codec(foreign).encode` gives, for a `foreign` that is used once."""
    try:
        return Encoding(foreign, numbers=numbers).bytes_of(value)
    except Unencodable as error:
        error.name = name
        raise


_codec: Final = Codec()
encode: Final = _codec.encode
decode: Final = _codec.decode
