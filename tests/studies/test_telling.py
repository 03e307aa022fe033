"""From rows to a report: what is told, and that it is what was measured."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from cuvee.errors import StudyError
from cuvee.report.content import Figure, Number, Sheet, Table
from cuvee.report.markdown import as_document
from cuvee.studies import provenance as room
from cuvee.studies.catalogue import preset_of, studies
from cuvee.studies.leaderboard import boards
from cuvee.studies.perform import judged, perform, prepare
from cuvee.studies.provenance import provenance
from cuvee.studies.results import Results
from cuvee.studies.runner.store import Store
from cuvee.studies.statistics import against_base, between_trials
from cuvee.studies.study import Arm, Hypothesis, Preset, Spread, Study, Trial
from cuvee.studies.table import Table as Rows
from cuvee.studies.telling import report_of
from cuvee.studies.tendencies import over_counts

SUITE = "suites_for_tests.toy"
TRIALS = (
    Trial(name="sum", method="task_arithmetic", grid={"scale": (0.25, 0.5, 1.0)}),
    Trial(name="mean", method="linear"),
    Trial(name="signs", method="linear", agree="multitask"),
)
ARM = Arm(
    suite=SUITE, architecture="vector", base="weak", counts=(2, 3), trials=TRIALS, has_mixture=True, has_oracle=True,
    conflicts=(1.0,), pictures=1,
)  # fmt: skip
BETTER = Hypothesis(
    name="Better", statement="Sums beat means.", source="ours", statistic="held-in score of sums less that of means",
    sample=between_trials(Rows.held_in, "sum", "mean"),
)  # fmt: skip
WORSE = replace(BETTER, name="Worse", sample=against_base("mean"), above=1.0)
STUDY = Study(
    name="toy",
    title="Toys",
    question="What is a sum?",
    paper="Nobody, 2026",
    presets={"smoke": Preset(what="all of it", arms=(ARM,), seeds=(0, 1, 2))},
    hypotheses=(BETTER, WORSE),
    figures=(
        Spread(name="by-count", title="By number", x="models", y="share", points=over_counts(Rows.retained)),
        Spread(
            name="beside", title="Beside", x="models", y="share", points=over_counts(Rows.gained),
            published={"theirs": [(2.0, 0.9), (8.0, 0.5)]}, source="Somebody",
        ),
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("toy")
    prepare(folder / "out")
    store = Store(folder / "store")
    return perform(STUDY, STUDY.presets["smoke"], "smoke", store, folder / "out", 0, "cuvee study toy", lambda *_: None)


def test_results_are_read_as_they_were_written(results: Results, tmp_path: Path) -> None:
    """But for digits that no measurement has."""
    results.save(tmp_path / "results.json")
    again = Results.load(tmp_path / "results.json")
    again.save(tmp_path / "again.json")
    assert (tmp_path / "results.json").read_bytes() == (tmp_path / "again.json").read_bytes()
    assert [(row.key, row.models, row.settings) for row in again.rows] == [
        (row.key, row.models, row.settings) for row in results.rows
    ]
    assert [finding.verdict for finding in again.findings] == ["supported", "not supported"]


def test_hypotheses_are_judged_by_their_intervals(results: Results) -> None:
    better, worse = results.findings
    assert better.verdict == "supported"
    assert better.estimate is not None
    # Held-in sums are 1, the most there is; means are 1/2 of two and 1/3 of three; one set of three was drawn thrice.
    assert better.estimate.mean == pytest.approx((3 * 1 / 2 + 3 * 2 / 3) / 6)
    assert worse.verdict == "not supported"
    assert [f.verdict for f in judged(STUDY, [row for row in results.rows if row.seed < 2])] == ["no verdict"] * 2


def test_a_leaderboard_has_merges_then_baselines_then_the_oracle(results: Results) -> None:
    (board,) = boards(results.rows, 3)
    assert [(place.name, place.kind) for place in board.places] == [
        ("sum", "merge"), ("mean", "merge"), ("signs", "merge"),
        ("base", "baseline"), ("constituents", "baseline"), ("multitask", "baseline"), ("mixture", "baseline"),
        ("sum", "oracle"),
    ]  # fmt: skip
    held_in = {place.name: place.held_in.mean for place in board.places if place.held_in and place.kind != "oracle"}
    assert held_in["mean"] == pytest.approx(1 / 3 - 0.01)
    assert held_in["constituents"] == pytest.approx(1 - 0.01)
    assert held_in["mixture"] == pytest.approx(held_in["mean"])
    places = {place.name: place for place in board.places if place.kind != "oracle"}
    gaps = {name: place.against_multitask.mean for name, place in places.items() if place.against_multitask}
    assert set(gaps) == {"sum", "mean", "signs", "base", "mixture"}
    assert gaps["mean"] == pytest.approx(held_in["mean"] - held_in["multitask"])
    kept = places["multitask"].retained
    assert kept is not None
    assert kept.mean == pytest.approx(held_in["multitask"] / held_in["constituents"])
    assert places["base"].worst is not None
    assert places["base"].worst.mean == -0.01  # zeros
    lack = {place.name: place.more["lack"] for place in board.places}
    assert lack["mean"] is not None
    assert lack["mean"].mean == pytest.approx(1 - (3 / 3 + 6 * 0.5 / 3) / 9 + 0.01)  # over the nine cells


def test_cells_that_no_ratio_holds_are_told_beside_the_ratios(results: Results) -> None:
    """The toy's weak base has nothing anywhere, so that there is nothing to divide unseen scores by."""
    (board,) = boards(results.rows, 3)
    assert board.left_out == {f"{a}-{b}": 3 for a, b in ("x2", "x3", "y1", "y3", "z1", "z2")}
    tables = [item for section in report_of(STUDY, results).sections for item in section.items]
    (table,) = [item for item in tables if item.name.startswith("leaderboard") and "-3" in item.name]
    assert isinstance(table, Table)
    assert "x-2 (3), x-3 (3)" in table.note
    texts = [text for section in report_of(STUDY, results).sections for text in section.text]
    assert any("oracle chose" in text for text in texts)
    plain = replace(results, rows=[row for row in results.rows if row.chosen != "oracle"])
    assert not any("oracle" in text for section in report_of(STUDY, plain).sections for text in section.text)


def test_a_report_answers_first_and_shows_everything(results: Results) -> None:
    report = report_of(STUDY, results)  # the toy's base can do nothing, so that nothing generalises
    assert [card.question for card in report.cards] == [
        "Which method, if I can choose its settings?",
        "Which, without choosing anything?",
        "What will it cost me?",
        "What do I need to have?",
    ]
    assert [card.answer for card in report.cards[:2]] == ["sum", "mean"]  # not what was given another model's signs
    items = [item for section in report.sections for item in section.items]
    names = [item.name for item in items]
    assert len(names) == len(set(names))
    assert {
        "hypotheses",
        "requirements",
        "costs-suites_for_tests.toy-vector-weak-3",
        "by-count",
        "beside",
        "samples-0",
    } <= set(names)
    assert {type(item) for item in items} == {Table, Figure, Sheet}


def test_numbers_in_the_report_are_those_of_the_rows_and_say_what_they_are_taken_over(results: Results) -> None:
    report = report_of(STUDY, results)
    (table,) = [
        item for s in report.sections for item in s.items if item.name.startswith("leaderboard") and "-3" in item.name
    ]
    assert isinstance(table, Table)
    held_in = next(row for row in table.rows if row[0] == "mean")[1]
    assert isinstance(held_in, Number)
    assert held_in.value == pytest.approx(1 / 3 - 0.01)
    for word in ("3 seeds", "test split", "seeds [0, 1, 2]", SUITE, "no setting chosen"):
        assert word in held_in.origin


def settings_of(results: Results, name: str) -> object:
    """Return what the leaderboard of three models says of a method's settings."""
    tables = [item for section in report_of(STUDY, results).sections for item in section.items]
    (table,) = [item for item in tables if item.name.startswith("leaderboard") and "-3" in item.name]
    assert isinstance(table, Table)
    return next(row for row in table.rows if row[0] == name)[-1]


def test_settings_are_the_most_frequent_ones_and_say_how_often_they_were_chosen(results: Results) -> None:
    """With three models there is a set for each of three seeds."""
    others = iter([{"scale": 0.5, "base": 1}, {"scale": 0.25, "base": 2}, {"scale": 0.25, "base": 1}])
    rows = [
        replace(row, settings=next(others)) if row.name == "sum" and row.chosen == "validation" and len(row.models) == 3
        else row
        for row in results.rows
    ]  # fmt: skip
    assert settings_of(results, "sum") == "scale 1.0"
    assert settings_of(replace(results, rows=rows), "sum") == "scale 0.5, base 1 (1 of 3)"
    assert settings_of(results, "mean") == ""


def test_published_lines_are_told_from_ours(results: Results) -> None:
    report = report_of(STUDY, results)
    (figure,) = [item for section in report.sections for item in section.items if item.name == "beside"]
    assert isinstance(figure, Figure)
    assert [line.name for line in figure.lines if line.is_published] == ["theirs"]
    assert "not ours" in figure.note
    assert any(not line.is_published for line in figure.lines)


def test_what_is_needed_says_what_was_given_besides(results: Results) -> None:
    report = report_of(STUDY, results)
    (table,) = [item for section in report.sections for item in section.items if item.name == "requirements"]
    assert isinstance(table, Table)
    rows = {row[0]: dict(zip([c.title for c in table.columns], row, strict=True)) for row in table.rows}
    assert rows["sum"]["base"] == "yes"
    assert rows["sum"]["chosen on validation"] == "scale"
    assert rows["signs"]["besides"] == "signs of the multitask model"
    assert (rows["mean"]["base"], rows["mean"]["settings tried"]) == ("no", "none")


def test_the_document_has_the_same_tables(results: Results) -> None:
    text = as_document(report_of(STUDY, results), "toy")
    assert "| sum | 99.0" in text
    assert "toy/figures/by-count.svg" in text
    assert "toy/figures/samples-0.png" in text
    assert "### Hypotheses and verdicts" in text


def test_costs_of_all_stages_are_added_up_once(results: Results) -> None:
    assert results.total_cpu_seconds >= results.cpu_seconds * 0.5 > 0
    for row in results.rows:
        assert all(value >= 0 for value in row.costs.values())


def test_every_study_is_declared_soundly() -> None:
    for study in studies().values():
        names = [hypothesis.name for hypothesis in study.hypotheses]
        assert len(names) == len(set(names))
        assert {"smoke", "small", "record", "full"} == set(study.presets)
        assert len(study.presets["record"].seeds) >= 3
        assert len(study.presets["small"].seeds) == 1
        for figure in study.figures:
            assert figure.points([]) == []
        for hypothesis in study.hypotheses:
            assert hypothesis.sample([]) == []


def test_methods_of_a_user_replace_those_of_every_arm_that_takes_any() -> None:
    preset = preset_of(studies()["compositional"], "record", ("slerp",))
    assert preset.methods == ("slerp",)
    assert all(arm.methods is None for arm in preset.arms)
    assert preset_of(studies()["scale"], "smoke", ("ties", "linear", "ties")).methods == ("ties", "linear")
    with pytest.raises(StudyError, match="says itself"):
        preset_of(studies()["interference"], "smoke", ("slerp",))


def test_a_change_anywhere_in_the_package_is_a_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=tmp_path, check=True)

    for name in ("cuvee/version.py", "cuvee/methods/ties.py", "cuvee/studies/provenance.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1\n")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "all")
    monkeypatch.setattr(room, "__file__", str(tmp_path / "cuvee/studies/provenance.py"))
    assert not provenance("").commit.endswith("+")
    (tmp_path / "cuvee/methods/ties.py").write_text("2\n")
    assert provenance("").commit.endswith("+")


def test_provenance_names_commit_machine_and_versions() -> None:
    found = provenance("cuvee study")
    here = Path(__file__).parent
    asked = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], cwd=here, capture_output=True, text=True, check=False
    )
    if asked.returncode == 0:
        assert found.commit.rstrip("+") == asked.stdout.strip()
    assert "cores" in found.machine
    assert found.libraries["torch"]
