"""What all commands share: the application, how errors are told, arguments that a shell can complete."""

import errno
import gc
import sys
from typing import Annotated

import typer

from gengap.compression.methods import METHODS
from gengap.errors import UserError


class _OneSentence(typer.core.TyperGroup):
    def main(self, *args, **options):
        gc.disable()  # until a command runs: help is there sooner, and leaves little behind
        return super().main(*args, **options)

    def invoke(self, ctx):
        from gengap import hardware

        gc.enable()
        hardware.collect_seldom()
        hardware.keep_freed_memory()
        try:
            return super().invoke(ctx)
        except UserError as error:
            code, said = 1, str(error)
        except typer.exceptions.TyperException as error:  # what was typed is not what a command takes
            code, said = error.exit_code, error.format_message()
        except OSError as error:
            if error.errno in (None, errno.EPIPE):
                raise
            code, said = 1, f"{error.filename or 'a file'}: {error.strerror}"
        print(f"error: {said}", file=sys.stderr)
        raise typer.Exit(code)


app = typer.Typer(
    cls=_OneSentence,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Generalization bounds for language models: each step of the graph as a command.",
)


def complete_size(incomplete: str) -> list[str]:
    """Model sizes that begin with `incomplete`, for the shell."""
    from gengap.models import REGISTRY

    return [name for name in REGISTRY if name.startswith(incomplete)]


def complete_revision(ctx: typer.Context, incomplete: str) -> list[str]:
    """Revisions of the sizes named so far that begin with `incomplete`, for the shell."""
    from gengap import models

    # Sizes that were parsed, or not yet.
    named = [ctx.params.get("model_size"), *(ctx.params.get("model_sizes") or []), *ctx.args]
    specs = [models.REGISTRY[size] for size in named if size in models.REGISTRY]
    found = dict.fromkeys(revision for spec in specs for revision in spec.revisions())
    return [revision for revision in found if revision.startswith(incomplete)]


ModelSize = Annotated[
    str,
    typer.Argument(
        help="A key of gengap.models.REGISTRY, such as ladder-100k (`gengap sizes`).", autocompletion=complete_size
    ),
]
Revision = Annotated[
    str,
    typer.Option(
        help="A checkpoint off the frontier: Pythia's stepN, a rung's 4x; empty: the compute-optimal one.",
        autocompletion=complete_revision,
    ),
]
QuantizationMethod = Annotated[str, typer.Option(help=f"Quantizer: {', '.join(METHODS)}.")]
Bits = Annotated[int, typer.Option(help="Per quantized weight, or of the file, a parameter (2 to 8).")]
