"""Methods over all arms of a study, and the answers that are read first, on rows whose values are known."""

from dataclasses import replace

import pytest

from cuvee.studies.answers import answers
from cuvee.studies.rows import Row
from cuvee.studies.standings import alike, standings
from studies.test_statistics import rows

COSTS = {"merge": 0.5, "tuning": 0.0}
TRIED = [({"scale": 0.3}, 0.1), ({"scale": 1.0}, 0.2)]


def study(*shifts: float) -> list[Row]:
    """Two arms. In one ties keeps 1/2 and linear 3/8 of three; in the other all is the same but for a shift of ties."""
    made = []
    for seed, shift in enumerate(shifts):
        for base in ("strong", "weak"):
            arm = [replace(each, base=base) for each in rows(seed, shift if base == "weak" else 0.0)]
            made += [replace(r, costs=COSTS, tried=TRIED if r.name == "ties" else []) for r in arm]
    return made


def test_ratios_of_the_most_models_of_each_arm_are_averaged() -> None:
    ties, linear = standings(study(-0.15))
    assert (ties.name, ties.num_arms, ties.num_firsts, ties.num_settings) == ("ties", 2, 1, 2)
    assert (linear.name, linear.num_firsts, linear.num_settings) == ("linear", 1, 1)
    assert ties.retained is not None
    assert linear.retained is not None
    assert linear.gained is not None
    assert ties.retained.mean == pytest.approx((0.4 / 0.8 + 0.25 / 0.8) / 2)
    assert linear.retained.mean == pytest.approx(0.3 / 0.8)
    assert linear.gained.mean == pytest.approx(0.5 / 0.5)
    assert {len(each.models) for each in ties.rows} == {3}


def test_arms_count_the_same_however_often_their_sets_were_drawn() -> None:
    """The share of ties, and its seconds, lie in the middle of its two arms'."""
    made = [replace(each, weight=3, costs={**COSTS, "merge": 2.5}) if each.base == "weak" else each
            for each in study(-0.15, -0.15, -0.15)]  # fmt: skip
    ties, _ = standings(made)
    assert ties.retained is not None
    assert ties.retained.mean == pytest.approx((0.4 / 0.8 + 0.25 / 0.8) / 2)
    assert ties.retained.num_seeds == 3
    assert ties.merge_seconds == pytest.approx(1.5)
    assert (ties.num_arms, ties.num_gained) == (2, 2)


def test_an_arm_whose_base_can_do_nothing_has_no_ratio_to_it() -> None:
    made = study(0.0, 0.001, -0.001)
    nothing = {cell: {"accuracy": 0.0} for cell in made[0].scores}
    made = [replace(each, scores=nothing) if (each.kind, each.base) == ("base", "weak") else each for each in made]
    ties, _ = standings(made)
    assert ties.gained is not None
    assert (ties.num_arms, ties.num_gained) == (2, 1)
    assert ties.gained.mean == pytest.approx(0.6 / 0.5)
    none = [replace(each, scores=nothing) if each.kind == "base" else each for each in made]
    cards = answers(none, standings(none))
    assert [card.question for card in cards if "generalises" in card.question] == []
    assert "unseen" not in cards[0].detail


def test_methods_of_some_arms_and_those_that_were_given_something_have_no_standing() -> None:
    made = study(0.0)
    only_here = replace(made[-2], name="slerp", base="strong")
    given = [replace(each, name="oracle", given="signs") for each in made if each.name == "ties"]
    assert [each.name for each in standings([*made, only_here, *given])] == ["ties", "linear"]
    assert standings([]) == []


@pytest.mark.parametrize(
    ("shifts", "not_told"),
    [((0.0, 0.001, -0.001), []), ((-0.3, 0.3, 0.0), ["linear"]), ((0.0, 0.0), None)],
    ids=["apart", "alike", "too few seeds"],
)
def test_what_may_be_as_good_is_named(shifts: tuple[float, ...], not_told: list[str] | None) -> None:
    """Set by set: differences of 1/8 in every seed are none by chance, and one whose sign turns may be."""
    found = standings(study(*shifts))
    assert found[0].name == "ties"
    assert alike(study(*shifts), found[0], found) == not_told


def test_answers_name_methods_what_they_keep_cost_and_need() -> None:
    made = study(0.0, 0.001, -0.001)
    best, plain, general, cost, needs = answers(made, standings(made))
    assert (best.answer, plain.answer, general.answer) == ("ties", "linear", "ties")
    assert best.detail == (
        "Keeps 50.0 % of its constituents' scores, and has 1.2 times the base's on unseen combinations (mean over 2 "
        "networks and trainings, 3 models). Better than each of the others."
    )
    assert cost.answer == "0.5 s to 0.5 s"
    assert needs.answer == "The models, their base, validation examples"
    assert answers([], []) == []


def test_of_one_arm_the_answers_say_which() -> None:
    made = [each for each in study(0.0) if each.base == "weak"]
    best = answers(made, standings(made))[0]
    assert "(glyphs, mlp-m, weak base, 3 models). With fewer than three seeds nothing is told apart." in best.detail
