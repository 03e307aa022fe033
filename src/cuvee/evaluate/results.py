"""What an evaluation has found, as values that can be written down."""

import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import metadata
from math import isfinite

from cuvee.evaluate.measure import Measure
from cuvee.execute.versions import versions

__all__ = ["FORMAT", "Evaluation", "Model", "Result", "all_versions"]

FORMAT = 1
LIBRARIES = "transformers", "tokenizers", "lm_eval", "datasets", "pillow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model that was scored.

    Attributes:
        label: what results call it.
        architecture: class of its network.
        digest: of all its tensors, as a merge to disk would record it.
        files: digests of the files beside its weights, by name.
        recipe: what it was merged by, without paths; None for a checkpoint.
        inputs: by label of the recipe where it was read from, and the digest of what was read; see
            `cuvee.execute.provenance.provenance`. A checkpoint has one.
        device: where it ran.
        dtype: type of its weights while it ran, a torch name.
        seconds: what reading or merging it took.
        cpu_seconds: likewise, of the processor.
        notes: what the user should know of it.
    """

    label: str
    architecture: str
    digest: str
    files: Mapping[str, str]
    recipe: Mapping[str, object] | None
    inputs: Mapping[str, Mapping[str, object]]
    device: str
    dtype: str
    seconds: float
    cpu_seconds: float
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A value, and what it is of.

    Attributes:
        model: label of the model.
        score: the score.
        asked: the score as the user asked for it.
        settings: of the score, defaults included; files as paths.
        data: digests of the files, by name of the setting.
        measure: the value, its interval, the number of examples.
        seconds: what the score took, all its metrics together.
        cpu_seconds: likewise, of the processor.
        peak_memory: largest resident memory of the process so far, in bytes.
        peak_device_memory: most memory of the accelerator that the score has used, in bytes; 0 on the CPU.
    """

    model: str
    score: str
    asked: str
    settings: Mapping[str, object]
    data: Mapping[str, str]
    measure: Measure
    seconds: float
    cpu_seconds: float
    peak_memory: int
    peak_device_memory: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What was found.

    Attributes:
        models: what was scored, in order.
        results: a row for each model and metric, model by model.
        limit: how many examples were asked for at most.
        versions: of what computed.
    """

    models: Sequence[Model]
    results: Sequence[Result]
    limit: int | None
    versions: Mapping[str, str]

    def value(self, model: str, metric: str) -> float:
        """Return a value by model and metric.

        Raises:
            KeyError: there is none.
        """
        for each in self.results:
            if (each.model, each.measure.metric) == (model, metric):
                return each.measure.value
        raise KeyError((model, metric))

    def to_mapping(self) -> dict[str, object]:
        """Return plain values, as ``cuvee evaluate --json`` prints them."""
        return {
            "format": FORMAT,
            "models": [asdict(each) for each in self.models],
            "results": [_flat(each) for each in self.results],
            "limit": self.limit,
            "versions": dict(self.versions),
            "machine": {"system": platform.platform(), "processor": platform.machine()},
        }


def _flat(result: Result) -> dict[str, object]:
    """Return a row as plain values, the measure's among them; numbers that JSON lacks are null."""
    row = asdict(result)
    measure = row.pop("measure")
    row["settings"] |= measure["settled"]
    row["data"] = {**row["data"], **({"examples": measure["data"]} if measure["data"] else {})}
    told = {key: value for key, value in measure.items() if key not in ("data", "settled")}
    return row | {key: None if isinstance(v, float) and not isfinite(v) else v for key, v in told.items()}


def all_versions() -> dict[str, str]:
    """Return the versions of cuvee, Python, and the libraries that scores may depend on, if they are installed."""
    found = versions()
    for library in LIBRARIES:
        with suppress(metadata.PackageNotFoundError):
            found[library] = metadata.version(library)
    return found
