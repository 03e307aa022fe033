"""Errors of studies, suites and reports."""

import json
import shutil
import sys
from dataclasses import replace

from cuvee.report.write import write
from cuvee.studies.conduct import conduct
from cuvee.studies.expand import base_of, expert_of
from cuvee.studies.provenance import provenance
from cuvee.studies.registry import find_suite
from cuvee.studies.results import Results
from cuvee.studies.runner import store as kept
from cuvee.studies.runner.jobs import Score, carry_out, result_of
from cuvee.studies.runner.statements import Single
from cuvee.studies.runner.store import Store
from cuvee.studies.study import Arm, Preset, Trial
from cuvee.studies.suites.glyphs import suite as glyphs
from docs.errors.scenarios import Place, provokes
from report.contents import REPORT

ARM = Arm(
    suite="suites_for_tests.toy", architecture="vector", base="weak", counts=(2,),
    trials=(Trial(name="linear", method="linear"),),
)  # fmt: skip


def run(place: Place, arm: Arm = ARM) -> None:
    """Conduct a study of arithmetic."""
    conduct(Preset(what="a test", arms=(arm,), seeds=(0,)), Store(place.folder / "cache"), 0, lambda *_: None)


def smoke(place: Place, *words: object) -> None:
    """Run a study that would take some seconds, if it came to that."""
    place.command("study", "scale", "--cache", "cache", "--processes", 0, *words)


@provokes("there is no study '{name}'; there are {studies}.…")
def misspelt_study(place: Place) -> None:
    place.command("study", "skale")


@provokes("the study '{study}' has no preset '{name}'; it has {presets}.…")
def misspelt_preset(place: Place) -> None:
    smoke(place, "--preset", "smok")


@provokes("the study '{study}' says itself what it merges with; run it without --methods.")
def methods_for_interference(place: Place) -> None:
    place.command("study", "interference", "--methods", "linear")


@provokes("--methods names no method; write names with commas between them, or leave it out.")
def no_methods(place: Place) -> None:
    smoke(place, "--methods", ",")


@provokes("the method '{method}' merges {number}, and the sets are of {numbers} models. Leave it out.")
def method_that_merges_no_set(place: Place) -> None:
    place.command("study", "compositional", "--methods", "nearswap")


@provokes("{number} seeds were asked for; a study takes one at least, three for a verdict, and {number} at most.")
def no_seed(place: Place) -> None:
    smoke(place, "--seeds", 0)


@provokes("there is no suite '{name}'; there are {suites}.…")
def suite_that_is_not_there(_: Place) -> None:
    find_suite("glyps")


@provokes("the suite '{suite}' has no network '{name}'; it has {known}.")
def network_that_a_suite_lacks(place: Place) -> None:
    run(place, replace(ARM, architecture="matrix"))


@provokes("the suite '{suite}' does not train its network '{network}' by '{tuning}'; it does so by {known}.")
def tuning_that_a_network_lacks(place: Place) -> None:
    run(place, replace(ARM, tuning="ia3"))


@provokes("sets of {number} constituents were asked for, and the suite has {number} of them.")
def more_constituents_than_there_are(place: Place) -> None:
    run(place, replace(ARM, counts=(4,)))


@provokes(
    "{number} sets of constituents were asked for that begin differently, and {number} constituents make only {number}."
)
def more_draws_than_there_are(place: Place) -> None:
    run(place, replace(ARM, draws=7))


@provokes("{out} is a file; a study needs a folder. Name another one with --out.")
def study_into_a_file(place: Place) -> None:
    (place.folder / "out").touch()
    smoke(place, "--out", "out")


@provokes("{out}: the folder holds something that no study made; name a new one with --out.")
def study_into_a_folder_of_work(place: Place) -> None:
    (place.folder / "notes.txt").touch()
    smoke(place, "--out", place.folder)


@provokes("{out}: the folder cannot be made: {cause}.")
def study_below_a_file(place: Place) -> None:
    (place.folder / "notes.txt").touch()
    smoke(place, "--out", "notes.txt/out")


@provokes("{folder} is a file; trained models are kept in a folder. Name one with --cache.")
def cache_that_is_a_file(place: Place) -> None:
    (place.folder / "cache").touch()
    smoke(place, "--out", "out")


@provokes("{folder}: trained models and results cannot be kept there: {cause}. Name another folder with --cache.")
def cache_below_a_file(place: Place) -> None:
    (place.folder / "file").touch()
    place.command("study", "compositional", "--preset", "smoke", "--cache", "file/cache", "--out", "out")


@provokes("{path}: the results cannot be written: {cause}.")
def results_where_a_folder_is(place: Place) -> None:
    (place.folder / "results.json").mkdir()
    results(place).save(place.folder / "results.json")


@provokes("{path}: the report cannot be written: {cause}.")
def report_where_a_file_is(place: Place) -> None:
    (place.folder / "tables").touch()
    write(REPORT, place.folder, with_page=False)


@provokes("{path}: the trained model cannot be kept: {cause}.")
def trained_model_where_a_file_is(place: Place) -> None:
    model = Store(place.folder / "cache").model(ARM.suite, base_of(ARM, 0))
    model.parent.mkdir(parents=True)
    model.touch()
    run(place)


@provokes("{path}: a result cannot be kept: {cause}.")
def result_where_a_file_is(place: Place) -> None:
    (place.folder / "cache").mkdir()
    (place.folder / "cache" / "results").touch()
    run(place)


@provokes("{path} is damaged ({cause}); remove it, and it is made again.")
def damaged_record(place: Place) -> None:
    run(place)
    for path in (place.folder / "cache").rglob(kept.RECORD):
        path.write_text("{")
    run(place)


@provokes("{folder}: a result that was there is gone; run the study again.")
def emptied_cache(place: Place) -> None:
    run(place)
    store = Store(place.folder / "cache")
    job = Score(
        suite=ARM.suite, model=Single(training=base_of(ARM, 0)), architecture="vector", cells=(), split="validation"
    )
    shutil.rmtree(place.folder / "cache")
    result_of(job, store)


@provokes("{path}: not the results of a study ({cause}). Name the results.json of a run.")
def results_of_something_else(place: Place) -> None:
    (place.folder / "results.json").write_text("[]")
    Results.load(place.folder / "results.json")


@provokes("{path}: these results have another format; run the study again.")
def results_of_another_release(place: Place) -> None:
    (place.folder / "results.json").write_text(json.dumps({"format": 99}))
    Results.load(place.folder / "results.json")


@provokes(
    "{suite}: {number} of {number} parts of its data differ from those that the suite is made of, first '{part}' "
    "({digest}, expected {digest}). …"
)
def other_data(place: Place) -> None:
    place.patch.setattr(glyphs, "digest_of", lambda *_: "0" * 16)
    find_suite("glyphs").digests()


@provokes(
    "{suite}: the test examples are not read before the settings are chosen and kept; this model is in no such "
    "selection. …"
)
def test_score_without_a_choice(place: Place) -> None:
    run(place)
    cells = find_suite(ARM.suite).about.held_in
    model = Single(training=expert_of(replace(ARM, effort=0.5), 0, cells[0]))
    job = Score(suite=ARM.suite, model=model, architecture="vector", cells=cells, split="test")
    carry_out(job, place.folder / "cache")


@provokes("reports are drawn with {name}, which is not installed; run: pip install 'cuvee[report]'")
def report_without_plotly(place: Place) -> None:
    place.patch.setitem(sys.modules, "plotly", None)  # as if it were not there
    smoke(place, "--out", "out")


@provokes("adapters are trained with peft, which is not installed; run: pip install 'cuvee[studies]'")
def adapter_without_peft(place: Place) -> None:
    place.patch.setitem(sys.modules, "peft", None)  # as if it were not there
    suite = find_suite("glyphs")
    arm = Arm(suite="glyphs", architecture="mlp-s", base="weak", tuning="lora", effort=0.001)
    base = suite.train(base_of(arm, 0), None)
    suite.train(expert_of(arm, 0, suite.about.held_in[0]), base.tensors)


def results(_: Place) -> Results:
    """Return results without rows."""
    return Results(
        study="scale", preset="smoke", rows=(), findings=(), sheets=(), provenance=provenance("cuvee"), cpu_seconds=0,
        wall_seconds=0, total_cpu_seconds=0,
    )  # fmt: skip
