"""From a base and a fine-tuned model to a low-rank adapter of what they differ by.

Matrices of linear layers become factors. All else that differs (embeddings, norms, biases, kernels of convolutions,
packed experts) is listed with the norm of its difference, and saved as a whole where that is asked for.
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cuvee.digest import Digests, digest_of_set
from cuvee.errors import MergeError, PlanError, RecipeError
from cuvee.execute.adapter.folder import Origin, check_folder, write_adapter
from cuvee.execute.report import Meter, Report
from cuvee.recipe.licence import licence_of
from cuvee.recipe.rule import Output
from cuvee.sources.adapter.lowrank import is_transposed
from cuvee.sources.open import open_source
from cuvee.sources.strict_json import shown
from cuvee.spec import Source
from cuvee.tensors.lowrank import factor_rows
from cuvee.tensors.widen import widened
from cuvee.writers.adapter import ROOT, Adapter, ModuleFactors, Whole

__all__ = ["Extracted", "Extraction", "Remainder", "extract"]

EMBEDDING = re.compile(r"(?!embed_out).*embed.*|wte|wpe|shared|\w*_?emb|relative_attention_bias", re.IGNORECASE)
PIECE = 1 << 20  # elements read at a time where shapes do not matter


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
) -> Extraction:
    """Extract a low-rank adapter from a base and a fine-tuned model.

    Reads rows of both a block at a time. Takes the memory of the adapter and, for the largest matrix, that of
    `cuvee.tensors.lowrank.memory_of`: four float64 matrices of its shorter side, and some blocks of 32 MiB.

    Args:
        base: reference of the base; see `cuvee.open_source`.
        finetuned: reference of the fine-tuned model.
        out: folder to write.
        rank: rank of every matrix; fewer where it has no more.
        error: instead of a rank, the relative error (Frobenius) that each matrix may have.
        save_others: put other tensors that differ into the adapter as a whole, where PEFT can (``modules_to_save``).
        overwrite: replace a checkpoint or adapter that stands at `out`.

    Raises:
        RecipeError: not one of rank and error is given, or it is out of range.
        PlanError: the models differ in names or shapes.
        MergeError: a weight is not finite.
        OutputError: the output cannot be written.
    """
    settings = Output(adapter=True, rank=rank, error=error)
    if rank is None and error is None:
        raise RecipeError("an adapter to extract needs a rank or an error: --rank 16, or --error 0.1.")
    check_folder(Path(out))
    meter = Meter()
    with closing(open_source(base)) as first, closing(open_source(finetuned)) as second:
        pair = _Pair(first, second)
        norms = pair.norms()
        adapter = Adapter(settings={"base_model_name_or_path": os.fspath(base)})
        modules = _factors(pair, norms, settings, adapter)
        if save_others:
            _save(pair, norms, adapter)
        saved = {name.removeprefix(ROOT) for name in adapter.whole}
        done = {f"{each.module}.weight" for each in modules}
        others = [
            Remainder(name=n, norm=norm, saved=n in saved) for n, norm in norms.items() if norm != 0 and n not in done
        ]
        notes = [*map(_said, modules), *map(_told, others)]
        origin = _origin(pair, settings, notes)
        pair.check_unchanged()
    report = write_adapter(adapter, origin, Path(out), meter, overwrite=overwrite)
    unchanged = sum(norm == 0 for norm in norms.values())
    return Extraction(modules=modules, others=others, unchanged=unchanged, report=report)


class _Pair:
    """A base and a fine-tuned model, of equal names and shapes."""

    def __init__(self, base: Source, finetuned: Source) -> None:
        self.base, self.finetuned = base, finetuned
        self.digests = {"base": Digests(base.header), "finetuned": Digests(finetuned.header)}
        self.bytes_read = 0
        for one, other in ((base, finetuned), (finetuned, base)):
            for name, spec in one.header.items():
                if name not in other.header or other.header[name].shape != spec.shape:
                    found = other.header[name].shape if name in other.header else "nothing"
                    raise PlanError(
                        f"{shown(name)} has shape {spec.shape} in {one.reference}, and {found} in {other.reference}; "
                        "expected a base and a model that was trained from it."
                    )

    def norms(self) -> dict[str, float]:
        """Read both once; return the norm of each tensor's difference, exactly 0 where it is equal."""
        return {name: self._norm(name) for name in self.base.header}

    def rows(self, name: str, first: int, last: int) -> NDArray[np.float64]:
        """Return rows of the difference of a matrix."""
        width = self.base.header[name].shape[1]
        ours, theirs = (self._floats(each, name, first * width, last * width) for each in (self.base, self.finetuned))
        difference = (theirs.astype(np.float64) - ours).reshape(last - first, width)
        if not np.isfinite(difference).all():
            raise MergeError(f"{name}: a weight is NaN or infinite; see which with cuvee diff.")
        return difference

    def check_unchanged(self) -> None:
        """Verify that neither has changed since."""
        self.base.check_unchanged()
        self.finetuned.check_unchanged()

    def _norm(self, name: str) -> float:
        spec, total, equal = self.base.header[name], 0.0, True
        are_floats = spec.dtype.kind == self.finetuned.header[name].dtype.kind == "float"
        for start, stop in _pieces(spec.size):
            ours = self._read(self.base, name, start, stop, "base")
            theirs = self._read(self.finetuned, name, start, stop, "finetuned")
            if are_floats:
                wide = widened(theirs, self.finetuned.header[name].dtype).astype(np.float64)
                total += float(np.sum((wide - widened(ours, spec.dtype)) ** 2))
            else:
                equal &= bool(np.array_equal(ours, theirs))
        return total**0.5 if are_floats else 0.0 if equal else float("nan")

    def _floats(self, source: Source, name: str, start: int, stop: int) -> NDArray[np.float32]:
        return widened(self._read(source, name, start, stop), source.header[name].dtype)

    def _read(self, source: Source, name: str, start: int, stop: int, label: str = "") -> NDArray[np.uint8]:
        bits = source.header[name].dtype.bits
        data = np.empty((stop - start) * bits // 8, np.uint8)
        source.read_into(data.data, name, start * bits // 8)
        self.bytes_read += data.nbytes
        if label:
            self.digests[label].add(name, start * bits // 8, data.data)
        return data


def _pieces(size: int) -> Iterator[tuple[int, int]]:
    """Yield runs of elements that make up a tensor."""
    for start in range(0, size, PIECE):
        yield start, min(start + PIECE, size)


def _is_linear(name: str, base: Source) -> bool:
    """Say whether a tensor is the matrix of a linear layer."""
    module, _, leaf = name.rpartition(".")
    last = module.rpartition(".")[2]
    tied = last == "lm_head" and base.config.get("tie_word_embeddings") is True
    is_matrix = leaf == "weight" and len(base.header[name].shape) == 2 and base.header[name].dtype.kind == "float"
    return is_matrix and bool(module) and not tied and not EMBEDDING.fullmatch(last)


def _factors(pair: _Pair, norms: dict[str, float], settings: Output, adapter: Adapter) -> Sequence[Extracted]:
    """Factor the difference of every matrix of a linear layer that has one."""
    found, crossed_any = [], False
    for name, norm in norms.items():
        if norm == 0 or not _is_linear(name, pair.base):
            continue
        module = name.removesuffix(".weight")
        rows, width = pair.base.header[name].shape

        def read(first: int, last: int, name: str = name) -> NDArray[np.float64]:
            return pair.rows(name, first, last)

        made = factor_rows(read, (rows, width), rank=settings.rank, error=settings.error)
        crossed = is_transposed(module, False, pair.base.config)
        b, a = (made.right.T, made.left.T) if crossed else (made.left, made.right)
        adapter.modules[module] = ModuleFactors(a, b)
        crossed_any |= crossed
        found.append(Extracted(module=module, rank=made.right.shape[0], norm=made.norm, error=made.error))
    adapter.settings = {**adapter.settings, "fan_in_fan_out": crossed_any}
    return found


def _save(pair: _Pair, norms: dict[str, float], adapter: Adapter) -> None:
    """Put modules that differ and have no factors into the adapter, with all of their tensors."""
    changed = [n.rpartition(".")[0] for n, norm in norms.items() if norm != 0]
    modules = [m for m in dict.fromkeys(changed) if m and m not in adapter.modules]
    for name, spec in pair.finetuned.header.items():
        if name.rpartition(".")[0] in modules:
            data = np.empty(spec.nbytes, np.uint8)
            pair.finetuned.read_into(data.data, name)
            adapter.whole[f"{ROOT}{name}"] = Whole(replace(spec, stored=None), data)
    adapter.settings = {**adapter.settings, "modules_to_save": modules or None}


def _said(each: Extracted) -> str:
    return f"{each.module}: rank {each.rank}, norm of the difference {each.norm:.4g}, relative error {each.error:.3g}."


def _told(each: Remainder) -> str:
    where = "saved as a whole" if each.saved else "not in the adapter"
    return f"{each.name}: no matrix of a linear layer, {where}; norm of the difference {each.norm:.4g}."


def _origin(pair: _Pair, settings: Output, notes: Sequence[str]) -> Origin:
    """Say where an extracted adapter comes from."""
    inputs: dict[str, dict[str, Any]] = {}
    for label, source in (("base", pair.base), ("finetuned", pair.finetuned)):
        digests = pair.digests[label].complete(list(source.header), source.read_into)
        inputs[label] = {
            "reference": source.reference,
            "location": source.location,
            "licence": licence_of(source),
            "digest": digest_of_set(source.header, digests),
            "unused": [],
        }
    kept = f"rank {settings.rank}" if settings.rank is not None else f"error {settings.error}"
    return Origin(
        method="extract",
        recipe={"extract": {label: stated["location"] for label, stated in inputs.items()}, **settings.to_mapping()},
        text=f"# cuvee extract BASE FINETUNED, {kept}\n",
        inputs=inputs,
        citations=[],
        read=[*pair.base.paths, *pair.finetuned.paths],
        bytes_read=pair.bytes_read,
        notes=notes,
    )
