"""Plans of studies on declared suites, against counts made by hand."""

import json
from pathlib import Path

import pytest
import yaml

from cuvee.studies.catalogue import find_study
from cuvee.studies.external.facts import Amount
from cuvee.studies.external.plan import SPEED, Plan, planned
from cuvee.studies.external.reading import load
from cuvee.studies.external.shipped import find_declaration, shipped_names
from cuvee.studies.registry import find_suite
from studies.external.declarations import TINY, written

STUDY = find_study("compositional")
SCALES = 8  # that task arithmetic tries


def plan_of(folder: Path, **changes: object) -> Plan:
    path = written(folder, **changes)
    find_declaration.cache_clear()
    find_suite.cache_clear()
    return planned(STUDY, find_declaration(str(path)))


def test_one_set_of_three_is_counted_as_by_hand(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    experts, multitask = plan.trained
    assert (experts.role, experts.count, experts.examples) == ("expert", 3, 3 * 5 * 4)
    assert (multitask.role, multitask.count, multitask.examples) == ("multitask", 1, 3 * 5 * 4)
    assert experts.flops == multitask.flops == Amount(6 * 1000 * 10 * 60)
    assert (experts.size, multitask.size) == (Amount(3 * 4000), Amount(4000))
    assert (plan.merges.settings, plan.merges.chosen) == (SCALES, 2)
    # task arithmetic takes the base as well, nine times; the average is made once
    assert plan.merges.read == Amount((SCALES + 1) * 4 * 4000 + 3 * 4000)
    assert plan.merges.made == Amount((SCALES + 2) * 4000)
    assert (plan.validation.scores, plan.validation.cells) == (SCALES, SCALES * 3)
    assert plan.validation.examples == Amount(SCALES * 3 * 7)
    assert plan.validation.flops == Amount(SCALES * 3 * 7 * 2 * 1000 * 10)
    # base, three constituents, multitask model, two merges, each on all nine cells
    assert (plan.test.scores, plan.test.cells, plan.test.examples) == (7, 63, Amount(315))
    assert [(each.hub, each.size, each.mark) for each in plan.downloads] == [
        ("some/words", Amount(100), "ours"),
        ("some/net", Amount(50), "ours"),
    ]
    assert plan.disk == Amount(150 + 4 * 4000)
    assert plan.gpu == Amount(16 * 1000)  # weight, gradient and two moments of each parameter, four bytes each
    assert plan.gpu_hours == pytest.approx((2 * 3.6e6 + 168 * 2e4 + 315 * 2e4) / SPEED / 3600)


def test_seeds_and_methods_can_be_others(tmp_path: Path) -> None:
    declaration = load(written(tmp_path))
    plan = planned(STUDY, declaration, ("linear",), 2)
    assert plan.trained[0].count == 6
    assert (plan.merges.settings, plan.merges.chosen) == (0, 2)


def test_bases_networks_and_tunings_are_combined(tmp_path: Path) -> None:
    content = yaml.safe_load(TINY)
    network = content["networks"]["net"]
    network["bases"]["weak"] = {"hub": "some/weak", "bytes": [60, "ours"]}
    network["adapters"] = {"lora": [30, "ours"]}
    content["training"]["tunings"] = ["full", "lora"]
    factors = {**content["studies"]["compositional"], "bases": ["weak", "strong"], "tunings": ["full", "lora"]}
    plan = plan_of(
        tmp_path,
        networks={"net": network, "large": {**network, "parameters": [2000, "ours"]}},
        training=content["training"],
        studies={"compositional": factors},
    )
    assert plan.num_arms == 8
    assert [(each.network, each.base, each.tuning) for each in plan.trained if each.role == "expert"] == [
        (network, base, tuning)
        for network in ("net", "large")
        for base in ("weak", "strong")
        for tuning in ("full", "lora")
    ]
    lora = [each for each in plan.trained if each.tuning == "lora" and each.role == "expert"]
    assert {each.size for each in lora} == {Amount(3 * 30 * 4)}
    assert plan.gpu == Amount(16 * 2000)
    assert sum(each.size.known for each in plan.downloads) == 100 + 50 + 60  # networks have the same bases here


def test_what_is_not_known_is_counted_apart(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, data=[{"what": "words", "hub": "some/words"}], examples={"test": [5, "ours"]})
    assert plan.downloads[0].size == Amount(0, 1)
    assert plan.disk == Amount(50 + 4 * 4000, 1)
    assert plan.validation.flops == Amount(0, SCALES)
    assert plan.test.flops.unknown == 0


def test_a_multitask_model_can_have_steps_of_its_own(tmp_path: Path) -> None:
    training = {**yaml.safe_load(TINY)["training"], "multitask_steps": [9, "ours"]}
    assert plan_of(tmp_path, training=training).trained[1].examples == 9 * 4


def test_published_experts_are_downloaded_and_not_trained(tmp_path: Path) -> None:
    content = yaml.safe_load(TINY)
    experts = [{"cell": cell, "hub": f"some/{i}", "bytes": [70, "ours"]} for i, cell in
               enumerate(content["cells"]["held_in"])]  # fmt: skip
    factors = {**content["studies"]["compositional"], "multitask": "none"}
    plan = plan_of(tmp_path, training=None, experts=experts, studies={"learned": factors})
    assert plan.trained == []
    assert plan.disk == Amount(150 + 3 * 70)
    assert plan.declared_for == "learned"
    assert plan.gpu == Amount(4000)  # nothing but a model that is scored


def test_every_shipped_suite_is_planned_for_the_study_that_it_names() -> None:
    for name in shipped_names():
        declaration = find_declaration(name)
        plan = planned(STUDY, declaration)
        json.dumps(plan.as_mapping())
        assert plan.gpu_hours > 0
        assert plan.downloads
        assert sum(each.count for each in plan.trained) or declaration.experts


def test_domainnet_is_counted_as_the_paper_says() -> None:
    """24 experts of 1000 steps and one multitask model of 10,000, of 128 images and 50 tokens each."""
    declaration = find_declaration("domainnet-clip")
    assert (len(declaration.cells), len(declaration.held_in)) == (144, 24)
    experts, multitask = planned(STUDY, declaration).trained
    weights = declaration.networks["vit-b-32"].parameters.value
    assert weights is not None
    assert (experts.count, experts.flops) == (24, Amount(6 * weights * 50 * 24 * 1000 * 128))
    assert (multitask.count, multitask.flops) == (1, Amount(6 * weights * 50 * 10_000 * 128))
