"""Errors of scores: what is asked for, files, models that cannot be scored."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import safetensors.torch
import torch
from PIL import Image

import cuvee
import models
import scored
from cuvee.evaluate.registry import find_score
from cuvee.writers.save import save_state_dict
from docs.errors.scenarios import Place, provokes

TEXT = "perplexity:text=t.txt"


def model(place: Place, **changes: object) -> Path:
    """Save a tiny language model, with changes in its configuration."""
    folder = scored.language_model(place.folder / "m")
    scored.text(place.folder / "t.txt", 20)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    return folder


def with_table(
    place: Place, text: str | bytes, name: str = "d.jsonl", score: str = "exact_match", more: str = ""
) -> None:
    """Take a score of a table."""
    (place.folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    cuvee.evaluate(model(place), f"{score}:data={name}{more}")


@provokes("score '{name}' is not known. …")
def misspelt_score(_: Place) -> None:
    find_score("perplexty")


@provokes("score '{name}' has no setting '{setting}'. …")
def misspelt_setting_of_a_score(_: Place) -> None:
    cuvee.evaluate("m", "perplexity:txt=t.txt")


@provokes("score '{name}' needs {settings}: write {example}")
def score_without_its_file(_: Place) -> None:
    cuvee.evaluate("m", "perplexity")


@provokes("score '{score}': '{setting}' is {value}; it can be {values}. …")
def setting_of_a_score_out_of_bounds(_: Place) -> None:
    cuvee.evaluate("m", "perplexity:text=t.txt,batch=0")


@provokes("score '{score}': '{setting}' is {value}; it can be {values}. …")
def setting_of_a_score_of_another_type(_: Place) -> None:
    cuvee.evaluate("m", "perplexity:text=t.txt,batch=many")


@provokes("score '{score}': '{setting}' is given twice.")
def setting_of_a_score_twice(_: Place) -> None:
    cuvee.evaluate("m", "perplexity:text=t.txt,text=u.txt")


@provokes(
    "score '{score}': '{rest}' is no setting; write NAME:SETTING=VALUE,SETTING=VALUE, and a value with a comma in "
    "double quotes."
)
def comma_in_a_path(_: Place) -> None:
    cuvee.evaluate("m", "perplexity:text=a, b.txt")


@provokes("{value} is no score; give text such as 'perplexity:text=FILE', or a mapping of names to settings.")
def number_for_a_score(_: Place) -> None:
    scores: Any = [5]
    cuvee.evaluate("m", scores)


@provokes("there is no score to take; name at least one, such as 'perplexity:text=FILE'.")
def no_score(_: Place) -> None:
    cuvee.evaluate("m", [])


@provokes("limit={number}: at least one example is needed.")
def limit_of_nothing(place: Place) -> None:
    place.command("evaluate", "m", "--score", TEXT, "--limit", 0)


@provokes("{option} '{value}' is not known; it can be {values}. …")
def device_that_is_none(place: Place) -> None:
    place.command("evaluate", "m", "--score", TEXT, "--device", "gpu")


@provokes("device 'cuda': torch finds no GPU here. Use 'cpu', or install a torch that is built for it.")
def gpu_that_is_not_there(place: Place) -> None:
    place.patch.setattr(torch.cuda, "is_available", lambda: False)
    place.command("evaluate", "m", "--score", TEXT, "--device", "cuda")


@provokes("score '{score}' of {model}: {problem}")
def score_of_another_kind_of_model(place: Place) -> None:
    with_table(place, '{"sentence": "w5", "label": 1}\n', score="classification", more=",text=sentence")


@provokes("score '{score}': {problem}")
def pairs_with_one_score(place: Place) -> None:
    with_table(place, '{"sentence1": "w5", "sentence2": "w6", "score": 1}\n' * 2, score="similarity")


@provokes("{path}, which a score needs, cannot be read: {cause}.")
def text_that_is_not_there(place: Place) -> None:
    place.command("evaluate", "m", "--score", TEXT)


@provokes("{path} is not UTF-8 text: {cause} at byte {number}. Convert it.")
def table_in_latin_1(place: Place) -> None:
    with_table(place, b'{"prompt": "\xe9"}')


@provokes("{path} is empty; a text to score with was expected.")
def empty_text(place: Place) -> None:
    (place.folder / "t.txt").touch()
    place.command("evaluate", "m", "--score", TEXT)


@provokes(
    "{path} is no table that is read here; give JSON Lines (.jsonl), comma-separated (.csv) or tab-separated values "
    "(.tsv)."
)
def table_of_another_kind(place: Place) -> None:
    with_table(place, "", "d.parquet")


@provokes("{path} has no examples.")
def empty_table(place: Place) -> None:
    with_table(place, "prompt,target\n", "d.csv")


@provokes("{path}:{line} is not valid JSON: {cause}.")
def table_with_a_broken_line(place: Place) -> None:
    with_table(place, '{"prompt": "w5",\n')


@provokes("{path}:{line} is JSON of type {type}; expected an object, {…}.")
def table_that_is_one_list(place: Place) -> None:
    with_table(place, '[{"prompt": "w5"}]\n')


@provokes("{path}:{line} cannot be read as a table: {cause}.")
def table_with_an_open_quote(place: Place) -> None:
    with_table(place, 'prompt,target\n"' + "w5 " * 50_000, "d.csv")


@provokes("{path}:{line}: '{column}' is null; every row needs a value.")
def table_with_null(place: Place) -> None:
    with_table(place, '{"prompt": null, "target": "w6"}\n')


@provokes("{path}:1 has two columns called '{title}'; rename one.")
def table_with_a_title_twice(place: Place) -> None:
    with_table(place, "prompt,prompt,target\nw5,w5,w6\n", name="d.csv")


@provokes(
    "{path}:{line} has more cells than the {number} titles of the first line. Put a cell that holds the separator in "
    "double quotes."
)
def table_with_a_comma_in_a_text(place: Place) -> None:
    with_table(place, "prompt,target\nw5,w6\nw5, w6,w7\n", name="d.csv")


@provokes("{path}:{line} has no '{column}'. …")
def table_without_a_column(place: Place) -> None:
    with_table(place, '{"question": "w5", "target": "w6"}\n')


@provokes("{path}:{line}: '{column}' is {value}; text was expected.")
def prompt_that_is_a_number(place: Place) -> None:
    with_table(place, '{"prompt": 5, "target": "w6"}\n')


@provokes("{path}:{line}: '{column}' is {value}; text, or a list of texts, was expected.")
def target_that_is_a_number(place: Place) -> None:
    with_table(place, '{"prompt": "w5", "target": 6}\n')


@provokes("{path}:{line}: '{column}' is {value}; a number was expected.")
def gold_score_that_is_a_word(place: Place) -> None:
    with_table(place, '{"sentence1": "w5", "sentence2": "w6", "score": "high"}\n', score="similarity")


@provokes("{path}:{line}: the image {image} cannot be read: {cause}.")
def image_that_is_none(place: Place) -> None:
    folder = scored.image_classifier(place.folder / "m")
    (place.folder / "none.png").touch()
    (place.folder / "d.jsonl").write_text('{"image": "none.png", "label": 0}\n')
    cuvee.evaluate(folder, "classification:data=d.jsonl,image=image")


@provokes("a {type} is no model that can be scored; give the path or the name of a checkpoint, or a recipe.")
def state_dict_to_score(place: Place) -> None:
    scored.text(place.folder / "t.txt", 20)
    cuvee.evaluate({"w": torch.ones(2)}, TEXT)


@provokes(
    "{model} makes an adapter, which is no model by itself. Merge it, and score BASE+FOLDER with the folder that it "
    "makes."
)
def recipe_of_an_adapter_to_score(place: Place) -> None:
    scored.text(place.folder / "t.txt", 20)
    recipe = {"cuvee": 1, "method": "linear", "models": ["m+a"], "base": "m", "output": {"adapter": True}}
    cuvee.evaluate(recipe, TEXT)


@provokes("{model} is a pipeline of several models; a score is of one. Name a component's folder.")
def pipeline_to_score(place: Place) -> None:
    scored.text(place.folder / "t.txt", 20)
    save_state_dict(place.folder / "p" / "unet", {"w": torch.ones(2)}, files={"config.json": b"{}"})
    (place.folder / "p" / "model_index.json").write_text('{"_class_name": "P", "unet": ["diffusers", "UNet"]}')
    cuvee.evaluate("p", TEXT)


@provokes("{model} has no config.json, so that nothing says which network its weights are of.")
def weights_alone_to_score(place: Place) -> None:
    model(place)
    (place.folder / "m" / "config.json").unlink()
    cuvee.evaluate("m", TEXT)


@provokes(
    "{model}: its configuration does not say which network it is ('architectures' is missing), so that it cannot be "
    "scored. …"
)
def network_without_a_name(place: Place) -> None:
    cuvee.evaluate(model(place, architectures=None, model_type="own"), TEXT)


@provokes("{model} is a {architecture}, which transformers {version} does not have. …")
def network_with_code_of_its_own(place: Place) -> None:
    cuvee.evaluate(model(place, architectures=["OwnForCausalLM"], auto_map={"AutoModel": "own.Own"}), TEXT)


@provokes("{model}: transformers cannot read its configuration as that of a {architecture}: {cause}.")
def configuration_with_a_word_for_a_number(place: Place) -> None:
    cuvee.evaluate(model(place, num_attention_heads="many"), TEXT)


@provokes("{model}: transformers cannot make a {architecture} of it: {cause}.")
def configuration_of_an_impossible_network(place: Place) -> None:
    cuvee.evaluate(model(place, hidden_act="none"), TEXT)


@provokes(
    "{model} cannot be scored as a {architecture}, as its configuration calls it: {problems}. Name the class it was "
    "saved from in its config.json, or the right models."
)
def network_with_another_head(place: Place) -> None:
    cuvee.evaluate(model(place, architectures=["LlamaForSequenceClassification"]), TEXT)


@provokes("{model} has no tokenizer beside its weights. Copy the files of its tokenizer there.")
def model_without_a_tokenizer(place: Place) -> None:
    scored.text(place.folder / "t.txt", 20)
    cuvee.evaluate(models.save(models.build("llama", tied=True), place.folder / "m"), TEXT)


@provokes("{model} has no image processor beside its weights. Copy its preprocessor_config.json there.")
def image_model_without_a_processor(place: Place) -> None:
    folder = scored.image_classifier(place.folder / "m")
    (folder / "preprocessor_config.json").unlink()
    (place.folder / "d.jsonl").write_text('{"image": "a.png", "label": "cat"}\n')
    Image.new("RGB", (8, 8)).save(place.folder / "a.png")
    cuvee.evaluate("m", "classification:data=d.jsonl,image=image")


@provokes(
    "{model}: the weight '{tensor}' is NaN or infinite as {type}, so that no score of the model would mean anything. "
    "Look for what broke it, or give a wider dtype."
)
def model_with_a_weight_that_is_no_number(place: Place) -> None:
    folder = model(place)
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    tensors["model.norm.weight"][3] = float("nan")
    safetensors.torch.save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    cuvee.evaluate("m", TEXT)


@provokes("{model}: transformers cannot read its {what}: {cause}.")
def damaged_tokenizer(place: Place) -> None:
    (model(place) / "tokenizer.json").write_text("{}")
    cuvee.evaluate("m", TEXT)


@provokes("models are scored through transformers, which is not installed; run: pip install 'cuvee[hf]'")
def scores_without_transformers(place: Place) -> None:
    place.patch.setitem(sys.modules, "transformers", None)  # as if it were not there
    cuvee.evaluate("m", TEXT)


@provokes("images are read with Pillow, which is not installed; run: pip install pillow")
def images_without_pillow(place: Place) -> None:
    place.patch.setitem(sys.modules, "PIL", None)  # as if it were not there
    with_table(place, '{"image": "a.png", "label": 0}\n', score="classification", more=",image=image")


@provokes("the score 'lm_eval' is lm-evaluation-harness's, which is not installed; run: pip install 'cuvee[hf,eval]'")
def tasks_without_the_harness(place: Place) -> None:
    place.patch.setitem(sys.modules, "lm_eval.tasks", None)  # as if it were not there
    place.patch.setitem(sys.modules, "lm_eval", None)
    cuvee.evaluate("m", "lm_eval:tasks=arc_easy")


@provokes(
    "lm-evaluation-harness failed with {tasks}: {cause}. A task whose data are not on this machine needs the network; "
    "run with --debug for the whole story."
)
def harness_that_fails(place: Place) -> None:
    def manager(**_: object) -> None:
        raise ValueError("a task's file is broken")

    theirs = SimpleNamespace(tasks=SimpleNamespace(TaskManager=manager))  # whether it is installed or not
    place.patch.setitem(sys.modules, "lm_eval", theirs)
    place.patch.setitem(sys.modules, "lm_eval.tasks", theirs.tasks)
    cuvee.evaluate("m", "lm_eval:tasks=arc_easy")
