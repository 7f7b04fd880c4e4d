"""Pythia (Biderman et al. 2023): released checkpoints, each `stepN` after the first N batches of the Pile in a known order."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from gengap import hardware, published
from gengap.errors import UserError
from gengap.hardware import Finding
from gengap.models.loading import load_checkpoint
from gengap.models.revisions import refuse_copies, refuse_copies_on_hub
from gengap.models.spec import TOKENS_PER_PARAMETER, ModelSpec

if TYPE_CHECKING:
    from transformers import GPTNeoXForCausalLM

    from gengap.statistics.companion import Companion
    from gengap.tokens.patience import Patience
    from gengap.tokens.pile import PileRows

FOLDER_VARIABLE = "GENGAP_PYTHIA"  # a folder holding <model size>/<revision>/{config.json,model.safetensors}
HELDOUT_STEPS = 1000  # the steps after the checkpoint from which its held-out rows are drawn
BYTES_PER_WEIGHT = {"float32": 4, "bfloat16": 2}  # in order of preference; the released float16 fits in float32
WORKSPACE_BYTES = 2**30  # activations, logits of a chunk, the interpreter


@dataclass(frozen=True)
class PythiaSpec(ModelSpec):
    """A released checkpoint of Pythia, named by its training step; it has seen the first `step` batches and no more."""

    step: int  # optimizer steps behind this checkpoint
    vocab_size: int = 50304  # V, the width of the output: the tokenizer's 50277 padded for the hardware
    seq_len: int = 2048  # predicted tokens per row
    rotary_fraction: float = 0.25
    batch_rows: int = 1024  # rows (windows) per optimizer step

    uses_gpu = True
    rows_hub: ClassVar[str] = "hf://datasets/EleutherAI/pile-standard-pythia-preshuffled"
    rows_variable: ClassVar[str] = "GENGAP_PILE"  # a folder, an http(s) address, any that fsspec knows
    last_step: ClassVar[int] = published.facts("pythia")["last_step"]  # of those that can be bounded

    @property
    def revision(self) -> str:
        return f"step{self.step}"

    @property
    def n_train_rows(self) -> int:
        return self.step * self.batch_rows

    @property
    def repository(self) -> str:
        """Where the hub keeps it."""
        return f"EleutherAI/{self.model_size}"

    @classmethod
    def rows_url(cls) -> str:
        """Where the shards of training rows are: what the variable says, else the hub."""
        return os.environ.get(cls.rows_variable) or cls.rows_hub

    def revisions(self) -> list[str]:
        every = published.facts("pythia")["checkpoint_every_steps"]
        steps = [0, *(2**k for k in range(10)), *range(every, self.last_step + 1, every)]
        return [f"step{step}" for step in steps]

    def neighbours(self) -> list[str]:
        """The revisions that this one is compared with: the released model ("main"), and the steps before and after."""
        steps = self.revisions()
        at = steps.index(self.revision) if self.revision in steps else 0
        beside = [*steps[max(0, at - 1) : at], *steps[at + 1 : at + 2]]
        return beside if self.step == published.facts("pythia")["last_step"] else ["main", *beside]

    def at(self, revision: str) -> "PythiaSpec":
        if revision not in self.revisions():
            raise UserError(
                f"{self.model_size} has no checkpoint {revision!r}: there are {published.facts('pythia')['checkpoints']}; "
                f"the compute-optimal one is {compute_optimal(self).revision}"
            )
        return replace(self, step=int(revision.removeprefix("step")))

    def load(self) -> "GPTNeoXForCausalLM":
        """From `$GENGAP_PYTHIA/<model size>/<revision>/` or the hub, in float32 if that fits, else in bfloat16.

        On GPUs if there are any, spread by accelerate (or whole on the GPU that this process has for itself), else on the CPU.
        Raises `UserError` if memory cannot suffice, before a byte is read; if the checkpoint cannot be had as safetensors; and if
        it is not what the registry says: another architecture, missing or misshapen weights, those of another step.
        """
        import torch

        free, own_gpu = hardware.gpu_free_bytes(), hardware.gpu_of_this_process()
        if own_gpu is not None:
            available, where, placement = free[own_gpu], "memory on each GPU", {"device_map": {"": own_gpu}}
        elif free:
            available, where, placement = sum(free), "GPU memory", {"device_map": "auto"}
        else:
            available, where, placement = hardware.memory_bytes(), "memory", {}
        dtype = choose_dtype(self, available, where)
        base = os.environ.get(FOLDER_VARIABLE)
        folder = Path(base, self.model_size, self.revision) if base else None
        if folder and not (folder / "config.json").is_file():
            raise UserError(
                f"{folder} holds no checkpoint (config.json and safetensors): put it there, or unset {FOLDER_VARIABLE} to use the hub"
            )
        if folder:
            refuse_copies(folder)
        else:
            refuse_copies_on_hub(self.repository, self.revision, self.neighbours())
        source = (folder, None) if folder else (self.repository, self.revision)
        name = f"{self.model_size} {self.revision}"
        try:
            return load_checkpoint(*source, config=self.config(), name=name, dtype=getattr(torch, dtype), **placement)
        except UserError as error:
            local = f"${FOLDER_VARIABLE}/{self.model_size}/{self.revision}/"
            raise UserError(
                f"{error}\na checkpoint that has been fetched or converted by other means belongs into {local}"
            ) from error

    def train_rows(self, patience: "Patience | None" = None) -> "PileRows":
        """The rows that the checkpoint has seen, (step x 1024, 2049), in the order of training."""
        if self.step == 0:
            raise UserError(f"{self.model_size} at step0 has seen no data: choose a later revision")
        return open_rows(self, 0, self.n_train_rows, patience)

    def heldout_rows(self, patience: "Patience | None" = None) -> "PileRows":
        """Rows of the 1000 steps after the checkpoint: held out, though later checkpoints train on them.

        The standard Pile is read less than once, so that these are other documents (copies inside the Pile aside).
        """
        return open_rows(self, self.n_train_rows, HELDOUT_STEPS * self.batch_rows, patience)

    def companion(self) -> "Companion | None":
        """The earlier checkpoints in `$GENGAP_PYTHIA` or in the hub's cache, if the untrained one is among them: none is fetched for this."""
        from gengap.statistics.companion import Companion

        earlier = [spec for spec in map(self.at, self.revisions()) if spec.step < self.step and spec.is_here()]
        if not earlier or earlier[0].step:
            return None
        starts = tuple(spec.n_train_rows for spec in earlier)
        return Companion("checkpoints", starts, lambda i: earlier[i].load())

    def is_here(self) -> bool:
        """Whether it can be read without the network."""
        if base := os.environ.get(FOLDER_VARIABLE):
            return Path(base, self.model_size, self.revision, "config.json").is_file()
        from huggingface_hub import try_to_load_from_cache

        return isinstance(try_to_load_from_cache(self.repository, "config.json", revision=self.revision), str)

    def memory_bytes(self, dtype: str = "float32") -> int:
        """Of the checkpoint, and of the quantized model as codes (a byte a weight), as float32 matrices and as the model built."""
        return load_bytes(self, dtype) + 9 * self.n_params

    def fits(self, memory_bytes: int, gpu_bytes: list[int]) -> str:
        for dtype in BYTES_PER_WEIGHT:
            on_gpu = not gpu_bytes or load_bytes(self, dtype) + 4 * self.n_params <= sum(gpu_bytes)
            if self.memory_bytes(dtype) <= memory_bytes and on_gpu:
                return dtype
        return ""

    @classmethod
    def sources(cls) -> Iterator[Finding]:
        from gengap.tokens import pile

        kept = sum(pack.stat().st_size for pack in pile.cache_dir().glob("*/*.pack"))
        yield Finding("row cache", True, f"{kept / 1e6:.1f} MB of training rows in {pile.cache_dir()}")
        if folder := os.environ.get(FOLDER_VARIABLE, ""):
            remedy = f"make that folder, or unset {FOLDER_VARIABLE}"
            yield Finding("checkpoints", Path(folder).is_dir(), f"local: {folder}", remedy)
        if url := os.environ.get(cls.rows_variable):
            yield Finding("rows", "://" in url or Path(url).is_dir(), url, f"mend or unset {cls.rows_variable}")


def compute_optimal(spec: PythiaSpec) -> PythiaSpec:
    """The first released checkpoint that has seen 20 N tokens or more: up to a multiple of 1000 steps."""
    tokens = published.compute_optimal_tokens(spec.n_params, TOKENS_PER_PARAMETER)
    return replace(spec, step=min(tokens // published.facts("pythia")["tokens_per_step"], spec.last_step))


def load_bytes(spec: "PythiaSpec", dtype: str) -> int:
    """Memory for the checkpoint alone and room to run it."""
    return BYTES_PER_WEIGHT[dtype] * spec.n_params + WORKSPACE_BYTES


def choose_dtype(spec: "PythiaSpec", available_bytes: int, where: str) -> str:
    """The first dtype in which the checkpoint fits; `UserError` with the numbers if it fits in none."""
    for dtype in BYTES_PER_WEIGHT:
        if (needed := load_bytes(spec, dtype)) <= available_bytes:
            return dtype
    raise UserError(
        f"{spec.model_size} needs {needed / 1e9:.1f} GB of {where} in {dtype}, and "
        f"{available_bytes / 1e9:.1f} GB are free: take a smaller size (`gengap doctor` lists those that fit) or a larger machine"
    )


def open_rows(spec: "PythiaSpec", first_row: int, n_rows: int, patience: "Patience | None" = None) -> "PileRows":
    """`n_rows` rows of the family's shards from `first_row` on, or those of them that are there.

    Raises `UserError` if the shards are no rows of this model, or do not hold all that it was trained on.
    """
    from gengap.tokens.patience import Patience
    from gengap.tokens.pile import PileRows, RowCache, cache_dir
    from gengap.tokens.shards import open_shards

    url, row_tokens = spec.rows_url(), spec.seq_len + 1
    patience = replace(patience or Patience(), address=f"the address in {spec.rows_variable}")
    file = open_shards(url, patience)
    there, rest = divmod(file.size, 2 * row_tokens)
    if rest and file.complete:
        raise UserError(f"{url}: {file.size:,} bytes are no whole number of rows of {row_tokens} tokens")
    if first_row == 0 and there < n_rows:
        raise UserError(f"{url} holds {there:,} rows, but {spec.model_size} {spec.revision} was trained on {n_rows:,}")
    if there <= first_row:
        raise UserError(
            f"{url} holds no rows after {spec.revision}, so none are held out: choose an earlier revision, or add shards"
        )
    cache = RowCache(cache_dir() / file.source_sha256[:16], row_tokens)
    return PileRows(file, cache, first_row, min(n_rows, there - first_row), spec.vocab_size)


def family(name: str, spec: type[PythiaSpec]) -> tuple[PythiaSpec, ...]:
    """All sizes at their compute-optimal checkpoints; Biderman et al. 2023, Table 1 and the released config.json files.

    The output is padded to a multiple of 128 times the number of GPUs that shared a model.
    """
    shapes = [
        # size  width layers heads output
        ("14m", 128, 6, 4, 50304),
        ("31m", 256, 6, 8, 50304),
        ("70m", 512, 6, 8, 50304),
        ("160m", 768, 12, 12, 50304),
        ("410m", 1024, 24, 16, 50304),
        ("1b", 2048, 16, 8, 50304),
        ("1.4b", 2048, 24, 16, 50304),
        ("2.8b", 2560, 32, 32, 50304),
        ("6.9b", 4096, 32, 32, 50432),
        ("12b", 5120, 36, 40, 50688),
    ]
    return tuple(compute_optimal(spec(name, *shape, step=0, vocab_size=output)) for *shape, output in shapes)


MODELS = family("pythia", PythiaSpec)
