"""The runner, on a suite of arithmetic: what is trained, chosen, held back and kept."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

import cuvee
from cuvee.digest import digest_of_bytes
from cuvee.errors import StudyError
from cuvee.studies.choice import validation_of
from cuvee.studies.conduct import Conducted, conduct
from cuvee.studies.expand import base_of, expert_of, multitask_of, units_of
from cuvee.studies.registry import find_suite
from cuvee.studies.rows import Row, mean, unseen
from cuvee.studies.runner import jobs, statements, store, weights
from cuvee.studies.runner.cost import Meter
from cuvee.studies.runner.jobs import Score, carry_out, result_of
from cuvee.studies.runner.statements import Merge
from cuvee.studies.runner.store import Store, training_key
from cuvee.studies.study import Arm, Preset, Trial
from cuvee.studies.suite import Cell
from suites_for_tests.toy import CELLS, HELD_IN

SUITE = "suites_for_tests.toy"
SUM = Trial(name="sum", method="task_arithmetic", grid={"scale": (0.25, 0.5, 1.0, 2.0)})
MEAN = Trial(name="mean", method="linear")


def arm_of(**values: Any) -> Arm:
    return Arm(
        **{"suite": SUITE, "architecture": "vector", "base": "weak", "counts": (2, 3), "trials": (SUM, MEAN), **values}
    )


def run(tmp_path: Path, *arms: Arm, seeds: tuple[int, ...] = (1,), processes: int = 0) -> Conducted:
    preset = Preset(what="a test", arms=arms or (arm_of(),), seeds=seeds)
    return conduct(preset, Store(tmp_path / "store"), processes, lambda *_: None)


def find(conducted: Conducted, **values: Any) -> list[Row]:
    return [row for row in conducted.rows if all(getattr(row, name) == value for name, value in values.items())]


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TOY_LOG", str(tmp_path / "log"))
    return tmp_path / "log"


def test_scores_of_merges_are_those_worked_out_by_hand(tmp_path: Path) -> None:
    """Three task vectors: a held-in entry gets 1, an unseen one 0.25 from each of two."""
    (row,) = find(run(tmp_path), name="mean", models=("x-1", "y-2", "z-3"))
    assert mean(row.scores, HELD_IN, "score") == pytest.approx(1 / 3 - 0.01)
    assert mean(row.scores, unseen(HELD_IN, CELLS), "score") == pytest.approx(0.5 / 3 - 0.01)
    (row,) = find(run(tmp_path), name="sum", models=("x-1", "y-2", "z-3"))
    assert (row.settings, row.chosen) == ({"scale": 1.0}, "validation")
    assert [value for _, value in row.tried] == pytest.approx([0.25, 0.5, 1.0, 1.0])


def test_unseen_cells_are_those_of_the_attributes_that_the_models_cover() -> None:
    assert unseen(HELD_IN[:2], CELLS) == [Cell("x", "2"), Cell("y", "1")]
    assert len(unseen(HELD_IN, CELLS)) == 6


def test_baselines_are_the_base_every_constituent_on_every_cell_and_a_multitask_model_per_set(tmp_path: Path) -> None:
    done = run(tmp_path, arm_of(has_mixture=True))
    assert len(find(done, kind="base")) == 1
    constituents = find(done, kind="constituent")
    assert {row.models for row in constituents} == {(cell.name,) for cell in HELD_IN}
    assert all(set(row.scores) == {cell.name for cell in CELLS} for row in constituents)
    assert {row.models for row in find(done, kind="multitask")} == {row.models for row in find(done, kind="merge")}
    (mixture,) = find(done, kind="mixture", models=("x-1", "y-2", "z-3"))
    assert mixture.scores["x-1"]["score"] == pytest.approx(1 / 3 - 0.01)


def test_the_oracle_chooses_by_unseen_cells_in_a_row_of_its_own(tmp_path: Path) -> None:
    done = run(tmp_path, arm_of(has_oracle=True))
    own, oracle = find(done, name="sum", models=("x-1", "y-2", "z-3"))
    assert (own.chosen, own.settings) == ("validation", {"scale": 1.0})
    assert (oracle.chosen, oracle.settings) == ("oracle", {"scale": 2.0})


def test_no_test_example_is_read_before_the_choice_is_kept(tmp_path: Path, log: Path) -> None:
    run(tmp_path)
    read = log.read_text().split("\n")
    first = read.index("score test")
    assert "score validation" not in read[first:]
    assert not any(line.startswith("train") for line in read[first:])


def test_a_test_score_without_a_choice_is_refused_wherever_it_is_asked_for(tmp_path: Path, log: Path) -> None:
    run(tmp_path)
    before = log.read_text()
    arm = arm_of()
    merge = Merge(
        method="linear", base=base_of(arm, 1), models=tuple(expert_of(arm, 1, cell) for cell in HELD_IN), seed=9
    )
    job = Score(suite=SUITE, model=merge, architecture="vector", cells=CELLS, split="test")
    with pytest.raises(StudyError, match="not read before the settings are chosen"):
        carry_out(job, tmp_path / "store")
    assert log.read_text() == before


def test_what_was_done_is_not_done_again(tmp_path: Path, log: Path) -> None:
    first = run(tmp_path)
    done = log.read_text()
    again = run(tmp_path)
    assert log.read_text() == done
    assert again.spent.cpu_seconds == 0
    assert again.rows == first.rows


def test_studies_share_what_they_train(tmp_path: Path, log: Path) -> None:
    run(tmp_path)
    trained = log.read_text().count("train ")
    run(tmp_path, arm_of(trials=(Trial(name="mlerp", method="mlerp"),)))
    assert log.read_text().count("train ") == trained


def test_other_code_merges_anew_and_trains_nothing_again(
    tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path)
    first = log.read_text()
    monkeypatch.setattr(statements, "code", lambda: "another")
    run(tmp_path)
    more = log.read_text().removeprefix(first).split("\n")
    assert "score validation" in more
    assert "score test" in more
    assert not any(line.startswith("train") for line in more)


def test_the_code_that_merges_is_every_file_of_its_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for part in statements.MERGING:
        assert (Path(cuvee.__file__).parent / part).exists()
    (tmp_path / "methods" / "deep").mkdir(parents=True)
    for part in set(statements.MERGING) - {"methods"}:
        (tmp_path / part).parent.mkdir(exist_ok=True)
        (tmp_path / part).touch()
    found = []
    monkeypatch.setattr(statements, "files", lambda _: tmp_path)
    for content in ("x = 1\n", "x = 2\n", "x = 1\n"):
        (tmp_path / "methods" / "deep" / "one.py").write_text(content)
        found.append(statements.code.__wrapped__())
    assert found[0] == found[2] != found[1]


def test_adapters_are_those_of_a_version_of_peft(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = []
    for version in ("1", "2"):
        monkeypatch.setattr(store, "libraries", lambda *_, version=version: {"peft": version})
        keys.append([training_key(SUITE, expert_of(arm_of(tuning=way), 1, HELD_IN[0])) for way in ("full", "lora")])
    assert keys[0][0] == keys[1][0]
    assert keys[0][1] != keys[1][1]


def test_a_model_trained_twice_is_the_same_file(tmp_path: Path) -> None:
    for name in ("one", "two"):
        run(tmp_path / name)
    files = [sorted(tmp_path.glob(f"{name}/store/models/*/model.safetensors")) for name in ("one", "two")]
    assert [path.parent.name for path in files[0]] == [path.parent.name for path in files[1]]
    assert [path.read_bytes() for path in files[0]] == [path.read_bytes() for path in files[1]]
    assert len(files[0]) > 4


def test_processes_give_the_same_rows(tmp_path: Path) -> None:
    alone, several = run(tmp_path / "a"), run(tmp_path / "b", processes=2)
    plain = [
        [(row.name, row.models, row.settings, row.scores, row.key) for row in each.rows] for each in (alone, several)
    ]
    assert plain[0] == plain[1]


def test_seeds_have_models_of_their_own(tmp_path: Path) -> None:
    rows = find(run(tmp_path, seeds=(1, 2)), name="mean", models=("x-1", "y-2", "z-3"))
    assert len({row.key for row in rows}) == len({row.constituents[0] for row in rows}) == 2


def test_models_stay_in_memory_as_far_as_their_bytes_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path)
    kept, read = Store(tmp_path / "store"), list[Path]()
    monkeypatch.setattr(weights, "whole_model", lambda path: read.append(path) or {"w": torch.zeros(4)})
    models = [expert_of(arm_of(), 1, cell) for cell in HELD_IN]
    for room, expected in ((48, 3), (32, 4), (0, 6)):  # bytes; all three models stay for the next job, two, none
        monkeypatch.setattr(weights, "KEPT_BYTES", room)
        monkeypatch.setattr(weights, "_RECENT", weights._Recent())
        read.clear()
        for model in [*models, *models]:
            weights.trained(kept, SUITE, model)
        assert len(read) == 3  # within a job nothing is read twice
        weights.let_go()
        for model in reversed(models):
            weights.trained(kept, SUITE, model)
        assert len(read) == expected


def test_a_row_says_where_its_numbers_come_from(tmp_path: Path) -> None:
    (row,) = find(run(tmp_path), name="sum", models=("x-1", "y-2", "z-3"))
    assert (row.suite, row.version, row.seed, row.split, row.method) == (SUITE, 1, 1, "test", "task_arithmetic")
    assert set(row.costs) == {"training", "statistics", "tuning", "merge", "evaluation"}
    merge = (2 * 3 + 2) * 10.0
    choice = 4 * (merge + 3 * 10.0)  # four settings, each merged and scored on an example of each held-in cell
    spent = {"training": 3 * 3 * 10.0, "statistics": 0.0, "merge": merge, "tuning": choice, "evaluation": 9 * 10.0}
    assert row.flops == spent
    assert set(row.wall) == set(row.costs)
    assert row.wall["merge"] > 0
    models = list((tmp_path / "store" / "models").glob("*/model.safetensors"))
    assert row.read_bytes == 4 * models[0].stat().st_size  # three models and their base, of one size
    assert set(row.constituents) <= {digest_of_bytes(path.read_bytes()) for path in models}
    assert row.statistic_bytes == 0
    assert len(row.constituents) == 3
    assert {"torch", "numpy", "machine", "cuvee", "numba"} <= set(row.libraries)
    assert isinstance(row.key, str)


def test_constituents_can_be_treated_alone(tmp_path: Path) -> None:
    """Turned signs take away what training added: the entry of the cell is the largest."""
    flips = tuple(
        Trial(name=f"{side}", method="linear", alone=True, flip=(side, 0.1)) for side in ("largest", "smallest")
    )
    rows = {(row.name, row.models[0]): row for row in run(tmp_path, arm_of(trials=flips)).rows if row.kind == "alone"}
    assert rows["largest", "x-1"].scores["x-1"]["score"] == pytest.approx(-1.01)
    assert rows["smallest", "x-1"].scores["x-1"]["score"] == pytest.approx(0.99)


def test_signs_can_be_those_of_the_multitask_model(tmp_path: Path) -> None:
    """All task vectors of this suite point up: nothing is in conflict, and nothing is left out."""
    oracle = Trial(name="oracle signs", method="linear", agree="multitask")
    done = run(tmp_path, arm_of(trials=(oracle, MEAN), conflicts=(1.0,)))
    signs, plain = (find(done, name=name, models=("x-1", "y-2", "z-3"))[0] for name in ("oracle signs", "mean"))
    assert signs.scores == plain.scores
    assert all(row.measures == {"all": 0.0, "0": 0.0} for row in find(done, kind="vectors"))


def test_images_are_drawn_for_the_largest_set(tmp_path: Path, log: Path) -> None:
    done = run(tmp_path, arm_of(pictures=2, counts=(2, 3)))
    (sheet,) = done.sheets
    assert [name for name, _ in sheet.jobs] == ["base", "multitask", "sum", "mean"]
    assert log.read_text().count("draw") == 4


def test_a_suite_that_is_not_there_is_named() -> None:
    for name in ("suites_for_tests.toi", "nowhere.at.all", "toy"):
        with pytest.raises(StudyError, match=f"no suite '{name}'"):
            find_suite(name)


def test_arms_that_share_a_base_have_a_row_of_it_each(tmp_path: Path) -> None:
    done = run(tmp_path, arm_of(), arm_of(tuning="lora"))
    assert {row.tuning for row in find(done, kind="base")} == {"full", "lora"}
    assert len(find(done, kind="base")) == 2


def test_costs_are_those_of_the_stage_and_nothing_else(tmp_path: Path) -> None:
    """A choice by held-in cells pays for their scores; given signs for the training of whom they are taken from."""
    signs = Trial(name="signs", method="linear", agree="multitask")
    done = run(tmp_path, arm_of(has_oracle=True, trials=(SUM, signs), counts=(3,)))
    kept = Store(tmp_path / "store")
    own, oracle = find(done, name="sum")
    (unit,) = units_of(arm_of(has_oracle=True, counts=(3,), trials=(SUM,)), 1, (SUM,))
    results = [result_of(job, kept) for job in validation_of(unit, SUM)]
    making, scoring = (sum(r[part]["cpu_seconds"] for r in results) for part in ("making", "scoring"))
    assert own.costs["tuning"] == pytest.approx(making + scoring * 3 / 9)
    assert oracle.costs["tuning"] == pytest.approx(making + scoring * 6 / 9)
    given = kept.cost(SUITE, multitask_of(arm_of(), 1, HELD_IN)).cpu_seconds
    assert given > 0
    assert find(done, name="signs")[0].costs["statistics"] == given
    assert own.costs["statistics"] == 0


def test_all_costs_are_added_up_once(tmp_path: Path) -> None:
    done = run(tmp_path, arm_of(has_oracle=True, conflicts=(1.0,), pictures=1), arm_of(multitask="all"))
    assert done.total_cpu_seconds == pytest.approx(done.spent.cpu_seconds)
    assert run(tmp_path, arm_of()).total_cpu_seconds < done.total_cpu_seconds


def test_what_a_process_does_first_is_no_merges_cost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models are read, and a method is used once, before the merge is measured."""
    told: list[str] = []
    read, merge = jobs.trained, jobs.merged

    @contextmanager
    def metered() -> Iterator[Meter]:
        told.append("begin")
        yield Meter()
        told.append("end")

    monkeypatch.setattr(jobs, "metered", metered)
    monkeypatch.setattr(jobs, "trained", lambda *words: (told.append("read"), read(*words))[1])
    monkeypatch.setattr(jobs, "merged", lambda *words: (told.append("merge"), merge(*words))[1])
    run(tmp_path, arm_of(counts=(3,), trials=(MEAN,)))
    place = told.index("merge")
    assert told[place - 5 : place + 4] == ["begin", *["read"] * 4, "merge", "begin", "merge", "end"]


def test_examples_are_drawn_before_the_first_score_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The suite draws what it keeps when a cell is scored for the first time; nothing is scored twice after that."""
    monkeypatch.setattr(jobs, "_DRAWN", set())
    asked: list[tuple[str, ...]] = []
    suite = find_suite(SUITE)
    score = suite.score
    monkeypatch.setattr(
        suite, "score", lambda *words: (asked.append(tuple(cell.name for cell in words[2])), score(*words))[1]
    )
    run(tmp_path, arm_of(counts=(3,), trials=(SUM,)))
    held_in, every = (tuple(cell.name for cell in cells) for cells in (HELD_IN, CELLS))
    # Validation once more and for four settings; test once more, then the base, three constituents, two of the set.
    assert asked[:6] == [held_in] * 5 + [every]
    assert len(asked) == 1 + 4 + 1 + 1 + 3 + 2
