"""Options that several commands share: the settings of a certificate, declared once in `gengap.workflow.settings`."""

import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Annotated, Any, get_type_hints

import typer

from gengap.workflow.settings import Settings

PASSED_ON = "gengap.passed_on"  # in a context's meta: what stood after --


class PassesOn(typer.core.TyperCommand):
    """A command that keeps what stands after `--` for another program."""

    def parse_args(self, ctx, args):
        end = args.index("--") if "--" in args else len(args)
        ctx.meta[PASSED_ON] = args[end + 1 :]
        return super().parse_args(ctx, args[:end])


def takes_settings(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each setting; its `**settings` receive those that were given."""
    hints = get_type_hints(Settings, include_extras=True)

    def option(name: str, default: Any) -> inspect.Parameter:
        kind, meaning = hints[name].__origin__, hints[name].__metadata__[0]
        info = typer.Option(help=f"{meaning} (default: {default})", rich_help_panel="Settings of the certificate")
        kinds = inspect.Parameter.KEYWORD_ONLY
        return inspect.Parameter(name, kinds, default=None, annotation=Annotated[kind | None, info])

    def command(**values: Any) -> None:
        unset = {field.name for field in fields(Settings) if values[field.name] is None}
        function(**{name: value for name, value in values.items() if name not in unset})

    signature = inspect.signature(function)
    own = [p for p in signature.parameters.values() if p.kind != inspect.Parameter.VAR_KEYWORD]
    own = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
    command.__signature__ = signature.replace(
        parameters=[*own, *(option(field.name, field.default) for field in fields(Settings))]
    )
    command.__name__, command.__doc__ = function.__name__, function.__doc__
    return command
