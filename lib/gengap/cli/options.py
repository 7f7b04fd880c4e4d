"""Options that are a notebook's parameters: read from the notebook when they are needed, typed nowhere else."""

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from gengap.cli.app import complete_revision

NAMED_ELSEWHERE = {"model_size"}  # by an argument
PASSED_ON = "gengap.passed_on"  # in a context's meta: what stood after --
COMPLETIONS = {"revision": complete_revision}


def chapter_options(*but: str) -> type[typer.core.TyperCommand]:
    """A class of commands that take the parameters of chapter 05, except those named in `but`, as options.

    The command's function receives those that were given as keyword arguments, by the names they have in the notebook.
    """

    class ChapterCommand(typer.core.TyperCommand):
        complete = False

        def get_params(self, ctx):
            if not self.complete:
                self.complete = True
                full = _command(self.callback.__wrapped__, {*but, *NAMED_ELSEWHERE})
                self.params, self.callback = full.params, full.callback
            return super().get_params(ctx)

        def parse_args(self, ctx, args):
            end = args.index("--") if "--" in args else len(args)
            ctx.meta[PASSED_ON] = args[end + 1 :]
            return super().parse_args(ctx, args[:end])

    return ChapterCommand


def takes_settings(function: Callable[..., None]) -> Callable[..., None]:
    """Mark a command's function: its `**settings` are options to be added, none of its own."""
    signature = inspect.signature(function)
    own = [p for p in signature.parameters.values() if p.kind != inspect.Parameter.VAR_KEYWORD]
    function.__signature__ = signature.replace(parameters=own)
    return function


def given(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that were given on the command line; the notebook has its own values for the others."""
    return {name: value for name, value in settings.items() if value is not None}


def _command(function: Callable[..., None], but: set[str]) -> typer.core.TyperCommand:
    from gengap import jobs, notebooks

    def option(parameter: notebooks.Parameter) -> inspect.Parameter:
        info = typer.Option(
            help=f"{parameter.help} (default: {parameter.default!r})",
            autocompletion=COMPLETIONS.get(parameter.name),
            rich_help_panel=f"Parameters of {jobs.CHAPTER}",
        )
        annotation = Annotated[parameter.type | None, info]
        return inspect.Parameter(
            parameter.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
        )

    def with_options(**values: Any) -> None:
        function(**values)

    own = inspect.signature(function).parameters.values()
    added = [option(p) for p in notebooks.parameters(jobs.chapter_path()) if p.name not in but]
    with_options.__signature__ = inspect.Signature([*own, *added])
    with_options.__doc__ = function.__doc__
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(name=function.__name__)(with_options)
    return typer.main.get_command(app)
