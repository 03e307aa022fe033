"""The preset "paper": a study's arms on a declared suite, made of the factors that are declared for it."""

from dataclasses import replace

from cuvee.methods.registry import find_method
from cuvee.studies.catalogue import checked_seeds
from cuvee.studies.external.declaration import Declaration, Factors
from cuvee.studies.study import Arm, Preset, Study, Trial

__all__ = ["paper_preset"]


def paper_preset(
    study: Study, declaration: Declaration, named: tuple[str, ...] = (), num_seeds: int | None = None
) -> Preset:
    """Return the preset of a study on a declared suite.

    Where neither the user nor the declaration names methods, the study's own trials, or methods, of its largest preset
    are taken.

    Args:
        study: which.
        declaration: of the suite.
        named: methods in place of the declared ones.
        num_seeds: in place of the declared number.

    Raises:
        StudyError: the number of seeds is not positive.
        RecipeError: there is no such method.
    """
    _, factors = declaration.factors_for(study.name)
    for method in named or factors.methods or ():
        find_method(method)
    factors = replace(
        factors,
        methods=named or factors.methods,
        seeds=checked_seeds(factors.seeds if num_seeds is None else num_seeds),
    )
    trials, methods = _tried(study, factors)
    arms = tuple(
        Arm(
            suite=declaration.reference,
            architecture=network,
            base=base,
            tuning=tuning,
            counts=factors.counts,
            draws=factors.draws,
            multitask=factors.multitask,
            trials=trials,
        )
        for network in factors.networks
        for base in factors.bases
        for tuning in factors.tunings
    )
    what = f"{declaration.name}, as its paper has it where that is known"
    return Preset(what=what, arms=arms, seeds=tuple(range(factors.seeds)), methods=methods)


def _tried(study: Study, factors: Factors) -> tuple[tuple[Trial, ...] | None, tuple[str, ...] | None]:
    """Return trials, or names of methods."""
    if factors.methods is not None:
        return None, factors.methods
    largest = list(study.presets.values())[-1]
    return largest.arms[0].trials, largest.arms[0].methods or largest.methods
