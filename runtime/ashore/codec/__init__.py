"""Plain values and bytes: what parameters and small results are in the log, and what keys are made of.

`encode` is canonical, `decode` gives a new object of the same types, `show` is for people. Plain values, that is None, booleans,
numbers, text, bytes, lists and dicts with str keys, cost one msgpack call; the rest is described in `ashore.codec.tags`.
"""

from __future__ import annotations

from ashore.codec.codec import Codec as Codec
from ashore.codec.codec import decode as decode
from ashore.codec.codec import encode as encode
from ashore.codec.codec import encode_with as encode_with
from ashore.codec.encoding import Foreign as Foreign
from ashore.codec.encoding import has_form as has_form
from ashore.codec.encoding import is_plain as is_plain
from ashore.codec.encoding import pack_plain as pack_plain
from ashore.codec.showing import show as show
from ashore.codec.tags import Undecodable as Undecodable
from ashore.codec.tags import Unencodable as Unencodable
