"""The command line: the table of commands, and what their failures look like."""

import sys
import tempfile
from importlib import import_module
from io import TextIOWrapper
from typing import Annotated

import typer
import typer.exceptions

from redpajama import __version__
from redpajama.commands.terminal import say
from redpajama.errors import BuildFailed, UserError

COMMANDS = {  # in the order of --help; each module has `command`, whose signature and docstring are the interface
    "init": "redpajama.commands.init",
    "plan": "redpajama.commands.plan",
    "doctor": "redpajama.commands.doctor",
    "build": "redpajama.commands.build",
    "status": "redpajama.commands.status",
    "export": "redpajama.commands.export",
    "remove": "redpajama.commands.remove",
    "verify": "redpajama.commands.verify",
    "show": "redpajama.commands.show",
    "why": "redpajama.commands.why",
    "clusters": "redpajama.commands.clusters",
    "mixture": "redpajama.commands.mixture",
    "explore": "redpajama.commands.explore",
    "diff": "redpajama.commands.diff",
    "sources": "redpajama.commands.sources",
    "signals": "redpajama.commands.signals",
    "schema": "redpajama.commands.schema",
    "gc": "redpajama.commands.gc",
}

INTERRUPTED = 130  # the status that typer gives, too, without a word

app = typer.Typer(
    add_completion=True,  # --install-completion, --show-completion
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Raw dumps in, training shards out. A manifest says what; the command line says where.",
)


@app.callback(invoke_without_command=True)
def _whole(
    version: Annotated[bool, typer.Option("--version", help="the version of this program")] = False,
) -> None:
    if version:
        typer.echo(f"redpajama {__version__}")
        raise typer.Exit


for _name, _module in COMMANDS.items():
    app.command(_name)(import_module(_module).command)


def main() -> None:
    """Run a command; a mistake is one line and status 2, a broken promise one line and status 1."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal may know fewer characters than a corpus
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """The exit status of one command line."""
    try:
        status = app(args=arguments or ["--help"], standalone_mode=False, prog_name="redpajama") or 0
        return _complain("interrupted", status) if status == INTERRUPTED else status
    except typer.exceptions.TyperException as error:
        return _complain(f"{error.format_message()} ({_help_with(arguments)})", 2)
    except (typer.Abort, KeyboardInterrupt):
        return _complain("interrupted", INTERRUPTED)
    except UserError as error:
        return _complain(str(error), 2)
    except BuildFailed as error:
        return _complain(str(error), 1)
    except Exception as error:  # noqa: BLE001 (nothing ends in a traceback)
        return _complain(_explained(error), 1)


def _explained(error: Exception) -> str:
    """Any other exception in one line; its traceback goes to a file of its own."""
    from redpajama.engine import faults

    fault = faults.explain(error)
    if fault.kind is not faults.Kind.OURS:
        return fault.message
    with tempfile.NamedTemporaryFile("w", prefix="redpajama-", suffix=".log", delete=False) as log:
        log.write(f"redpajama {__version__}, Python {sys.version}\n{faults.traceback_of(error)}")
    return fault.told("", log.name)


def _help_with(arguments: list[str]) -> str:
    """What helps who was refused; a text to look for may begin with a dash."""
    dashes = " and a text that begins with a dash goes after --: why ROOT -- TEXT" if arguments[:1] == ["why"] else ""
    return f"--help says what there is{dashes and ','}{dashes}"


def _complain(message: str, status: int) -> int:
    say(message)
    return status
