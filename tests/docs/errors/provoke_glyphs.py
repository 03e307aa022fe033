"""Errors of the suite glyphs."""

from cuvee.studies.conduct import conduct
from cuvee.studies.runner.store import Store
from cuvee.studies.study import Arm, Preset, Trial
from docs.errors.scenarios import Place, provokes

ARM = Arm(
    suite="glyphs", architecture="cnn", base="weak", tuning="lora", counts=(2,), draws=1, effort=0.001,
    trials=(Trial(name="linear", method="linear"),),
)  # fmt: skip


@provokes(
    "glyphs: '{network}' is trained as a whole alone, without adapters such as {tuning}; "
    "these networks have them: {networks}."
)
def adapters_of_a_convolution(place: Place) -> None:
    preset = Preset(what="a test", arms=(ARM,), seeds=(0,))
    conduct(preset, Store(place.folder / "cache"), 0, lambda *_: None)
