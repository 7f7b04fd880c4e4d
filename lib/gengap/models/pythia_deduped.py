"""Pythia trained on the deduplicated Pile (Biderman et al. 2023): shapes, steps and row format of `gengap.models.pythia`.

The text is shorter, 207 billion tokens, and was read about one and a half times: the first pass ends near step 98,000 of 143,000. A
certificate speaks of tokens read once, in an order that nobody chose after looking, so checkpoints of the second pass are refused; so are
the last ones of the first, whose held-out rows (of the thousand steps that follow) would be text that was read before. Nothing here can
tell whether a released checkpoint was trained on the rows that it is said to have read; for the 2.8b model that has been doubted.
"""

from dataclasses import dataclass

from gengap.errors import UserError
from gengap.models.pythia import PythiaSpec, family


@dataclass(frozen=True)
class DedupedPythiaSpec(PythiaSpec):
    """A released checkpoint of the first pass, which ends before the 12b model is compute-optimal: at 17 tokens a parameter."""

    rows_hub = "hf://datasets/EleutherAI/pile-deduped-pythia-preshuffled"
    rows_variable = "GENGAP_PILE_DEDUPED"
    last_step = 97_000  # of those whose next thousand steps belong to the first pass too

    @property
    def repository(self) -> str:
        return f"EleutherAI/pythia-{self.size}-deduped"

    def at(self, revision: str) -> "DedupedPythiaSpec":
        step = revision.removeprefix("step")
        if step.isdecimal() and int(step) > self.last_step:
            raise UserError(
                f"{self.model_size} reads its text a second time from about step 98,000 on, and a certificate needs tokens read once: "
                f"choose step{self.last_step} or an earlier one"
            )
        return super().at(revision)


# The suite's sixteen models are eight sizes on each of two texts.
MODELS = tuple(spec for spec in family("pythia-deduped", DedupedPythiaSpec) if spec.size not in ("14m", "31m"))
