"""The demo, with a few steps of training: what it writes, what it may look at, and that it repeats itself."""

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console

from cuvee.errors import OutputError
from cuvee.execute.merge import merge
from cuvee.recipe.recipe import Recipe
from cuvee.studies.demo import data, merges, run
from cuvee.studies.demo.data import GROUPS, STYLES, TASKS, UNSEEN, Cell, Examples, draw, drawn_cell, pretraining
from cuvee.studies.demo.merges import TRIALS, Trial, choose
from cuvee.studies.demo.network import load_network, new_network, save_network
from cuvee.studies.demo.run import Effort
from cuvee.studies.demo.table import Row, render
from cuvee.studies.demo.train import Job, train, train_all
from cuvee.tensors.framework import single_threaded

SHORT = Effort(base_steps=8, expert_steps=3, copies=1, processes=0)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "out"
    run.demo(out, console=silent(), effort=SHORT)
    return out


def silent() -> Console:
    return Console(file=StringIO(), width=80)


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# Images


def test_a_scan_belongs_to_one_split_and_none_is_lost() -> None:
    splits = [data._scans(split, 0) for split in data.SHARES]
    scans = [tuple(image.flatten().tolist()) for split in splits for image in split.images]
    assert len(scans) == 1797
    assert len(set(scans)) == 1797  # the scans themselves are all different


def test_unseen_cells_hold_exactly_the_digits_that_no_expert_saw_in_that_style() -> None:
    seen = {(digit, cell.style) for cell in TASKS for digit in GROUPS[cell.group]}
    unseen = {(digit, cell.style) for cell in UNSEEN for digit in GROUPS[cell.group]}
    assert not seen & unseen
    assert seen | unseen == {(digit, style) for digit in range(10) for style in STYLES}


@pytest.mark.parametrize("style", STYLES)
def test_style_changes_the_image_at_full_strength_and_not_at_zero(style: str) -> None:
    scans = Examples(data._scans("test", 0).images[:20], data._scans("test", 0).labels[:20])
    none, full = (draw(scans, style, strength, 0, torch.Generator().manual_seed(0)) for strength in (0.0, 1.0))
    torch.testing.assert_close(none.images, scans.images)
    assert (full.images - scans.images).abs().flatten(1).amax(1).min() > 0.3
    assert full.images.min() >= 0
    assert full.images.max() <= 1


def test_drawing_depends_on_the_seed_alone() -> None:
    first, again, other = (drawn_cell(TASKS[3], "train", seed, copies=2) for seed in (1, 1, 2))
    torch.testing.assert_close(first.images, again.images, rtol=0, atol=0)
    assert first.images.shape != other.images.shape or not first.images.equal(other.images)


def test_copies_vary_the_scans_and_keep_their_labels() -> None:
    once, thrice = (drawn_cell(Cell("low", "outlined"), "train", 0, copies) for copies in (0, 3))
    assert thrice.labels.equal(once.labels.repeat(3))
    assert set(once.labels.tolist()) == set(GROUPS["low"])
    assert not thrice.images[: len(once.images)].equal(once.images)


def test_the_base_meets_every_digit_plain_and_in_every_style() -> None:
    examples = pretraining(0, copies=1)
    assert set(examples.labels.tolist()) == set(range(10))
    assert len(examples.labels) == (1 + len(STYLES)) * len(data._scans("train", 0).labels)


# Models


def test_network_survives_saving_and_leaves_the_random_state_alone(tmp_path: Path) -> None:
    state = torch.random.get_rng_state()
    network = new_network(5)
    save_network(network, tmp_path / "model")
    loaded = load_network(tmp_path / "model")
    assert torch.random.get_rng_state().equal(state)
    for name, tensor in network.state_dict().items():
        assert loaded.state_dict()[name].equal(tensor)


def test_one_thread_gives_the_threads_back() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with single_threaded():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_training_teaches_an_expert_its_task_and_leaves_the_head(tmp_path: Path) -> None:
    save_network(new_network(0), tmp_path / "start")
    job = Job(
        out=tmp_path / "expert", seed=0, steps=60, learning_rate=3e-3, copies=1, cell=TASKS[0], start=tmp_path / "start"
    )
    ticks: list[int] = []
    train(job, ticks.append)
    start, expert = load_network(job.start or Path()), load_network(job.out)
    examples = drawn_cell(TASKS[0], "validation", 0)
    with torch.inference_mode():
        before, after = (
            (network(examples.images)[:, :5].argmax(1) == examples.labels).float().mean() for network in (start, expert)
        )
    assert ticks == list(range(1, 61))
    assert after > before + 0.2
    assert expert.head.weight.equal(start.head.weight)


@pytest.mark.slow
def test_processes_train_the_same_bytes_and_report_every_step(tmp_path: Path) -> None:
    jobs = [
        Job(out=tmp_path / "here" / cell.name, seed=0, steps=3, learning_rate=1e-3, copies=1, cell=cell)
        for cell in TASKS[:2]
    ]
    train_all(jobs, 0, lambda *_: None)
    reports: list[tuple[str, int, int]] = []
    train_all(
        [replace(job, out=tmp_path / "there" / job.out.name) for job in jobs], 2, lambda *told: reports.append(told)
    )
    assert files(tmp_path / "here") == files(tmp_path / "there")
    assert {(job.out.name, 3, 3) for job in jobs} <= set(reports)


@pytest.mark.slow
def test_what_a_process_raises_is_raised(tmp_path: Path) -> None:
    job = Job(out=tmp_path / "model", seed=0, steps=1, learning_rate=1e-3, copies=1, start=tmp_path / "nowhere")
    with pytest.raises(Exception, match="nowhere"):
        train_all([job], 2, lambda *_: None)


# The line


def test_demo_leaves_checkpoints_recipes_and_numbers(demo: Path) -> None:
    results = json.loads((demo / "results.json").read_text())
    names = ["base", *(cell.name for cell in TASKS), *(trial.name for trial in TRIALS)]
    assert [row["name"] for row in results["rows"]] == names
    for row in results["rows"]:
        assert (demo / row["folder"] / "model.safetensors").is_file()
        assert (demo / row["folder"] / "config.json").is_file()
        assert list(row["tasks"]) == [cell.name for cell in TASKS]
        assert list(row["unseen"]) == [cell.name for cell in UNSEEN]
        assert row["tasks_mean"] == pytest.approx(sum(row["tasks"].values()) / 4)
    left = {path.name for path in (demo / "merges").iterdir()}
    assert left == {trial.name for trial in TRIALS} | {f"{trial.name}.yaml" for trial in TRIALS}


def test_a_recipe_of_the_demo_makes_the_same_merge_by_hand(demo: Path, tmp_path: Path) -> None:
    merge(demo / "merges" / "ties.yaml", tmp_path / "again")
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (
        demo / "merges" / "ties" / "model.safetensors"
    ).read_bytes()


def test_demo_repeats_itself_over_what_it_left(tmp_path: Path) -> None:
    trials = [trial for trial in TRIALS if trial.name in ("linear", "dare")]
    first = run.demo(tmp_path, seed=3, console=silent(), effort=replace(SHORT, trials=trials))
    made = files(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    second = run.demo(tmp_path, seed=3, console=silent(), effort=replace(SHORT, trials=trials))
    again = files(tmp_path)
    assert second.rows == first.rows
    assert again.pop("notes.txt") == b"mine"
    times = [name for name in made if name.endswith((".json", "README.md")) and name.startswith(("results", "merges"))]
    assert {name: data for name, data in again.items() if name not in times} == {
        name: data for name, data in made.items() if name not in times
    }
    assert again.keys() == made.keys()


def test_demo_does_not_touch_a_folder_it_did_not_make(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "precious").touch()
    with pytest.raises(OutputError, match="no earlier demo made"):
        run.demo(tmp_path, console=silent(), effort=SHORT)
    assert list(files(tmp_path)) == ["models/precious"]


def test_demo_refuses_a_file(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(OutputError, match="is a file"):
        run.demo(tmp_path / "out", console=silent(), effort=SHORT)


def test_settings_are_chosen_without_test_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to the last stage, only training and validation images are drawn."""
    drawn: list[str] = []
    monkeypatch.setattr(
        "cuvee.studies.demo.run.drawn_cell",
        lambda cell, split, seed: drawn.append(split) or drawn_cell(cell, split, seed),
    )
    run.demo(tmp_path / "out", console=silent(), effort=replace(SHORT, base_steps=1, expert_steps=1, trials=TRIALS[:1]))
    assert drawn == ["validation"] * len(TASKS) + ["test"] * (len(TASKS) + len(UNSEEN))


# Choosing and showing


def test_choose_keeps_the_best_setting_and_the_first_of_equals(demo: Path, tmp_path: Path) -> None:
    experts = {cell.name: demo / "models" / cell.name for cell in TASKS}
    trial = Trial(name="sum", method="task_arithmetic", grid={"scale": (0.1, 0.2, 0.3, 0.4)})
    values = iter([0.5, 0.7, 0.7, 0.6])
    chosen = choose(trial, tmp_path, demo / "models" / "base", experts, 0, lambda _: next(values))
    assert dict(chosen.setting) == {"scale": 0.2}
    assert chosen.num_tried == 4
    assert Recipe.load(chosen.recipe).parameters["scale"] == 0.2
    assert {path.name for path in tmp_path.iterdir()} == {"sum", "sum.yaml"}


def test_table_fits_eighty_columns_and_marks_the_best_merge() -> None:
    def row(name: str, kind: str, value: float, **setting: float) -> Row:
        cells = {cell.name: value for cell in TASKS}, {cell.name: value / 2 for cell in UNSEEN}
        return Row(name=name, kind=kind, folder="", tasks=cells[0], unseen=cells[1], setting=setting)  # type: ignore[arg-type]

    rows = [row("base", "base", 0.5), *(row(cell.name, "expert", 0.6) for cell in TASKS)]
    rows += [row("linear", "merge", 0.7), row("task-arithmetic", "merge", 0.8, density=0.5, scale=0.25)]
    console = Console(file=StringIO(), width=80, force_terminal=True, color_system=None)
    console.print(render(rows))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    plain = "".join(text.split("\x1b[1m")).replace("\x1b[0m", "")
    assert all(
        name in plain for name in ("task-arithmetic", "even-outlined", "density 0.5", "scale 0.25", "80.0", "35.0")
    )
    assert max(map(len, plain.splitlines())) <= 80


def test_every_trial_states_settings_its_method_takes() -> None:
    for trial in TRIALS:
        assert len(trial.settings()) == len({tuple(setting.items()) for setting in trial.settings()})
        models = {"a": Path("a"), "b": Path("b")}
        for setting in trial.settings():
            merges._recipe(trial, setting, Path(), Path("base"), models, 0)
