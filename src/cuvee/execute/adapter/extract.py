"""From a base and a fine-tuned model to a low-rank adapter of what they differ by.

Matrices of linear layers become factors; the biases of these layers go with them. All else that differs (embeddings,
norms, kernels of convolutions, packed experts) is listed with the norm of its difference, and saved as a whole where
that is asked for.
"""

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from cuvee.architectures.tied import tied_names
from cuvee.digest import digest_of_set
from cuvee.errors import OutputError, RecipeError
from cuvee.execute.adapter.difference import READING, Difference
from cuvee.execute.adapter.folder import Made, Origin, require_folder, write_adapter
from cuvee.execute.adapter.tasks import Count, Task, carry_out
from cuvee.execute.adapter.whole import WholeTensor
from cuvee.execute.report import Meter, Progress, Report
from cuvee.plan.limits import Limits, Share, memory_of_process, resident_memory, share_out
from cuvee.recipe.licence import licence_of
from cuvee.recipe.rule import Output
from cuvee.sources.adapter.lowrank import is_transposed
from cuvee.sources.open import open_source, refuse_pipeline
from cuvee.spec import Source
from cuvee.tensors.lowrank import factor_rows, memory_of, readings_of
from cuvee.writers.adapter import ROOT, Adapter, ModuleFactors
from cuvee.writers.spool import Spool
from cuvee.writers.target import check_target

__all__ = ["Extracted", "Extraction", "Remainder", "extract", "extracted_digests"]

EMBEDDING = re.compile(r"(?!embed_out).*embed.*|wte|wpe|shared|\w*_?emb|relative_attention_bias", re.IGNORECASE)
GENERATES = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")  # classes with a head, stored or not
SPARE = 32 << 20  # bytes for digests and what is copied


@dataclass(frozen=True, slots=True, kw_only=True)
class Extracted:
    """What became of one matrix.

    Attributes:
        module: name of its module.
        rank: of its factors.
        norm: Frobenius norm of the difference.
        error: norm of what the factors lack of it, relative to `norm`.
    """

    module: str
    rank: int
    norm: float
    error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Remainder:
    """A tensor that differs and is no matrix of a linear layer.

    Attributes:
        name: the tensor.
        norm: Frobenius norm of the difference; NaN where its elements are no floating-point numbers.
        saved: it is in the adapter, as a whole.
    """

    name: str
    norm: float
    saved: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Extraction:
    """What an extraction made.

    Attributes:
        modules: the matrices that became factors, in the base's order.
        others: all else that differs.
        unchanged: number of tensors that are equal.
        report: what it cost.
    """

    modules: Sequence[Extracted]
    others: Sequence[Remainder]
    unchanged: int
    report: Report


def extract(
    base: str | Path,
    finetuned: str | Path,
    out: str | Path,
    *,
    rank: int | None = None,
    error: float | None = None,
    save_others: bool = False,
    overwrite: bool = False,
    limits: Limits | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Extraction:
    """Extract a low-rank adapter from a base and a fine-tuned model.

    Both are read a block at a time; matrices are worked on several at once. A matrix takes four float64 matrices of its
    shorter side, its factors, and some blocks of 32 MiB.

    Args:
        base: reference of the base; see `cuvee.open_source`.
        finetuned: reference of the fine-tuned model.
        out: folder to write.
        rank: rank of every matrix; fewer where it has no more.
        error: instead of a rank, the relative error (Frobenius) that each matrix may have.
        save_others: put other tensors that differ into the adapter as a whole, where PEFT can (``modules_to_save``).
        overwrite: replace a checkpoint or adapter that stands at `out`.
        limits: workers and memory; they do not change the result.
        progress: called from workers with the bytes moved since its last call and the bytes to move in all.

    Raises:
        RecipeError: not one of rank and error is given, or it is out of range.
        UnsupportedError: one is a pipeline of several models.
        PlanError: the models differ in names or shapes, or a matrix takes more memory than the limit.
        MergeError: a weight is not finite.
        OutputError: the models are equal, or the output cannot be written.
    """
    meter = Meter()
    require_folder(Path(out))
    with ExitStack() as stack:
        work = _Extract(base, finetuned, _settings(rank, error), stack, save_others=save_others)
        check_target(out, overwrite=overwrite, inputs=work.paths)
        told = Progress(progress, 0)
        work.run(Path(out), work.share(limits or Limits()), told)
        if not any(work.norms.values()):
            raise OutputError(f"{base} and {finetuned} are equal in every tensor; there is nothing to extract.")
        report = write_adapter(work.made(), Path(out), meter, told, stack, overwrite=overwrite, inputs=work.paths)
    unchanged = sum(norm == 0 for norm in work.norms.values())
    return Extraction(modules=work.modules, others=work.others(), unchanged=unchanged, report=report)


def extracted_digests(recorded: Mapping[str, Any], limits: Limits) -> Mapping[str, Any]:
    """Extract once more as a record says, keeping nothing; return the digests of the result, as they are recorded.

    Args:
        recorded: what an adapter's record has under ``extract``.
        limits: workers and memory.

    Raises:
        CuveeError: see `extract`; or it is not what an extraction records.
    """
    asked = _settings(recorded.get("rank"), recorded.get("error"))
    with ExitStack() as stack:
        base, finetuned = recorded.get("base", ""), recorded.get("finetuned", "")
        work = _Extract(base, finetuned, asked, stack, save_others=bool(recorded.get("save_others")))
        work.run(None, work.share(limits), lambda _: None)
        return work.made().digests()


def _settings(rank: int | None, error: float | None) -> Output:
    """Verify what is asked for."""
    if rank is None and error is None:
        raise RecipeError("an adapter to extract needs a rank or an error: --rank 16, or --error 0.1.")
    return Output(adapter=True, rank=rank, error=error)


class _Extract:
    """An extraction: opened, then carried out.

    Attributes:
        paths: files and folders that are read.
        modules: the matrices that became factors.
        norms: of every tensor's difference.
    """

    def __init__(
        self, base: str | Path, finetuned: str | Path, settings: Output, stack: ExitStack, *, save_others: bool
    ) -> None:
        self._settings, self._stack, self._save_others = settings, stack, save_others
        sources = []
        for place in (base, finetuned):
            sources.append(open_source(place))
            stack.callback(sources[-1].close)
            refuse_pipeline(sources[-1], sources[-1].reference)
        self._pair = Difference(*sources)
        self._named = str(base)
        self._matrices = [name for name in self._pair.base.header if _is_linear(name, self._pair.base)]
        self._adapter: Adapter | None = None
        self._saved: set[str] = set()
        self._moved = 0
        self.paths: Sequence[Path] = [path for source in sources for path in source.paths]
        self.modules: list[Extracted] = []
        self.norms: Mapping[str, float] = {}

    def share(self, limits: Limits) -> Share:
        """Decide how the work is shared out, as if every matrix differed.

        Raises:
            PlanError: a matrix by itself takes more memory than the limit; names it, and what would do.
        """
        resident = resident_memory()
        tasks = [(each.name, each.memory) for each in self._pair.measures()]
        tasks += [(_module(name), self._memory(name)) for name in self._matrices]
        return share_out(tasks, limits, memory_of_process(resident) + SPARE, resident)

    def run(self, out: Path | None, share: Share, progress: Count) -> None:
        """Extract; what is made waits in a spool.

        Args:
            out: where it will go; None keeps only digests.
            share: how the work is shared out.
            progress: called from workers with the bytes moved since the last call.
        """
        pair = self._pair
        pair.fetch()
        total = sum(map(pair.cost, pair.base.header))
        _expect(progress, total + sum(map(self._cost, self._matrices)))
        carry_out(pair.measures(), share, progress)
        self.norms = pair.norms()
        changed = [name for name in self._matrices if self.norms[name] != 0]
        self._moved = total + sum(map(self._cost, changed))
        spool = Spool(out)
        self._stack.callback(spool.close)
        modules = {_module(name): is_transposed(_module(name), False, pair.base.config) for name in changed}
        self._adapter = Adapter(list(modules), spool, {})
        found: dict[str, Extracted] = {}
        tasks = [
            Task(name=_module(name), memory=self._memory(name), do=partial(self._factor, name, found, modules))
            for name in changed
        ]
        tasks += self._wholes(modules)
        written = sum(4 * sum(pair.base.header[name].shape) * self._rank(name) for name in changed)
        _expect(progress, self._moved + written + sum(spec.nbytes for spec in spool.header.values()))
        carry_out(tasks, share, progress)
        self.modules = [found[module] for module in modules]
        pair.check_unchanged()

    def made(self) -> Made:
        """Return what was made."""
        assert self._adapter is not None
        notes = [*map(_said, self.modules), *map(_told, self.others())]
        return Made(adapter=self._adapter, origin=self._origin(notes))

    def others(self) -> Sequence[Remainder]:
        """Return all else that differs."""
        done = {f"{each.module}.weight" for each in self.modules}
        return [
            Remainder(name=name, norm=norm, saved=name in self._saved)
            for name, norm in self.norms.items()
            if norm != 0 and name not in done
        ]

    def _cost(self, name: str) -> int:
        """Return the bytes that factoring a matrix reads."""
        rows, width = self._pair.base.header[name].shape
        return int(self._pair.cost(name) * readings_of((rows, width)))

    def _rank(self, name: str) -> int:
        """Return the rank that a matrix has at most."""
        most = min(self._pair.base.header[name].shape)
        return min(self._settings.rank or most, most)

    def _memory(self, name: str) -> int:
        """Return the bytes that factoring a matrix takes."""
        rows, width = self._pair.base.header[name].shape
        written = 4 * (rows + width) * self._rank(name)
        return memory_of((rows, width), self._rank(name), READING) + written + self._pair.memory

    def _factor(self, name: str, found: dict[str, Extracted], crossed: Mapping[str, bool], count: Count) -> None:
        """Factor the difference of a matrix, and hand it on."""
        assert self._adapter is not None
        pair, module = self._pair, _module(name)
        rows, width = pair.base.header[name].shape

        def read(first: int, last: int) -> Any:
            return pair.rows(name, first, last, count)

        made = factor_rows(read, (rows, width), rank=self._settings.rank, error=self._settings.error)
        b, a = (made.right.T, made.left.T) if crossed[module] else (made.left, made.right)
        self._adapter.put(module, ModuleFactors(a, b))
        found[module] = Extracted(module=module, rank=made.right.shape[0], norm=made.norm, error=made.error)

    def _wholes(self, modules: Mapping[str, bool]) -> Sequence[Task]:
        """Put biases of layers that have factors into the adapter and, where asked for, modules that have none."""
        assert self._adapter is not None
        changed = [name for name, norm in self.norms.items() if norm != 0]
        biases = [name for name in changed if name.endswith(".bias") and name.removesuffix(".bias") in modules]
        wanted = dict.fromkeys(name.rpartition(".")[0] for name in changed) if self._save_others else {}
        saved = [module for module in wanted if module and module not in modules]
        of_saved = [name for name in self._pair.finetuned.header if name.rpartition(".")[0] in saved]
        tied = {alias: name for alias, name in self._tied().items() if name in of_saved}
        saved += dict.fromkeys(alias.rpartition(".")[0] for alias in tied)
        # PEFT loads what it finds by its name, and wraps layers that have factors.
        stored_names = [(f"{ROOT}{name.removesuffix('bias')}base_layer.bias", name) for name in biases]
        stored_names += [(f"{ROOT}{name}", tied.get(name, name)) for name in [*of_saved, *tied]]
        tasks: list[Task] = []
        for stored, name in stored_names:
            source = self._pair.finetuned
            whole = WholeTensor(
                name=stored, spec=replace(source.header[name], stored=None), inner=name, read_into=source.read_into,
                cost=source.cost(name), memory=self._pair.memory,
            )  # fmt: skip
            self._adapter.put_whole(stored, whole.spec)
            self._saved.add(name)
            self._moved += whole.cost
            tasks += whole.tasks(self._adapter.spool)
        self._adapter.settings = {
            "base_model_name_or_path": self._named,
            "fan_in_fan_out": any(modules.values()),
            "modules_to_save": saved or None,
            "bias": "lora_only" if biases else "none",
            **({"ensure_weight_tying": True} if len(tied) == 1 else {}),
        }
        return tasks

    def _tied(self) -> Mapping[str, str]:
        """Return the names of tensors that are not stored, such as a tied head's, and whose tensors they are.

        PEFT puts a copy in the place of an embedding that is saved, and needs one for what is tied to it, too.
        """
        base = self._pair.base
        classes = base.config.get("architectures")
        heads = isinstance(classes, list) and any(str(each).endswith(GENERATES) for each in classes)
        aliases = tied_names(base.header, base.config, base.shared, ("lm_head.weight",) if heads else ())
        return {alias: name for alias, name in aliases.items() if alias not in base.header}

    def _origin(self, notes: Sequence[str]) -> Origin:
        """Say where an extracted adapter comes from."""
        inputs: dict[str, dict[str, Any]] = {}
        for label, source in (("base", self._pair.base), ("finetuned", self._pair.finetuned)):
            digests = self._pair.digests[label].complete(list(source.header), source.read_into)
            inputs[label] = {
                "reference": source.reference,
                "location": source.location,
                "licence": licence_of(source),
                "digest": digest_of_set(source.header, digests),
                "unused": [],
            }
        rank, error = self._settings.rank, self._settings.error
        asked = {"rank": rank} if rank is not None else {"error": error}
        places = {label: stated["location"] for label, stated in inputs.items()}
        named = " ".join(shlex.quote(source.reference) for source in (self._pair.base, self._pair.finetuned))
        kept = " ".join(f"--{key} {value}" for key, value in asked.items())
        return Origin(
            method="extract",
            recipe={"extract": {**places, **asked, "save_others": self._save_others}},
            text=f"# cuvee extract {named} {kept}{' --save-others' if self._save_others else ''}\n",
            inputs=inputs,
            citations=[],
            bytes_read=self._moved,
            notes=notes,
        )


def _expect(progress: Count, total: int) -> None:
    """Say how many bytes will be moved, where somebody wants to know."""
    if isinstance(progress, Progress):
        progress.total = total


def _module(name: str) -> str:
    return name.removesuffix(".weight")


def _is_linear(name: str, base: Source) -> bool:
    """Say whether a tensor is the matrix of a linear layer."""
    module, _, leaf = name.rpartition(".")
    last = module.rpartition(".")[2]
    tied = last == "lm_head" and base.config.get("tie_word_embeddings") is True
    is_matrix = leaf == "weight" and len(base.header[name].shape) == 2 and base.header[name].dtype.kind == "float"
    return is_matrix and bool(module) and not tied and not EMBEDDING.fullmatch(last)


def _said(each: Extracted) -> str:
    return f"{each.module}: rank {each.rank}, norm of the difference {each.norm:.4g}, relative error {each.error:.3g}."


def _told(each: Remainder) -> str:
    where = "saved as a whole" if each.saved else "not in the adapter"
    return f"{each.name}: no matrix of a linear layer, {where}; norm of the difference {each.norm:.4g}."
