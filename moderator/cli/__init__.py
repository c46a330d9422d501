"""The ``moderator`` command. Groups load lazily, so ``--help`` imports click and nothing else of ours."""

from __future__ import annotations

import atexit
import importlib
import signal
import sys
from typing import Any

import click

# command → (module, attribute, one-line help): static, so that help needs no import of the commands
_COMMANDS = {
    "scan": ("moderator.cli.scan", "scan", "Judge files, directories and tables of posts."),
    "check": ("moderator.cli.check", "check", "Judge one post given on the command line."),
    "queue": ("moderator.cli.queue", "queue", "Work the review queue."),
    "audit": ("moderator.cli.audit", "audit", "Verify, sign, prove and export the log."),
    "policy": ("moderator.cli.policy", "policy", "List, show, check and test policies."),
    "plugins": ("moderator.cli.plugins", "plugins", "List installed plugins and check their contracts."),
    "models": ("moderator.cli.models", "models", "List the models and weights found, write a smaller model."),
    "train": ("moderator.cli.train", "train", "Train a model from a configuration file."),
    "evaluate": ("moderator.cli.evaluate", "evaluate", "Measure a model on labelled data."),
    "calibrate": ("moderator.cli.calibrate", "calibrate", "Set a policy's thresholds from labelled data."),
    "diff": ("moderator.cli.diff", "diff", "Compare two models or policies on a sample of posts."),
    "db": ("moderator.cli.db", "db", "Upgrade and check the database."),
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, attribute, _ = _COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in _COMMANDS.items()])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="moderator", prog_name="moderator")
def cli() -> None:
    """Judge posts made of text, images and audio together: allow, review or block."""


def main() -> None:
    """Entry point: errors raised on purpose become one line on stderr and an exit code, no traceback."""
    try:
        code = _run()
    except KeyboardInterrupt:  # while the last words were said
        code = 130
    # Python takes a moment to end, and nothing is left to interrupt: Ctrl-C shall not end it by the signal.
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
    sys.exit(code)


def _run() -> int:
    try:
        result: Any = cli.main(standalone_mode=False)
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return 130
    except BrokenPipeError:
        return 1
    except Exception as error:
        from moderator.errors import ModeratorError, SettingsError  # not needed for --help

        if not isinstance(error, ModeratorError):
            raise
        click.echo(f"error: {error}", err=True)
        return 2 if isinstance(error, SettingsError) else 1
    return result if isinstance(result, int) else 0
