"""What a step or a pipeline is, apart from how it is called: its function, where that stands, its parameters and its outputs."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Final, get_args, get_origin, get_type_hints

import msgspec

from ashore.errors import GraphError, NotInThisVersion, user_frame
from ashore.files import File
from ashore.handles import Handle
from ashore.options import Options, checked
from ashore.outputs import Outputs
from ashore.policies import check_key
from ashore.signatures import Binder, Parameter
from ashore.supplies import supplies_of

_FEWEST: Final = 2
"""The fewest outputs that a tuple annotation means."""


class Definition:
    """One decorated function. There is one for each step and pipeline, however many methods or options are bound to it."""

    def __init__(self, fn: Callable[..., Any], role: str, asked: Mapping[str, Any], *, is_pipeline: bool) -> None:
        code = _code_of(fn, role)
        self.fn = fn
        self.role = role
        self.is_pipeline = is_pipeline
        self.qualname: str = fn.__qualname__
        self.name = self.qualname.rpartition("<locals>.")[2]
        """What look-ups and targets call it: its name, for a method "Trainer.fit"."""
        self.module: str = fn.__module__
        self.file: str = code.co_filename
        self.line: int = code.co_firstlineno
        self.doc = inspect.getdoc(fn)
        self.is_async = inspect.iscoroutinefunction(fn)
        self.is_generator = inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn)
        if self.is_generator:
            raise _streams_come_later(self)
        self._names = _names_around(self.fn)
        self.supplied = supplies_of(fn, self.name, self.where, self._names)
        """What the runtime gives beside the arguments: resources and secrets."""
        if self.supplied and is_pipeline:
            raise _pipelines_have_none(self)
        self.binder = Binder(self.name, fn, [supply.parameter for supply in self.supplied])
        self.bind = self.binder.bind
        self.options: Options = self.asking(checked(self.name, self.where, dict(asked), is_pipeline=is_pipeline))
        self.ignored = self.options.declared.ignored
        """What `Cache(ignore=[...])` names: parameters among it are in no cache key."""
        self.ttl = self.options.declared.seconds
        """Seconds for which a result is served."""
        if self.options.on is not None:
            _ = self.arrival

    @property
    def where(self) -> str:
        """ "file:line"."""
        return f"{self.file}:{self.line}"

    def asking(self, options: Options) -> Options:
        """These options for this function. Raises `GraphError` where the two do not go together."""
        if self.is_async and (options.process or options.seed is not None):
            raise _needs_no_process(self, "process" if options.process else "seed")
        policy = options.policy
        if not options.store and not self.is_async and options.needs_process:
            what = f"{self.name} needs a process of its own, from where a value cannot be handed on in memory"
            raise GraphError(
                what, where=self.where, mend="Take store=False out, or process=, seed=, timeout=, deadline=, memory=, gpus="
            )
        if policy is None:
            return options
        check_key(policy, self.name, self.where, self.binder.names)
        return msgspec.structs.replace(options, cache=False) if policy.effects else options

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """The parameters, in order, with their types as far as they can be read."""
        raw = self.fn.__annotations__
        found = {name: self._resolved(raw[name]) for name in raw if name != "return"}
        return self.binder.parameters({name: kind for name, (kind, problem) in found.items() if not problem})

    @cached_property
    def returns(self) -> Any:
        """The type of the result, without any `Handle[...]`; None if there is no annotation. Raises if it cannot be read."""
        annotation = self.fn.__annotations__.get("return")
        if "return" not in self.fn.__annotations__:
            return None
        resolved, problem = self._resolved(annotation)
        if problem:
            what = f"what {self.name} returns, `{annotation}`, cannot be read at run time: {problem}"
            mend = "Import the type at the top of the file, not under `if TYPE_CHECKING`, or define it outside any function"
            raise GraphError(what, where=self.where, mend=mend)
        return without_handles(resolved)

    @cached_property
    def outputs(self) -> int | tuple[str, ...] | None:
        """None: one value; a number: `-> tuple[A, B]`; names: a subclass of `Outputs`."""
        returns = self.returns
        if isinstance(returns, type) and issubclass(returns, Outputs) and returns is not Outputs:
            return self._output_names(returns.__struct_fields__)
        parts = get_args(returns)
        if get_origin(returns) is tuple and Ellipsis not in parts and len(parts) >= _FEWEST:
            return len(parts)
        return None

    def produced(self, output: int | None) -> Any:
        """The declared type of one output, or of the whole result; None if there is none."""
        if output is None or self.outputs is None:
            return self.returns
        if isinstance(self.outputs, int):
            return get_args(self.returns)[output]
        return get_type_hints(self.returns)[self.outputs[output]]

    @cached_property
    def arrival(self) -> tuple[Parameter, bool]:
        """The parameter that arrivals go to, and whether it takes all of them (`list[File]`). Raises if there is not one."""
        files = [(parameter, kind == "list") for parameter in self.parameters if (kind := _file_kind(parameter.annotation))]
        found = [one for one in files if one[0].is_required] or files  # a file with a default is there already
        if len(found) != 1:
            has = "none" if not found else ", ".join(f"`{parameter.name}`" for parameter, _ in found)
            what = f"{self.name} is triggered by files, but not exactly one parameter is annotated File or list[File]: {has}"
            raise GraphError(what, where=self.where, mend="Annotate one: file: File (a run each) or files: list[File] (all so far)")
        others = [p.name for p in self.parameters if p.is_required and p is not found[0][0]]
        if others:
            what = f"{self.name} is triggered by files, and nobody gives it `{'`, `'.join(others)}`"
            raise GraphError(what, where=self.where, mend="Give every other parameter a default")
        return found[0]

    def _output_names(self, names: tuple[str, ...]) -> tuple[str, ...]:
        taken = [name for name in names if hasattr(Handle, name) or name.startswith("_")]
        if taken:
            what = f"{self.name} has an output named `{taken[0]}`, which every handle has for itself"
            raise GraphError(what, where=self.where, mend="Give the field another name")
        return names

    def _resolved(self, annotation: Any) -> tuple[Any, str]:
        """The annotation as a type, and what hinders it."""
        holder = types.SimpleNamespace(__annotations__={"it": annotation})
        try:
            return get_type_hints(holder, self.fn.__globals__, self._names, include_extras=True)["it"], ""
        except Exception as error:  # noqa: BLE001  # whatever evaluating the user's text raises
            return None, str(error)


def without_handles(annotation: Any) -> Any:
    """What a pipeline's result is once its handles are awaited: `Handle[T]` is T, `Handles[T]` list[T], in tuples, too."""
    origin, parts = get_origin(annotation), get_args(annotation)
    produces = getattr(origin, "produces", None) if isinstance(origin, type) and issubclass(origin, Handle) else None
    if produces == "value":
        return parts[0]
    if produces == "list":
        return list[parts[0]]  # type: ignore[valid-type]  # made at run time
    if produces == "tuple" or (origin is tuple and any(without_handles(part) is not part for part in parts)):
        return tuple[tuple(without_handles(part) for part in parts)]  # type: ignore[misc]  # made at run time
    if isinstance(annotation, type) and issubclass(annotation, Handle):
        return None
    return annotation


def _file_kind(annotation: Any) -> str:
    """ "file", "list" or ""."""
    if _is_file(annotation):
        return "file"
    parts = get_args(annotation)
    return "list" if get_origin(annotation) is list and parts and _is_file(parts[0]) else ""


def _is_file(annotation: Any) -> bool:
    return annotation is File


def _code_of(fn: Any, role: str) -> types.CodeType:
    code = getattr(fn, "__code__", None)
    if isinstance(fn, types.FunctionType) and isinstance(code, types.CodeType) and fn.__name__ != "<lambda>":
        return code
    frame = user_frame()
    where = f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame else ""
    raise GraphError(f"@{role} takes a function made by `def`, and got {fn!r}", where=where, mend=_mend(fn, role))


def _mend(fn: Any, role: str) -> str:
    if isinstance(fn, staticmethod | classmethod):
        return f"Put @staticmethod above @{role}" if isinstance(fn, staticmethod) else "Write a plain function instead"
    if hasattr(fn, "definition"):
        return "Decorate it once"
    if isinstance(fn, str):
        return f'Options go by name: @{role}(cache=True), @pipeline(on=new("inbox/*.csv"))'
    return "Wrap it in a `def` with a name"


def _streams_come_later(definition: Definition) -> NotInThisVersion:
    what = f"{definition.name} is a generator: steps that yield (streams) are not in this version of ashore"
    return NotInThisVersion(what, where=definition.where, mend="Return a list instead")


def _pipelines_have_none(definition: Definition) -> GraphError:
    names = ", ".join(f"`{supply.parameter}`" for supply in definition.supplied)
    what = f"the pipeline {definition.name} asks for {names}: resources and secrets go to steps"
    return GraphError(what, where=definition.where, mend="Take them out of its signature; each step that needs one asks for it")


def _needs_no_process(definition: Definition, option: str) -> GraphError:
    what = f"{definition.name} is an `async def` with {option}=: it runs on the loop, and has no process of its own"
    return GraphError(what, where=definition.where, mend="Write it as a `def`, or take the option out")


def _names_around(fn: Callable[..., Any]) -> dict[str, Any]:
    """The local names that the function's annotations can see: of the functions and classes that it stands in."""
    if fn.__qualname__ == fn.__name__:
        return {}
    names: dict[str, Any] = {}
    frame = user_frame()
    while frame is not None and frame.f_globals is fn.__globals__ and frame.f_code.co_name != "<module>":
        names = {**frame.f_locals, **names}
        frame = frame.f_back
    return names
