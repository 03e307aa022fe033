"""Whether a case passes: what each tool did, and what the specification says of the difference."""

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from case import Case
from compare import Findings, compare
from contents import load

import cuvee

__all__ = ["Outcome", "decide", "merge"]

MENDED = (  # refusals of the reference that are no faults of a configuration, and why
    (r"Tensor (bert\.pooler|.*wi_0)\S* required but not present", "its table of the architecture demands a tensor"),
    (r"must be equal to the number of `layer_types`", "the list of layers in the configuration is stacked with them"),
    (r"Expected p_in >= 0 && p_in <= 1", "an axis of one element has no ranks to give chances by"),
    (r"^KeyError: \d+$", "tokens beyond a model's rows are treated as absent"),
    (r"Tensor size mismatch for \S*(embed|lm_head|wte|shared|word)", "row counts are reconciled, with a report"),
)
REFUSED = {  # what is refused though the reference merges it, by kind of mistake: a quirk of the specification, or why
    "range reversed": "Q3",
    "negative range": "Q3",
    "weights add up to zero": "Q6",
    "unknown output type": "Q11",
    "template without braces": "Q11",
    "template too short": "Q11",
    "unknown type": "Q11",
    "another family": "of an architecture that it does not know, the reference writes both models side by side",
}
TAKEN = {"token source without a model": "Q8"}  # what the reference refuses, and the specification gives a meaning


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What became of a case.

    Attributes:
        problems: why it fails; empty if it passes.
        refused: what the reference said when it refused.
        findings: of the comparison, if there was one.
    """

    problems: list[str] = field(default_factory=list)
    refused: str | None = None
    findings: Findings = field(default_factory=Findings)


def merge(config: Path, out: Path) -> str | None:
    """Merge with cuvee.

    Returns:
        None, or the error that it ended with; a crash begins with ``crash:``.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            cuvee.merge(config, out)
        except cuvee.CuveeError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001  whatever it is, it is this case's failure and no other's
            return f"crash: {type(error).__name__}: {error}"
    return None


def decide(
    case: Case, find: Callable[[str], Path], reference: tuple[Path, str | None], ours: tuple[Path, str | None] | None
) -> Outcome:
    """Decide whether a case passes.

    Args:
        case: the case.
        find: folder of a model.
        reference: the reference's output, and the error that it ended with.
        ours: cuvee's; None to hold the reference to the specification alone.
    """
    (there, refused), outcome = reference, Outcome(refused=reference[1])
    if ours is None:
        if refused is None:
            outcome.findings = compare(case, find, there, None)
        return outcome
    here, error = ours
    if error and error.startswith("crash:"):
        outcome.problems.append(error)
    elif refused and not error and not _is_mended(case, refused):
        outcome.problems.append(f"merged what the reference refuses: {refused}")
    elif error and not refused and not (case.note in REFUSED or _is_broken(there)):
        outcome.problems.append(f"refused what the reference merges: {error}")
    elif not error and not refused:
        outcome.findings = compare(case, find, there, here)
        outcome.problems += outcome.findings.problems
    return outcome


def _is_mended(case: Case, refused: str) -> bool:
    return case.note in TAKEN or any(re.search(pattern, refused) for pattern, _ in MENDED)


def _is_broken(folder: Path) -> bool:
    """Say whether the reference wrote a number that is none (quirk Q6)."""
    return any(not torch.isfinite(each).all() for each in load(folder).values() if each.is_floating_point())
