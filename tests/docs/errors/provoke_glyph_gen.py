"""Errors of the suite glyph-gen."""

from cuvee.studies.suites.glyph_gen import judge as module
from docs.errors.scenarios import Place, provokes


@provokes(
    "the judge of glyph-gen is not the one that scores are made with: {file} has sha256 {found}, expected {expected}.…"
)
def another_judge(place: Place) -> None:
    spoilt = place.folder / "judge.safetensors"
    spoilt.write_bytes(module.FILE.read_bytes()[:-1])
    place.patch.setattr(module, "FILE", spoilt)
    module.judge.cache_clear()
    module.judge()
