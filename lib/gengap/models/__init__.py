"""Which models there are: one dial, `model_size`, from which everything else follows.

A family is one file beside this one: the shapes of its models, their checkpoints, the rows they were trained on, what they ask of
a machine. `gengap.models.spec.ModelSpec` says what a family has to answer; nothing outside this package asks which family it is.

>>> import gengap
>>> [name for name, spec in gengap.REGISTRY.items() if spec.n_params < 110_000]
['ladder-50k', 'ladder-100k', 'llama-50k', 'llama-100k', 'dictionary-50k', 'dictionary-100k']
"""

import difflib

from gengap.errors import UserError
from gengap.models import dictionary, ladder, llama, polypythia, pythia, pythia_deduped
from gengap.models.loading import load_checkpoint as load_checkpoint
from gengap.models.spec import ModelSpec

FAMILIES = (ladder.MODELS, llama.MODELS, dictionary.MODELS, pythia.MODELS, pythia_deduped.MODELS, polypythia.MODELS)

REGISTRY: dict[str, ModelSpec] = {spec.model_size: spec for family in FAMILIES for spec in family}

DEFAULT_LADDER = ("ladder-50k", "ladder-100k", "ladder-200k")  # what `make book` trains itself


def get(model_size: str, revision: str = "") -> ModelSpec:
    """The model named `model_size` at `revision` ("": the checkpoint that counts as its compute-optimal one).

    Raises `UserError` for an unknown name, with the nearest ones, and for a revision that was not released.

    >>> import gengap
    >>> gengap.get("pythia-410m").revision, gengap.get("pythia-410m", "step512").n_train_tokens
    ('step4000', 1073741824)
    """
    if model_size not in REGISTRY:
        near = difflib.get_close_matches(str(model_size), REGISTRY, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "`gengap sizes` lists them"
        raise UserError(f"unknown model size {model_size!r}: {hint}")
    spec = REGISTRY[model_size]
    return spec if revision in ("", spec.revision) else spec.at(revision)
