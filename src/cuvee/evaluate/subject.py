"""The model that is scored: a checkpoint, or a recipe that is merged in memory and never written.

Headers, configuration and tokenizer are there from the beginning; weights are read, or merged, when they are asked for.
"""

import re
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from cuvee.digest import digest_of_set
from cuvee.errors import NonFiniteError, ScoreError, some
from cuvee.evaluate.networks import (
    Need,
    architecture_of,
    build,
    configuration,
    first_line,
    fits,
    quiet,
    rehearse,
)
from cuvee.execute.beside import files_beside
from cuvee.execute.merged import merges_in, open_sources
from cuvee.execute.provenance import digests_of_files, provenance
from cuvee.execute.report import Report
from cuvee.execute.run import execute
from cuvee.plan.limits import Limits, budget_of
from cuvee.plan.planner import make_plan
from cuvee.recipe.recipe import Recipe
from cuvee.sources.sidecars import CODE_SUFFIX, CONFIG
from cuvee.sources.strict_json import parse_object
from cuvee.spec import folders_of
from cuvee.writers.memory import MemoryWriter

if TYPE_CHECKING:
    import torch

__all__ = ["Need", "Subject"]

MOST_NAMED = 4
UNLIMITED = 1_000_000  # what tokenizers say that know no limit is far beyond
POSITIONS = re.compile(r"(^|\.)(wpe|embed_positions|position_embeddings?)\.weight$")
AFTER_PADDING = ("camembert", "data2vec-text", "longformer", "roberta", "roberta-prelayernorm", "xlm-roberta", "xmod")
"""Families whose first token stands at the position after the padding token's number; those before hold none."""
PROCESSORS = ("preprocessor_config.json", "processor_config.json")
PREFIXES = ("tokenizer", "vocab", "merges", "spiece", "sentencepiece", "source.spm", "tekken")


class Subject(AbstractContextManager["Subject"]):
    """A model to score.

    Args:
        label: what results call it.
        recipe: what it is made by; of a checkpoint, one that copies it.
        is_merge: the user gave a recipe.
        device: where it runs.
        dtype: a torch name of the type it runs in, or ``"auto"`` for that of its configuration.
        limits: of the merge.

    Attributes:
        label: what results call it.
        recipe: see above.
        is_merge: see above.
        device: see above.
        config: its configuration, as it would be written.
        notes: what the user should know.
        report: what reading or merging it has cost; None before.
        digest: of all its tensors; empty before they are read.

    Raises:
        SourceError: a model cannot be opened.
        PlanError: the recipe and its models do not fit together.
        ScoreError: it is nothing that can be scored.
    """

    def __init__(
        self, label: str, recipe: Recipe, *, is_merge: bool, device: "torch.device", dtype: str, limits: Limits
    ) -> None:
        self.label, self.recipe, self.is_merge, self.device = label, recipe, is_merge, device
        self.report: Report | None = None
        self.digest = ""
        self._dtype, self._limits = dtype, limits
        if recipe.output.adapter:
            raise ScoreError(
                f"{label} makes an adapter, which is no model by itself. Merge it, and score BASE+FOLDER with the "
                "folder that it makes."
            )
        self._sources = open_sources()
        self._folder = tempfile.TemporaryDirectory(prefix="cuvee-")
        try:
            resolved = self._sources.resolve(recipe)
            self._plan = make_plan([resolved])
            donor = resolved.sources[resolved.donor]
            if folders_of(donor):
                raise ScoreError(
                    f"{label} is a pipeline of several models; a score is of one. Name a component's folder."
                )
            self._files = files_beside(self._plan, 0, donor.sidecars)
            if CONFIG not in self._files:
                raise ScoreError(f"{label} has no {CONFIG}, so that nothing says which network its weights are of.")
            self.config: Mapping[str, object] = parse_object(self._files[CONFIG], f"{label}: {CONFIG}", constants=True)
        except BaseException:
            self.close()
            raise
        self.notes = [*(note for each in merges_in(self._plan) for note in each.plan.warnings), *self._plan.warnings]
        for name, data in self._files.items():
            if not name.endswith(CODE_SUFFIX):
                (self.folder / name).write_bytes(data)

    @property
    def folder(self) -> Path:
        """Holds the files that lie beside its weights, such as configuration and tokenizer, without any code."""
        return Path(self._folder.name)

    @property
    def files(self) -> Mapping[str, str]:
        """Digests of the files beside its weights, by name."""
        return digests_of_files(self._files)

    @property
    def inputs(self) -> Mapping[str, Mapping[str, object]]:
        """What was read, by label of the recipe: places, licences, digests. Only after the weights were."""
        assert self.report is not None
        inputs: Mapping[str, Mapping[str, object]] = provenance(self._plan, 0, self.report, {})["inputs"]
        return inputs

    def prepare(self, needs: Sequence[Need]) -> None:
        """Find the network's class, and whether the tensors fit it; no weight is read.

        Args:
            needs: what scores need, to choose a class where the configuration names none.

        Raises:
            ScoreError: there is none, or the tensors do not fit.
        """
        self._architecture = architecture_of(self.config, needs, self.label)
        if left := rehearse(self._architecture, self.folder, self._plan.outputs[0], self.label):
            self.notes.append(f"Not used, as the network computes it itself: {some(left, MOST_NAMED)}.")

    @property
    def architecture(self) -> str:
        """The class of its network; `prepare` finds it."""
        return self._architecture

    def can(self, need: Need) -> bool:
        """Say whether its network does what is needed."""
        return fits(self._architecture, need)

    @cached_property
    def settings(self) -> Any:
        """Its configuration as transformers reads it, defaults included."""
        return configuration(self._architecture, self.folder, self.label)

    @cached_property
    def network(self) -> Any:
        """The network, on its device, in evaluation mode; weights are read, or merged, the first time.

        Raises:
            CuveeError: reading or merging failed.
            NonFiniteError: a weight is NaN or infinite, in the type that the network runs in.
        """
        writer = MemoryWriter(list(self._plan.outputs[0].items()))
        report = execute(self._plan, [writer], budget_of(self._plan, self._limits))
        tensors = writer.tensors()
        for row in self._plan.rows:
            first, *others = row.jobs[0].outputs
            tensors |= {other.name: tensors[first.name] for other in others}
        self.digest = digest_of_set(self._plan.outputs[0], report.outputs[0])
        for note in report.notes:
            self.note(note)
        self.report = report
        network = build(self._architecture, self.folder, tensors, self.label, self._dtype)
        for name, parameter in network.named_parameters():
            if not parameter.isfinite().all():
                raise NonFiniteError(
                    f"{self.label}: the weight '{name}' is NaN or infinite as {str(parameter.dtype)[6:]}, so that no "
                    "score of the model would mean anything. Look for what broke it, or give a wider dtype."
                )
        return network.to(self.device)

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer that goes with it.

        Raises:
            ScoreError: it has none, or one that transformers cannot read.
        """
        from transformers import AutoTokenizer

        if not any(name.startswith(PREFIXES) for name in self._files):
            raise ScoreError(
                f"{self.label} has no tokenizer beside its weights. Copy the files of its tokenizer there."
            )
        return self._read(AutoTokenizer, "tokenizer")

    @cached_property
    def image_processor(self) -> Any:
        """What makes a network's input of an image.

        Raises:
            ScoreError: there is none, or one that transformers cannot read.
        """
        from transformers import AutoImageProcessor

        if not any(name in PROCESSORS for name in self._files):
            raise ScoreError(f"{self.label} has no image processor beside its weights. Copy its {PROCESSORS[0]} there.")
        return self._read(AutoImageProcessor, "image processor")

    @property
    def padding(self) -> int:
        """The token that fills rows of unequal length: the tokenizer's, or else the one that ends a text."""
        known = (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id, self.tokenizer.unk_token_id)
        return next((int(each) for each in known if each is not None), 0)

    def encode(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        *,
        side: Literal["left", "right"] = "right",
        cuts: bool = True,
        special_tokens: bool = True,
    ) -> "dict[str, torch.Tensor]":
        """Return texts as the network's input, filled up to one length, on its device.

        Args:
            texts: the texts.
            pairs: second texts, if each example is two.
            side: where rows are filled up: on the left for a model that goes on after them.
            cuts: cut texts that are longer than the model was made for, and note it.
            special_tokens: put the tokenizer's special tokens where it puts them.
        """
        tokenizer = self.tokenizer
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.convert_ids_to_tokens(self.padding)
        self.network.config.pad_token_id = tokenizer.pad_token_id  # by which classifiers find the end of a text
        most = self._longest if cuts else None
        whole = tokenizer(texts, pairs, add_special_tokens=special_tokens, verbose=False)["input_ids"]
        if most is not None and any(len(each) > most for each in whole):
            self.note(f"Texts of more than {most} tokens were cut: the model was made for no more.")
        inputs = tokenizer(
            texts,
            pairs,
            add_special_tokens=special_tokens,
            padding=True,
            padding_side=side,
            truncation=most is not None,
            max_length=most,
            return_tensors="pt",
        )
        return {name: tensor.to(self.device) for name, tensor in inputs.items()}

    @property
    def has_position_table(self) -> bool:
        """Its positions are learned one by one, so that beyond the last there is none; others are computed."""
        header = self._plan.outputs[0]
        return any(len(spec.shape) == 2 and POSITIONS.search(name) for name, spec in header.items())

    def note(self, text: str) -> None:
        """Note something for the user, once."""
        if text not in self.notes:
            self.notes.append(text)

    @cached_property
    def _longest(self) -> int | None:
        """How many tokens a text may have; None is any number."""
        positions = getattr(self.settings, "max_position_embeddings", None)
        if isinstance(positions, int) and self.settings.model_type in AFTER_PADDING:
            positions -= self.settings.pad_token_id + 1
        limits = (self.tokenizer.model_max_length, positions)
        known = [each for each in limits if isinstance(each, int) and 1 < each < UNLIMITED]
        return min(known, default=None)

    def _read(self, kind: Any, what: str) -> Any:
        """Have transformers read something from the files."""
        try:
            with quiet():
                return kind.from_pretrained(self.folder, trust_remote_code=False, local_files_only=True)
        except Exception as error:  # whatever it raises for files that somebody has changed
            said = first_line(error).replace(str(self.folder), self.label)
            raise ScoreError(f"{self.label}: transformers cannot read its {what}: {said}.") from error

    def close(self) -> None:
        """Let go of files and weights."""
        self.__dict__.pop("network", None)
        self._sources.__exit__(None, None, None)
        self._folder.cleanup()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of files and weights."""
        self.close()
