"""Domains of passes: which entries are cut together, and how often each is read."""

from typing import Any

from cuvee.plan.rows import CELL
from cuvee.recipe.rule import Rule
from plan.llama import LLAMA, UP


def test_model_scope_pools_all_rows(plan_of: Any, llamas: Any) -> None:
    plan = plan_of(method="mlerp", parameters={"scope": "model"}, **llamas)
    assert {row.jobs[0].domain for row in plan.rows} == {0}
    (domain,) = plan.domains
    assert (domain.scope, domain.size, domain.cells, domain.whole) == ("model", 140, 6, False)


def test_tensor_scope_takes_each_row_by_itself(plan_of: Any, llamas: Any) -> None:
    plan = plan_of(method="mlerp", parameters={"scope": "tensor"}, **llamas)
    assert [plan.domains[row.jobs[0].domain].size for row in plan.rows] == [32, 24, 24, 24, 4, 32]
    assert all(domain.whole for domain in plan.domains)


def test_row_scope_takes_each_row_of_a_tensor_by_itself(plan_of: Any, header: Any, row_of: Any) -> None:
    model = header({"w": (50, 40_000), "v": (600_000,), "u": (3, 400_000), "s": ()})
    plan = plan_of(method="mlerp", models=[model, model], parameters={"scope": "row"})
    sizes = {row.name: (plan.domains[row.jobs[0].domain].size, row.cell) for row in plan.rows}
    assert sizes == {"w": (40_000, 520_000), "v": (600_000, 600_000), "u": (400_000, 400_000), "s": (1, CELL)}
    assert all(domain.whole for domain in plan.domains)


def test_tensors_that_differ_in_pooled_parameters_are_not_pooled(plan_of: Any, llamas: Any, header: Any) -> None:
    rules = [
        Rule(match=("*norm*",), parameters={"density": 0.9}),
        Rule(match=("*.0.*",), parameters={"weight": 0.5}),
        Rule(match=("lm_head.*",), method="linear"),
    ]
    plan = plan_of(method="ties", base=header(LLAMA), tensors=rules, **llamas)
    domain = {row.name: row.jobs[0].domain for row in plan.rows}
    pooled = {"model.embed_tokens.weight", *(UP.format(i) for i in range(3))}
    assert len({domain[name] for name in pooled}) == 1
    assert len({domain[name] for name in LLAMA}) == 3
    assert plan.domains[domain[UP.format(0)]].size == 32 + 72


def test_copied_tensors_are_no_part_of_a_pool(plan_of: Any, header: Any) -> None:
    model = header({"w": (3,), "ids": ((5,), "I64")})
    plan = plan_of(method="mlerp", models=[model, model])
    assert [domain.size for domain in plan.domains if domain.scope == "model"] == [3]


def test_bytes_count_every_reading(plan_of: Any, header: Any) -> None:
    tensors = {"w": ((3 * CELL,), "BF16"), "v": ((10,), "F32")}
    model = header(tensors)
    nbytes = 2 * 3 * CELL + 40
    plan = plan_of(method="linear", models=[model, header(tensors)])
    assert (plan.bytes_read, plan.bytes_written) == (2 * nbytes, nbytes)
    plan = plan_of(method="slerp", models=[model, header(tensors)])
    assert plan.bytes_read == 2 * (2 * 2 * 3 * CELL + 40)  # what fits into a cell is read once
    plan = plan_of(method="slerp", models=[model, header(tensors)], parameters={"scope": "model"})
    assert plan.bytes_read == 2 * 2 * nbytes
    plan = plan_of(method="ties", models=[model, header(tensors)], base=header(tensors))
    assert (plan.bytes_read, plan.bytes_read_at_most) == (3 * 3 * nbytes, 7 * 3 * nbytes)
    assert [plan.readings(row.jobs[0]) for row in plan.rows] == [3, 3]
    assert [plan.readings(row.jobs[0], most=True) for row in plan.rows] == [7, 7]
