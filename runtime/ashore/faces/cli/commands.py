"""The commands as they are typed: names, options, help. What they do is loaded when one is run, never for a `--help`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final

import click

from ashore.faces.cli.settings import INTERRUPTED, Settings

_CONTEXT: Final[dict[str, Any]] = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_TAKING_VALUES: Final = ("--home", "--after")
"""Options of `log` that are followed by a value."""


class ReaderLeft(Exception):
    """Whoever read our output does not read on."""


def settings_of(asked: Mapping[str, Any]) -> Settings:
    """The settings that these options make."""
    return Settings(**asked)


def _remember(context: click.Context, option: click.Parameter, value: Any) -> None:
    if value and option.name:
        context.ensure_object(dict)[option.name] = value


def _shared(*, json: bool = True) -> list[click.Parameter]:
    """The options that every command takes."""
    options = [
        click.Option(
            ["--home"],
            metavar="PATH",
            expose_value=False,
            callback=_remember,
            help="The home. [default: $ASHORE_HOME, else the nearest .ashore upwards]",
        ),
        click.Option(["--json"], is_flag=True, expose_value=False, callback=_remember, help="The result as JSON."),
        click.Option(
            ["--traceback"], is_flag=True, expose_value=False, callback=_remember, help="Errors with the whole traceback."
        ),
    ]
    return [option for option in options if json or option.name != "json"]


def _version(context: click.Context, option: click.Parameter, value: bool) -> None:
    if value:
        click.echo(f"ashore {import_module('importlib.metadata').version('ashore')}")
        context.exit()


class Command(click.Command):
    """A command with the shared options."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += _shared(json=self.name != "serve")


class Commands(click.Group):
    """All commands, listed in the order in which they are written here."""

    command_class = Command

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name in self.commands if " " not in name]

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """`log verify` is a command of its own, beside `log RUN`."""
        if args[0] == "log":
            place = _first_word(args)
            if args[place:][:1] == ["verify"]:
                return "log verify", self.commands["log verify"], args[1:place] + args[place + 1 :]
        return super().resolve_command(ctx, args)


def _first_word(args: list[str]) -> int:
    """Where the first argument that is no option, nor the value of one, stands behind the command's name."""
    place = 1
    while place < len(args) and args[place].startswith("-"):
        place += 2 if args[place] in _TAKING_VALUES else 1
    return place


def _do(name: str, **arguments: Any) -> int:
    """Load a command's body, by "module:function", and run it."""
    module, _, function = name.partition(":")
    body: Callable[..., int] = getattr(import_module(f"ashore.faces.cli.{module}"), function)
    try:
        return body(settings_of(click.get_current_context().ensure_object(dict)), **arguments)
    except BrokenPipeError as error:  # of this and the next click would make errors of its own
        raise ReaderLeft from error
    except KeyboardInterrupt:
        return INTERRUPTED


@click.group(cls=Commands, context_settings=_CONTEXT)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Print the version.")
def commands() -> None:
    """Typed pipelines with no server and everything on record.

    Runs are named by the beginning of their id, or @last, or @last:PIPELINE. Exit codes: 0 all is well, 1 a run failed,
    2 wrong usage, 3 not now, 4 not found, 130 interrupted.
    """


commands.params += _shared()


@commands.command()
@click.argument("target")
@click.argument("arguments", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--key", metavar="TEXT", help="Idempotent: the one run of this key, started, joined, or finished already.")
@click.option(
    "--refresh", multiple=True, metavar="STEP", help="Do this step again though its result is known; '*': all. Repeatable."
)
def run(target: str, arguments: tuple[str, ...], key: str | None, refresh: tuple[str, ...]) -> int:
    """Run a pipeline or a step and print its result.

    TARGET is FILE.py:NAME or package.module:NAME. Values are read as the parameters' types say; for a list of files a pattern
    in quotes: files='inbox/*.csv'. Ctrl-C cancels the run, twice ends it at once.
    """
    return _do("running:run_target", target=target, arguments=arguments, key=key, refresh=refresh)


@commands.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--grace", type=click.FloatRange(min=0), default=10.0, show_default=True, help="Seconds for runs to end in.")
@click.option("--standby", is_flag=True, help="While another daemon serves them, wait until it is gone, then take over.")
def serve(files: tuple[str, ...], grace: float, standby: bool) -> int:
    """Run the pipelines of these files as their files arrive, until told to stop."""
    return _do("serving:serve", files=files, grace=grace, standby=standby)


@commands.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
def check(files: tuple[str, ...]) -> int:
    """Check the steps and pipelines of files without running them.

    Imports each file, wires its pipelines with their defaults or with stand-ins, and looks at every call: unknown parameters,
    types that do not fit, options, triggers, what cannot be recorded. Exit code 1 if there is a problem.
    """
    return _do("checking:check", files=files)


@commands.command()
@click.option("--pipeline", metavar="NAME", help="Of this pipeline only.")
@click.option("--state", type=click.Choice(["running", "done", "failed", "cancelled", "held"]), help="In this state only.")
@click.option("-n", "limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many at most.")
def runs(pipeline: str | None, state: str | None, limit: int) -> int:
    """List runs, the newest first."""
    return _do("looking:runs", pipeline=pipeline, state=state, limit=limit)


@commands.command()
@click.argument("run", default="@last")
def show(run: str) -> int:
    """Show a run: its graph, states, times, what was cached and what failed. [default: @last]"""
    return _do("looking:show", run=run)


@commands.command()
@click.argument("run", default="@last")
@click.argument("step", required=False)
def why(run: str, step: str | None) -> int:
    """Say why each step of a run ran, or did not have to: cached, a source, or what changed. [default: @last]"""
    return _do("asking:why", run=run, step=step)


@commands.command()
@click.argument("run")
@click.argument("other")
@click.option("--all", "everything", is_flag=True, help="What is equal, too.")
def diff(run: str, other: str, everything: bool) -> int:
    """Put two runs side by side: what differs in parameters, code, inputs, outputs, durations and versions."""
    return _do("asking:diff", run=run, other=other, everything=everything)


@commands.command()
@click.argument("run")
@click.argument("question", required=False)
@click.option("--deny", is_flag=True, help="Say no.")
def approve(run: str, question: str | None, deny: bool) -> int:
    """Answer the question that a run waits for: yes, or with --deny no. QUESTION is its text, if there are several."""
    return _do("answering:approve", run=run, question=question, deny=deny)


@commands.command()
@click.argument("run", default="@last")
@click.argument("step", required=False)
@click.option("--attempt", type=click.IntRange(min=1), metavar="N", help="Of this attempt only.")
def logs(run: str, step: str | None, attempt: int | None) -> int:
    """Print what the steps of a run have printed and logged, in order. [default: @last]"""
    return _do("reading:logs", run=run, step=step, attempt=attempt)


@commands.command()
@click.argument("run", default="@last")
@click.argument("step", required=False)
@click.option("--done", metavar="VALUE", help="It has happened: VALUE, as JSON, is what the step would have returned.")
@click.option("--again", is_flag=True, help="It has not happened: do it again.")
@click.option("--allow", multiple=True, metavar="STEP", help="New calls of this step are meant, though recorded ones are gone.")
@click.option("--redo", multiple=True, metavar="STEP", help="Of a run that has ended: call this step again, whatever came of it.")
@click.option("--target", metavar="TARGET", help="Where the code is now. [default: where it was]")
def resume(run: str, step: str | None, target: str | None, **said: Any) -> int:
    """Go on with a run that nobody drives, that is held, or that failed. [default: @last]

    Of a run that failed or was cancelled, what failed and what was skipped is done again; what is done is final.

    A run is held when a step that acts on the world (effects=True) began and nobody knows whether it has happened: look there,
    and say so with --done or --again. STEP names which, if several are held.
    """
    return _do("resuming:resume", run=run, step=step, target=target, **said)


@commands.command()
@click.argument("run", default="@last")
@click.argument("step", required=False)
def code(run: str, step: str | None) -> int:
    """Print the code that ran, with everything of your own that it reaches, as it was. [default: @last]"""
    return _do("asking:code", run=run, step=step)


@commands.command()
@click.argument("run")
@click.argument("arguments", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--effects", type=click.Choice(["hold", "run"]), default="hold", help="Whether steps that act on the world are run.")
@click.option("--target", metavar="TARGET", help="Where the code is now. [default: where it was]")
def fork(run: str, arguments: tuple[str, ...], effects: str, target: str | None) -> int:
    """Run a run's pipeline again with these arguments changed, reusing what they do not affect."""
    return _do("forking:fork", run=run, arguments=arguments, effects=effects, target=target)


@commands.command()
@click.argument("run", default="@last")
@click.option("--target", metavar="TARGET", help="Where the code is now. [default: where it was]")
def verify(run: str, target: str | None) -> int:
    """Derive a run's decisions from its record once more and compare; executes nothing. Exit code 1 if one is not as recorded.

    [default: @last]
    """
    return _do("deriving:verify", run=run, target=target)


@commands.command()
@click.argument("run", default="@last")
@click.option("--target", metavar="TARGET", help="Where the code is now. [default: where it was]")
def reproduce(run: str, target: str | None) -> int:
    """Run it once more with its sources as recorded and nothing reused, and compare. Exit code 1 if a step differs.

    [default: @last]
    """
    return _do("deriving:reproduce", run=run, target=target)


@commands.command()
@click.argument("run")
@click.argument("path")
def export(run: str, path: str) -> int:
    """Write a run's history into one file, for ashore.testing.replay(PATH) in your tests."""
    return _do("deriving:export", run=run, path=path)


@commands.command()
@click.argument("run")
@click.argument("step")
@click.option("--element", type=click.IntRange(min=0), metavar="N", help="Of a fan-out. [default: the first that failed]")
@click.option("--effects", type=click.Choice(["hold", "run"]), default="hold", help="Whether a step that acts on the world is run.")
@click.option("--target", metavar="TARGET", help="Where the code is now. [default: where it was]")
def debug(run: str, step: str, element: int | None, effects: str, target: str | None) -> int:
    """Call a step once more with its recorded inputs, here, and open pdb where it fails."""
    return _do("debugging:debug", run=run, step=step, element=element, effects=effects, target=target)


@commands.command()
@click.argument("run", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until the run ends or Ctrl-C.")
@click.option("--after", type=click.IntRange(min=0), default=0, metavar="N", help="Only what has a greater position.")
def log(run: str | None, follow: bool, after: int) -> int:
    """Print the events of the home, or of one run, each with its position.

    `ashore log verify` looks the whole log and all artifacts through for damage.
    """
    return _do("telling:log", run=run, follow=follow, after=after)


@commands.command("log verify")
def log_verify() -> int:
    """Look the whole log and all artifacts through for damage; exit code 1 if there is some."""
    return _do("verifying:verify")


@commands.command()
@click.argument("run")
@click.option("--no-wait", is_flag=True, help="Only ask: do not wait until it has ended.")
def cancel(run: str, no_wait: bool) -> int:
    """End a run: running steps are cancelled, waiting ones skipped. Whichever process drives it, or none any more."""
    return _do("cancelling:cancel", run=run, no_wait=no_wait)


@commands.command()
@click.argument("artifact")
@click.option("--down", is_flag=True, help="What came from it, instead of what it came from.")
def lineage(artifact: str, down: bool) -> int:
    """Show everything that an artifact came from, as a tree.

    ARTIFACT is an artifact's id, or RUN:STEP, or the path of a file.
    """
    return _do("lineage:lineage", artifact=artifact, down=down)


@commands.command()
@click.argument("run", required=False)
@click.option("--step", metavar="NAME", help="Of this step only.")
@click.option("--type", "type_", metavar="TEXT", help="Whose type has this in its name, such as frame.")
@click.option("--pipeline", metavar="NAME", help="Of this pipeline only.")
@click.option("--tag", metavar="NAME", help="That have this tag now.")
@click.option("--digest", metavar="HEX", help="With this digest, or one that begins so.")
@click.option("-n", "limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many at most.")
def artifacts(run: str | None, type_: str | None, **wanted: Any) -> int:
    """List artifacts, the newest first; of one run, in the order of its steps, those that it reused too."""
    return _do("artifacts:artifacts", run=run, type=type_, **wanted)


@commands.command()
@click.argument("artifact", metavar="ARTIFACT | RUN STEP")
@click.argument("step", required=False, metavar="")
@click.option("--output", type=click.IntRange(min=0), metavar="N", help="Which output, of a step that has several.")
@click.option("-n", "rows", type=click.IntRange(min=0), default=10, show_default=True, help="How many rows of a table.")
@click.option("--raw", is_flag=True, help="Its bytes, for a file or a pipe: of text and bytes themselves, else as stored.")
def cat(artifact: str, step: str | None, output: int | None, rows: int, raw: bool) -> int:
    """Print a value: text as it is, plain values as JSON, tables as their first rows.

    ARTIFACT is an artifact's id, as `ashore artifacts` and `ashore show --json` have it, or RUN:STEP.
    """
    return _do("printing:cat", artifact=artifact, step=step, output=output, rows=rows, raw=raw)


@commands.command()
@click.argument("run")
@click.argument("step")
@click.argument("name")
@click.option("--output", type=click.IntRange(min=0), metavar="N", help="Which output, of a step that has several.")
def tag(run: str, step: str, name: str, output: int | None) -> int:
    """Give what a step of a run made a name, such as champion: the last one of a step that got it has it.

    STEP is its name, or the id of one of its calls, as `ashore artifacts RUN` has it.
    In a pipeline, latest("retrain", "fit", tag="champion") is it from then on.
    """
    return _do("tagging:tag", run=run, step=step, tag=name, output=output)


@commands.command()
@click.argument("query")
def sql(query: str) -> int:
    """Ask the index in SQL. Views: runs, steps, artifacts, edges, params, triggers, tags, metrics."""
    return _do("looking:sql", query=query)


@commands.command()
def doctor() -> int:
    """Look whether the home is well: permissions, disk space, the log, the index, daemons, runs that nobody drives.

    Says what is wrong and how to mend it; exit code 1 if something is.
    """
    return _do("doctor:doctor")


@commands.group(cls=click.Group)
def index() -> None:
    """The index: derived from the log, and never needed by it."""


index.params += _shared()


@index.command(cls=Command)
def rebuild() -> int:
    """Make the index anew from the log."""
    return _do("looking:rebuild")
