"""Errors of declared suites."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import yaml

from cuvee.studies.external.adapters.opening import open_adapter
from cuvee.studies.external.adapters.pictures import Eye, listed, look_for
from cuvee.studies.external.adapters.prompts import question_of
from cuvee.studies.external.reading import load
from cuvee.studies.external.scoring import Task
from cuvee.studies.external.suite import ExternalSuite
from cuvee.studies.registry import find_suite
from cuvee.studies.suite import Cell, Training
from docs.errors.scenarios import Place, provokes
from studies.external import tiny_clip, tiny_pipeline, tiny_text
from studies.external.declarations import TINY, written


def declared(place: Place, **changes: object) -> None:
    """Read a declaration with something wrong at its top."""
    load(written(place.folder, **changes))


def within(key: str, **changes: object) -> dict[str, Any]:
    """Return a part of a right declaration with something wrong in it."""
    content: dict[str, Any] = yaml.safe_load(TINY)
    return {key: {**content[key], **changes}}


@provokes("there is no declared suite '{name}'; there are {suites}.…")
def misspelt_declared_suite(place: Place) -> None:
    place.command("study", "scale", "--suite", "open-lader", "--plan")


@provokes("--suite takes declared suites, which have the preset 'paper' alone; found '{preset}'.")
def declared_suite_of_a_built_in_size(place: Place) -> None:
    place.command("study", "scale", "--suite", "open-ladder", "--preset", "record")


@provokes("{suite}: the suite can be planned (--plan) and not be run.…")
def suite_without_an_adapter(place: Place) -> None:
    open_adapter(load(written(place.folder)))


@provokes("the declaration of a suite cannot be read: {cause}")
def declaration_that_is_not_there(place: Place) -> None:
    place.command("study", "scale", "--suite", "nothing.yaml", "--plan")


@provokes("{place}: {value} stands where keys and values are expected (key: value).")
def text_for_a_part(place: Place) -> None:
    declared(place, networks="bert")


@provokes("{place}: there is no key '{key}' here.…")
def misspelt_key_of_a_suite(place: Place) -> None:
    declared(place, nmae="tiny")


@provokes("{place}: the key '{key}' is missing; expected {what}.")
def missing_key_of_a_suite(place: Place) -> None:
    declared(place, paper=None)


@provokes("{place}: '{key}' is {value}; expected {what}.")
def number_without_a_mark(place: Place) -> None:
    declared(place, memory=1000)


@provokes("{place}: this release reads declarations of format {number} ('suite: {number}').")
def declaration_of_the_future(place: Place) -> None:
    declared(place, suite=2)


@provokes("{place}: a suite has two axes, such as [task, language]; found {number}.")
def suite_of_one_axis(place: Place) -> None:
    declared(place, axes=["task"])


@provokes("{place}: there is no cell [{cell}] among the cells.")
def held_in_cell_that_is_not_there(place: Place) -> None:
    declared(place, **within("cells", held_in=[["x", "4"]]))


@provokes("{place}: there is no cell [{cell}] among the cells.")
def expert_of_a_cell_that_is_not_there(place: Place) -> None:
    declared(place, experts=[{"cell": ["x", "4"], "hub": "some/expert"}])


@provokes("{place}: two cells are called '{name}'; results are kept by this name.")
def cell_named_twice(place: Place) -> None:
    declared(place, **within("cells", held_in=[["x", "1"], ["x", "1"]]))


@provokes("{place}: cells are either a 'grid' or a 'list'; leave one of them out.")
def cells_in_two_ways(place: Place) -> None:
    declared(place, **within("cells", list=[["x", "1"]]))


@provokes("{place}: '{level}' stands there twice.")
def number_of_models_that_is_there_twice(place: Place) -> None:
    factors = yaml.safe_load(TINY)["studies"]["compositional"]
    declared(place, studies={"compositional": {**factors, "counts": [2, 2]}})


@provokes("{place}: the key 'networks' is missing; name one at least, from small to large.")
def suite_without_a_network(place: Place) -> None:
    declared(place, networks=None)


@provokes("{place}: a network has a base 'weak', 'strong', or both; found {names}.")
def network_without_a_base(place: Place) -> None:
    network = yaml.safe_load(TINY)["networks"]["net"]
    declared(place, networks={"net": {**network, "bases": {"middle": {"hub": "some/net"}}}})


@provokes("{place}: there is no 'training', and not every held-in cell has its published expert in 'experts'.")
def suite_without_training(place: Place) -> None:
    declared(place, training=None)


@provokes("{place}: ways of training are {known}; found {names}.")
def unknown_tuning_of_a_suite(place: Place) -> None:
    declared(place, **within("training", tunings=["half"]))


@provokes("{place}: the key 'studies' is missing; say for which study the suite is, and what it varies.")
def suite_for_no_study(place: Place) -> None:
    declared(place, studies=None)


@provokes("{place}: sets have 1 to {number} of the held-in cells; found {counts}.")
def sets_larger_than_the_suite(place: Place) -> None:
    factors = yaml.safe_load(TINY)["studies"]["compositional"]
    declared(place, studies={"compositional": {**factors, "counts": [4]}})


@provokes("{place}: there is no '{name}' among {known}.")
def weak_base_that_is_not_declared(place: Place) -> None:
    factors = yaml.safe_load(TINY)["studies"]["compositional"]
    declared(place, studies={"compositional": {**factors, "bases": ["weak"]}})


@provokes("{suite}: the suite cannot be run here.…")
def suite_without_models_and_data(place: Place) -> None:
    place.patch.setenv("CUVEE_SUITES", str(place.folder))
    place.command("study", "compositional", "--suite", "domainnet-clip", "--cache", "cache")


@provokes("{suite}: the suite cannot be run here.…")
def study_none_of_whose_suites_can_be_run(place: Place) -> None:
    place.patch.setenv("CUVEE_SUITES", str(place.folder))
    place.command("study", "scale", "--preset", "paper", "--cache", "cache")


@provokes("{suite}: the suite needs {library}, which is not installed; run: pip install 'cuvee[{extra}]'")
def suite_without_transformers(place: Place) -> None:
    place.patch.setitem(sys.modules, "transformers", None)  # as if it were not there
    ExternalSuite(load(written(place.folder, **tiny_text.declared("t5")))).digests()


@provokes("{place}: the scoring is of {kinds}; found '{kind}'.")
def text_of_a_network_for_images(place: Place) -> None:
    said: Any = tiny_text.declared("t5")
    said["networks"]["t5"]["kind"] = "CLIPModel"
    load(written(place.folder, **said))


@provokes("{place}: a choice is between two answers at least; found '{answer}' alone.")
def question_of_one_answer(place: Place) -> None:
    said: Any = tiny_text.declared("t5")
    next(each for each in said["scoring"]["tasks"].values() if "choices" in each)["choices"] = ["yes"]
    load(written(place.folder, **said))


@provokes("{suite}: no study '{study}' is in the suite's 'studies'.…")
def misspelt_study_of_a_suite(place: Place) -> None:
    factors = yaml.safe_load(TINY)["studies"]["compositional"]
    path = written(place.folder, studies={"compositonal": factors})
    place.command("study", "compositional", "--suite", str(path), "--plan")


@provokes("{suite}: the suite's name is '{name}', as a built-in one's; give it another.")
def suite_with_the_name_of_a_built_in_one(place: Place) -> None:
    find_suite(str(written(place.folder, name="glyphs")))


@provokes("an adapter cannot be put on the network: {cause} Change 'targets'.")
def adapter_on_layers_that_are_not_there(place: Place) -> None:
    tiny_text.make_model(place.folder / "model", "t5")
    tiny_text.make_questions(place.folder / "texts", (1, 1, 1))
    said: Any = tiny_text.declared("t5")
    said["training"] |= {"tunings": ["lora"], "targets": ["nothing"]}
    suite = ExternalSuite(load(written(place.folder, **said)))
    base = suite.train(Training(role="strong", architecture="t5", seed=0), None)
    cells = suite.about.held_in[:1]
    suite.train(Training(role="expert", architecture="t5", seed=0, cells=cells, tuning="lora"), base.tensors)


@provokes("{image}: there is no such image. Fetch it, or take it off the list.")
def listed_image_that_is_not_there(place: Place) -> None:
    (place.folder / "list.txt").write_text("real/cat/1.jpg 0\n")
    look_for(each.path for each in listed(place.folder / "list.txt"))


@provokes("{place}: expected an image and the number of its class, such as 'real/cat/1.jpg 64'.")
def list_of_images_without_numbers(place: Place) -> None:
    (place.folder / "list.txt").write_text("real/cat/1.jpg\n")
    listed(place.folder / "list.txt")


@provokes("{image}: the image cannot be read. Fetch it again, or take it off the list.")
def listed_image_that_is_none(place: Place) -> None:
    (place.folder / "1.jpg").write_text("no image")
    Eye(place.folder, 16)([place.folder / "1.jpg"])


def images(place: Place, lines: str, **scoring: Any) -> None:
    """Score images that are listed in a way."""
    tiny_clip.make_clip(place.folder / "clip")
    (place.folder / "images").mkdir()
    (place.folder / "images" / "dark_test_fold.txt").write_text(lines)
    said: Any = tiny_clip.declared(**scoring)
    if "class_file" in scoring:
        del said["scoring"]["classes"]
    suite = ExternalSuite(load(written(place.folder, **said)))
    base = suite.train(Training(role="strong", architecture="clip", seed=0), None)
    suite.score([base.tensors], "clip", [Cell("warm", "dark")], "test")


@provokes("{path}: there is no class of number {number}; '{cell}' has {count}.")
def class_beyond_the_last(place: Place) -> None:
    images(place, "dark/red/1.png 3\n", label="number")


@provokes("{path}: there is no image of a class of '{cell}'.")
def list_of_other_classes(place: Place) -> None:
    images(place, "dark/grey/1.png 0\n")


@provokes("{path}: there is no image of a class of '{cell}'.")
def drawings_of_other_classes(place: Place) -> None:
    suite, base = pipeline(place)
    (place.folder / "images").mkdir()
    (place.folder / "images" / "dark_train_fold.txt").write_text("dark/grey/1.png 0\n")
    cells = (Cell("warm", "dark"),)
    suite.train(Training(role="expert", architecture="net", seed=0, cells=cells), base)


@provokes("{place}: the example has no '{column}'; it has {columns}.")
def example_without_a_column(_: Place) -> None:
    question_of(Task(prompt="{title}", target="{text}"), {"text": "x"}, "test.jsonl:1")


@provokes("{place}: '{column}' is {value}; expected a number below {number}, or a choice.")
def answer_that_is_no_choice(_: Place) -> None:
    question_of(Task(prompt="{text}", choices=("no", "yes"), answer="label"), {"text": "x", "label": 2}, "test.jsonl:1")


@provokes(
    "{suite}: answers of '{task}' are written, and texts of several models have no mean. Score the models one by one."
)
def mixture_that_writes(place: Place) -> None:
    tiny_text.make_model(place.folder / "model", "t5")
    tiny_text.make_questions(place.folder / "texts", (1, 1, 1))
    suite = ExternalSuite(load(written(place.folder, **tiny_text.declared("t5"))))
    base = suite.train(Training(role="strong", architecture="t5", seed=0), None).tensors
    suite.score([base, base], "t5", [Cell("write", "german")], "test")


def pipeline(place: Place) -> tuple[ExternalSuite, Any]:
    """Return a suite of drawings and the weights of its base."""
    place.patch.setenv("CUVEE_SUITES", str(place.folder))
    tiny_pipeline.make_pipeline(place.folder / "pipeline")
    suite = ExternalSuite(load(written(place.folder, **tiny_pipeline.declared())))
    return suite, suite.train(Training(role="strong", architecture="net", seed=0), None).tensors


@provokes("{suite}: images of several models have no mean. Score the models one by one.")
def mixture_that_draws(place: Place) -> None:
    suite, base = pipeline(place)
    suite.score([base, base], "net", [Cell("warm", "dark")], "test")


def harnessed(place: Place, count: int = 10, mixed: bool = False, error: Exception | None = None) -> None:
    """Score with something that looks like the harness, for it takes seconds to load and may be missing."""

    def tasks_of(names: Any, manager: Any) -> dict[str, Any]:
        if error is not None:
            raise error
        return {"group": {name: SimpleNamespace(eval_docs=range(count)) for name in names}}

    theirs, tasks, models = ModuleType("lm_eval"), ModuleType("lm_eval.tasks"), ModuleType("lm_eval.models.huggingface")
    theirs.__spec__ = SimpleNamespace(name="lm_eval")  # type: ignore[assignment]
    theirs.simple_evaluate = lambda **_: {"results": {"tiny": {"alias": "tiny", "acc,none": 1.0}}}  # type: ignore[attr-defined]
    tasks.TaskManager, tasks.get_task_dict = SimpleNamespace, tasks_of  # type: ignore[attr-defined]
    models.HFLM = SimpleNamespace  # type: ignore[attr-defined]
    for name, module in (("lm_eval", theirs), ("lm_eval.tasks", tasks), ("lm_eval.models.huggingface", models)):
        place.patch.setitem(sys.modules, name, module)
    place.patch.setitem(sys.modules, "lm_eval.models", ModuleType("lm_eval.models"))
    tiny_text.make_model(place.folder / "model", "llama")
    said: Any = tiny_text.declared("llama")
    said["cells"] = {"list": [["x", "y"]], "held_in": [["x", "y"]]}
    said["scoring"] = {"kind": "lm-eval", "metrics": ["f1"], "validation": 4, "tasks": {"x-y": ["tiny"]}}
    said["studies"]["compositional"]["counts"] = [1]
    suite = ExternalSuite(load(written(place.folder, **said)))
    base = suite.train(Training(role="strong", architecture="llama", seed=0), None).tensors
    suite.score([base, base] if mixed else [base], "llama", [Cell("x", "y")], "test")


@provokes("{suite}: lm-evaluation-harness scores one model, and no mean of several. Score the models one by one.")
def mixture_in_the_harness(place: Place) -> None:
    harnessed(place, mixed=True)


@provokes(
    "{suite}: the task {task} has {number} documents, and the first {number} of them choose settings; none is left for "
    "the test.…"
)
def harness_with_few_documents(place: Place) -> None:
    harnessed(place, count=4)


@provokes("{suite}: the task {task} has no metric {names}; it has {metrics}. Change 'metrics'.")
def harness_without_the_metric(place: Place) -> None:
    harnessed(place)
