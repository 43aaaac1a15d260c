"""Results and events as JSON: whatever they hold, and without loading a class for it."""

from __future__ import annotations

from typing import Any, Final

from msgspec.structs import fields

from ashore.codec import Undecodable, Unencodable, encode, show
from ashore.engine.values import load_blobs
from ashore.events import Event, Failure, Output, RunEnded, text_digest
from ashore.faces.cli.progress import Progress
from ashore.results import decode_result, outputs_in
from ashore.runs import Run
from ashore_stores.artifacts.base import ArtifactStore

PLAIN_FORMAT: Final = "value/1"
"""The format of outputs that `ashore.codec` wrote."""


async def result_json(result: bytes, artifacts: ArtifactStore) -> Any:
    """A run's result: plain values as they are, of anything else what it is and where."""
    outputs = outputs_in(result)
    needed = {output.digest for output in outputs if output.data is None and output.format == PLAIN_FORMAT}
    blobs = await load_blobs(artifacts, needed)

    def loaded(output: Output) -> Any:
        data = output.data if output.data is not None else blobs.get(output.digest)
        return _output_json(output, data)

    return any_json(decode_result(result, loaded))


def _output_json(output: Output, data: bytes | memoryview | None) -> Any:
    if data is not None and output.format == PLAIN_FORMAT:
        try:
            return show(data)
        except Undecodable:
            pass
    return {"type": output.type, "format": output.format, "size": output.size, "digest": text_digest(output.digest)}


def any_json(value: Any) -> Any:
    """Any value in what JSON has."""
    try:
        return show(encode(value))
    except (Unencodable, Undecodable):
        return {"type": type(value).__qualname__, "repr": repr(value)}


async def result_record(run: Run[Any], progress: Progress, artifacts: ArtifactStore) -> dict[str, Any]:
    """A run that is done, as one object."""
    ended = progress.ended
    return _run_record(run, "done", progress) | {"result": await result_json(ended.result if ended else b"", artifacts)}


def failure_record(run: Run[Any], state: str, progress: Progress) -> dict[str, Any]:
    """A run that failed or was cancelled, as one object."""
    ended = progress.ended
    failed = [progress.failures[name] for name in (ended.failed if ended else ()) if name in progress.failures]
    errors = [{"step": progress.name(event.invocation), **failure_json(event.failure)} for event in failed]
    if ended is not None and ended.failure is not None:
        errors.append({"step": None, **failure_json(ended.failure)})
    return _run_record(run, state, progress) | {"errors": errors}


def _run_record(run: Run[Any], state: str, progress: Progress) -> dict[str, Any]:
    started, ended = progress.started, progress.ended
    took = ended.at - started.at if started is not None and ended is not None else None
    left_out = [{"name": name, **failure_json(failure)} for _, name, failure in progress.left_out]
    record: dict[str, Any] = {"run": run.id, "pipeline": run.pipeline, "state": state, "took": took, "counts": progress.counts()}
    if ended is not None and ended.orphans:
        record["orphans"] = [{"step": progress.name(name), "id": name.hex()} for name in ended.orphans]
    return record | {"left_out": left_out} if left_out else record


def failure_json(failure: Failure) -> dict[str, Any]:
    return {
        "type": failure.classes[0].replace(":", ".") if failure.classes else None,
        "message": failure.message,
        "where": failure.where or None,
        "traceback": failure.traceback,
        "notes": list(failure.notes),
    }


def event_json(event: Event) -> dict[str, Any]:
    """Every field of an event. Bytes are hex digits; parameters and small plain outputs are shown as what they are."""
    return {"event": type(event).__name__, **_fields_json(event)}


def _fields_json(record: Any) -> dict[str, Any]:
    return {field.name: _field_json(record, field.name, getattr(record, field.name)) for field in fields(type(record))}


def _field_json(record: Any, name: str, value: Any) -> Any:
    if name == "params":
        return shown_params(value)
    if name == "data" and isinstance(record, Output):
        return _shown(value) if record.format == PLAIN_FORMAT and value is not None else _json(value)
    if name == "arguments" and isinstance(record, Failure):
        return _shown(value) if value else None
    if name == "result" and isinstance(record, RunEnded):
        return any_json(decode_result(value, lambda output: _output_json(output, output.data)))
    return _json(value)


def shown_params(params: tuple[tuple[str, bytes], ...]) -> dict[str, Any]:
    """Encoded parameters, for people and JSON."""
    return {name: _shown(data) for name, data in params}


def _shown(data: bytes) -> Any:
    try:
        return show(data)
    except Undecodable:
        return data.hex()


def _json(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, (tuple, list)):
        return [_json(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _json(item) for key, item in value.items()}
    if hasattr(type(value), "__struct_fields__"):
        return _fields_json(value)
    return value
