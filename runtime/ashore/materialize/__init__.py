"""Values and their stored forms: by type, in safe formats, loaded back as they were."""

from __future__ import annotations

from ashore.materialize.base import MaterializeError as MaterializeError
from ashore.materialize.base import Materializer as Materializer
from ashore.materialize.base import NotEqual as NotEqual
from ashore.materialize.base import Unloadable as Unloadable
from ashore.materialize.base import Unserialisable as Unserialisable
from ashore.materialize.registry import find as find
from ashore.materialize.registry import register as register
from ashore.materialize.registry import type_name as type_name
from ashore.materialize.values import VALUE_FORMAT as VALUE_FORMAT
from ashore.materialize.values import Dumped as Dumped
from ashore.materialize.values import check_loads_back as check_loads_back
from ashore.materialize.values import dump_to as dump_to
from ashore.materialize.values import dump_value as dump_value
from ashore.materialize.values import load_value as load_value
from ashore.materialize.values import may_share as may_share
