"""What the element type decides: what is copied instead of merged, and what is written."""

from dataclasses import replace
from typing import Any

import pytest

from cuvee.recipe.rule import Output
from cuvee.spec import DTYPES, TensorSpec


def test_whole_numbers_are_copied_and_compared(plan_of: Any, header: Any, job_of: Any, row_of: Any) -> None:
    tensors = {"w": (2,), "position_ids": ((9,), "I64"), "mask": ((2, 2), "BOOL")}
    plan = plan_of(method="ties", models=[header(tensors), header(tensors)], base=header(tensors))
    for name, dtype in (("position_ids", "I64"), ("mask", "BOOL")):
        job = job_of(plan, name)
        assert job.method.name == "copy"
        assert job.reason == f"{dtype} is copied, not averaged"
        assert job.moves
        assert [item.label for item in row_of(plan, name).inputs] == ["base", "m0", "m1"]
        assert (job.operands, job.compare) == ((0,), (1, 2))
        assert str(plan.outputs[0][name].dtype) == dtype
    assert job_of(plan, "w").reason == ""


def test_whole_numbers_keep_their_type_whatever_the_output_is(plan_of: Any, header: Any) -> None:
    model = header({"w": (2,), "ids": ((9,), "I32")})
    plan = plan_of(method="linear", models=[model, model], output=Output(dtype="float16"))
    assert {name: str(spec.dtype) for name, spec in plan.outputs[0].items()} == {"w": "F16", "ids": "I32"}


@pytest.mark.parametrize(
    ("types", "written"),
    [
        (("F32", "F32"), "F32"),
        (("BF16", "BF16"), "BF16"),
        (("BF16", "F32"), "F32"),
        (("F16", "BF16"), "F32"),
        (("F8_E4M3", "BF16"), "BF16"),
        (("F8_E4M3", "F8_E5M2"), "F32"),
        (("F64", "F16"), "F64"),
    ],
)
def test_written_type_holds_all_that_is_read(plan_of: Any, header: Any, types: Any, written: str) -> None:
    plan = plan_of(method="linear", models=[header({"w": ((2,), dtype)}) for dtype in types])
    assert str(plan.outputs[0]["w"].dtype) == written
    mixed = [warning for warning in plan.warnings if "different types" in warning]
    assert bool(mixed) == (len(set(types)) > 1)
    if mixed:
        assert f"({', '.join(sorted(types))}); written as {written}. Set output dtype to choose." in mixed[0]


def test_output_type_of_the_recipe_wins_without_a_word(plan_of: Any, header: Any) -> None:
    models = [header({"w": ((2,), dtype)}) for dtype in ("F16", "BF16")]
    plan = plan_of(method="linear", models=models, output=Output(dtype="bfloat16"))
    assert str(plan.outputs[0]["w"].dtype) == "BF16"
    assert plan.warnings == ()


def test_doubles_are_said_to_be_merged_as_floats(plan_of: Any, header: Any) -> None:
    model = header({"w": ((2,), "F64")})
    assert plan_of(method="linear", models=[model, model]).warnings == (
        "F64 tensors are merged in float32 arithmetic.",
    )
    assert plan_of(method="copy", models=[model]).warnings == ()


def test_copy_moves_bytes_unless_the_type_changes(plan_of: Any, header: Any, job_of: Any) -> None:
    model = header({"w": ((2,), "BF16")})
    for dtype, moves in ((None, True), ("bfloat16", True), ("float32", False)):
        plan = plan_of(method="copy", models=[model], output=Output(dtype=dtype))
        assert job_of(plan, "w").moves == moves
    assert not job_of(plan_of(method="linear", models=[model]), "w").moves


def test_bytes_written_are_of_the_output_type(plan_of: Any, header: Any) -> None:
    model = header({"w": ((10,), "F32")})
    assert plan_of(method="linear", models=[model], output=Output(dtype="bfloat16")).bytes_written == 20


def test_a_tensor_read_as_another_type_is_written_in_the_type_it_is_stored_in(
    plan_of: Any, header: Any, job_of: Any
) -> None:
    """A weight with an adapter merged into it is float32 until it is merged; its file's type is what counts."""
    plain, adapted = (
        header({"w": ((2,), "BF16"), "v": ((2,), "BF16")}),
        header({"w": ((2,), "F32"), "v": ((2,), "BF16")}),
    )
    adapted.header["w"] = replace(adapted.header["w"], stored=DTYPES["BF16"])
    for models in ([plain, adapted], [adapted, adapted]):
        plan = plan_of(method="linear", models=models)
        assert plan.outputs[0] == {name: TensorSpec((2,), DTYPES["BF16"]) for name in ("w", "v")}
        assert not [warning for warning in plan.warnings if "types" in warning]
    plan = plan_of(method="copy", models=[adapted])
    assert (job_of(plan, "w").moves, job_of(plan, "v").moves) == (False, True)
    wide = plan_of(method="linear", models=[adapted], output=Output(dtype="float32"))
    assert wide.outputs[0]["w"] == TensorSpec((2,), DTYPES["F32"])
