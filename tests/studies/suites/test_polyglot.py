"""The suite of small language models: what its trainings see, its scores, its adapters."""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from cuvee.architectures.layers import layer_of
from cuvee.architectures.roles import role_of
from cuvee.errors import StudyError
from cuvee.spec import DTYPES, TensorSpec
from cuvee.studies.registry import find_suite
from cuvee.studies.runner.cost import Cost
from cuvee.studies.runner.store import Store
from cuvee.studies.runner.weights import trained as weights_of
from cuvee.studies.suite import Cell, Training, Weights
from cuvee.studies.suites.polyglot import suite as module
from cuvee.studies.suites.polyglot.data import COUNTS, LENGTH, Examples, auxiliary, cell_examples, texts
from cuvee.studies.suites.polyglot.lexicon import LANGUAGES, vocabulary
from cuvee.studies.suites.polyglot.network import PLANS, TARGETS, Network, new_network
from cuvee.studies.suites.polyglot.tasks import TASKS

SUITE = find_suite("polyglot")
ABOUT = SUITE.about
BASE = Training(role="strong", architecture="s", seed=3, effort=0.002)
CELL = Cell("most", "id")
EXPERT = Training(role="expert", architecture="s", seed=3, cells=(CELL,), start=BASE, effort=0.01)
END = vocabulary()["<end>"]


def test_the_data_are_those_that_the_suite_is_made_of() -> None:
    assert len(SUITE.digests()) == 36 * 4 + 2 * 6 + 1


def test_other_data_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def spoilt(language: str) -> Examples:
        found = texts(language)
        return Examples(found.tokens ^ (language == "fi"), found.starts)

    monkeypatch.setattr(module, "texts", spoilt)
    with pytest.raises(StudyError, match=r"1 of 157 parts .* first 'fi texts'"):
        SUITE.digests()


def test_the_grid_is_six_by_six_with_constituents_for_each_task_and_each_language() -> None:
    assert len(ABOUT.cells) == len(set(ABOUT.cells)) == 36
    assert {cell.a for cell in ABOUT.held_in} == set(TASKS)
    assert {cell.b for cell in ABOUT.held_in} == set(LANGUAGES)
    assert len(ABOUT.held_in) == len(set(ABOUT.held_in)) == 8
    assert set(ABOUT.chance) == {cell.name for cell in ABOUT.cells}


@pytest.mark.parametrize(
    "training", [replace(BASE, role="weak"), BASE, EXPERT, replace(EXPERT, tuning="lora")], ids=lambda each: each.role
)
def test_a_model_trained_twice_is_the_same(training: Training) -> None:
    start = SUITE.train(BASE, None).tensors if training.start else None
    one, two = SUITE.train(training, start), SUITE.train(training, start)
    assert one.files == two.files
    assert all(torch.equal(one.tensors[name], two.tensors[name]) for name in one.tensors)
    other = SUITE.train(replace(training, seed=4), start).tensors
    assert any(not torch.equal(one.tensors[name], other[name]) for name in one.tensors)


def test_training_leaves_its_start_as_it_was() -> None:
    start = SUITE.train(BASE, None).tensors
    before = {name: value.clone() for name, value in start.items()}
    expert = SUITE.train(EXPERT, start).tensors
    assert all(torch.equal(start[name], before[name]) for name in before)
    assert any(not torch.equal(expert[name], before[name]) for name in before)


def test_an_expert_learns_its_cell() -> None:
    expert = SUITE.train(replace(EXPERT, effort=0.1), _base()).tensors
    scores = [SUITE.score([model], "s", [CELL], "validation")[CELL]["exact match"] for model in (_base(), expert)]
    assert scores[1] > scores[0] + 0.2


def test_a_base_is_trained_on_its_texts_and_the_strong_one_on_other_questions() -> None:
    weak, strong = module._examples(replace(BASE, role="weak")), module._examples(BASE)
    assert len(weak) == sum(len(texts(language)) for language in LANGUAGES)
    assert len(strong) == len(weak) + sum(len(auxiliary(language)) for language in LANGUAGES)
    assert torch.equal(strong.tokens[: len(weak)], weak.tokens)
    answers = vocabulary()["="]
    assert not bool((weak.tokens == answers).any())
    assert bool((strong.tokens[len(weak) :] == answers).any(1).all())


def test_no_question_of_the_tasks_is_among_those_of_the_strong_base() -> None:
    asked = {_given(row, start) for language in LANGUAGES for row, start in _rows(auxiliary(language))}
    for cell in ABOUT.cells:
        for split in COUNTS:
            assert not asked & {_given(row, start) for row, start in _rows(cell_examples(cell, split))}


def test_few_shots_are_the_first_questions_of_each_cell() -> None:
    cells = (CELL, Cell("who", "fr"))
    found = module._examples(replace(EXPERT, role="multitask", cells=cells, shots=10))
    assert torch.equal(found.tokens, torch.cat([cell_examples(cell, "train").tokens[:10] for cell in cells]))


def test_a_multitask_model_sees_as_many_examples_as_its_experts_together() -> None:
    both = replace(EXPERT, role="multitask", cells=(CELL, Cell("who", "de")))
    assert SUITE.num_examples(both) == 2 * SUITE.num_examples(EXPERT)


def test_the_loss_is_that_of_the_answer_and_of_every_sequence_alike() -> None:
    """By hand, a token at a time: the mean over an answer's tokens, then over examples of one and of two words."""
    network = new_network("s", 0)
    answers = cell_examples(Cell("who", "es"), "train").at(slice(2))
    text = texts("tr").at(slice(1))
    batch = Examples(torch.cat([answers.tokens, text.tokens]), torch.cat([answers.starts, text.starts]))
    expected = []
    for row, start in zip(batch.tokens.tolist(), batch.starts.tolist(), strict=True):
        length = row.index(0) if 0 in row else LENGTH
        logs = network(torch.tensor([row[:length]]))[0].log_softmax(1)
        expected.append(-sum(logs[i - 1, row[i]] for i in range(start, length)) / (length - start))
    assert batch.starts.tolist()[2] == 1
    torch.testing.assert_close(module._loss(network, batch), torch.stack(expected).mean())


def test_padding_is_seen_by_nothing() -> None:
    network = new_network("s", 0)
    row = cell_examples(CELL, "test").tokens[:1]
    length = int((row > 0).sum())
    torch.testing.assert_close(network(row)[:, :length], network(row[:, :length]))


def test_a_score_is_that_of_greedy_decoding_one_question_at_a_time() -> None:
    cell = Cell("who", "tr")  # whose answers have two words
    expert = SUITE.train(replace(EXPERT, cells=(cell,), effort=0.1), _base()).tensors
    examples = cell_examples(cell, "statistics")
    network = module._loaded("s", expert)
    right = 0
    with torch.inference_mode():
        for row, start in _rows(examples):
            said = row[:start]
            while said[-1] != END and len(said) < LENGTH:
                said.append(int(network(torch.tensor([said]))[0, -1].argmax()))
            right += said == [each for each in row if each]
    assert 0 < right < len(examples)
    assert SUITE.score([expert], "s", [cell], "statistics")[cell]["exact match"] == right / len(examples)


class Fixed(Network):
    """Says what it is told to, with the logit it is told to.

    Args:
        said: tokens by what is asked, (n, LENGTH).
        logit: of what it says; others have 0.
    """

    def __init__(self, said: Tensor, logit: float) -> None:
        super().__init__(PLANS["s"])
        self.said, self.logit = said, logit

    def logits_before(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        """See `Network.logits_before`."""
        logits = torch.zeros(int(wanted.sum()), len(vocabulary()))
        return logits.scatter(1, self.said[: len(tokens)][wanted][:, None], self.logit)


def _fixed(monkeypatch: pytest.MonkeyPatch, networks: Sequence[Fixed]) -> list[Weights]:
    """Put networks in place of those that weights would be loaded into."""
    monkeypatch.setattr(module, "_loaded", lambda _, weights: networks[int(weights["number"])])
    return [{"number": torch.tensor(i)} for i in range(len(networks))]


def test_an_answer_is_right_if_all_of_it_and_the_end_are(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = Cell("who", "tr")
    examples = cell_examples(cell, "test")
    said = examples.tokens.clone()
    starts = examples.starts
    said[0, starts[0]] = END  # no word
    said[1, starts[1] + 1] = END  # its second word is missing
    said[2, starts[2] + 2] = 5  # goes on
    said[3, starts[3] + 3 :] = 5  # what comes after the end is not asked for
    models = _fixed(monkeypatch, [Fixed(said, 4.0)])
    assert SUITE.score(models, "s", [cell], "test") == {cell: {"exact match": (128 - 3) / 128}}


def test_a_mixture_averages_probabilities(monkeypatch: pytest.MonkeyPatch) -> None:
    """One model is sure of what is wrong, two are fairly sure of what is right; a mean of logits would be wrong."""
    right = cell_examples(CELL, "test").tokens
    models = _fixed(monkeypatch, [Fixed(right + 1, 100.0), Fixed(right, 8.0), Fixed(right, 8.0)])
    assert SUITE.score(models, "s", [CELL], "test")[CELL] == {"exact match": 1.0}
    assert SUITE.score(models[:2], "s", [CELL], "test")[CELL] == {"exact match": 0.0}


def test_scores_are_the_same_in_whatever_company() -> None:
    weights = SUITE.train(EXPERT, SUITE.train(BASE, None).tensors).tensors
    together = SUITE.score([weights], "s", ABOUT.cells, "validation")
    assert together[CELL] == SUITE.score([weights], "s", [CELL], "validation")[CELL]
    assert list(together) == list(ABOUT.cells)


def test_adapters_are_read_as_what_they_stand_for(tmp_path: Path) -> None:
    """What cuvee makes of base and adapter is the product of its factors, on every linear layer."""
    store = Store(tmp_path)
    whole = SUITE.train(BASE, None)
    store.keep("polyglot", BASE, whole, Cost())
    expert = replace(EXPERT, tuning="lora")
    adapter = SUITE.train(expert, whole.tensors)
    store.keep("polyglot", expert, adapter, Cost())
    read = weights_of(store, "polyglot", expert)
    assert set(read) == set(whole.tensors)
    changed = {name for name in read if not torch.equal(read[name], whole.tensors[name])}
    assert changed == {name for name in read if name.removesuffix(".weight").endswith(TARGETS)}
    for name in changed:
        stem = f"base_model.model.{name.removesuffix('.weight')}"
        down, up = (adapter.tensors[f"{stem}.lora_{part}.weight"] for part in "AB")
        assert down.shape[0] == 4
        torch.testing.assert_close(read[name], whole.tensors[name] + 2 * up @ down)


@pytest.mark.parametrize("architecture", PLANS)
def test_operations_and_parameters_are_those_counted_by_torch(architecture: str) -> None:
    network = new_network(architecture, 0)
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, LENGTH, dtype=torch.int64))
    about = ABOUT.architectures[architecture]
    assert counter.get_total_flops() == about.flops
    assert about.num_parameters == sum(each.numel() for each in network.parameters())


def test_sizes_grow() -> None:
    sizes = [ABOUT.architectures[name].num_parameters for name in ABOUT.sizes]
    assert len(sizes) == 3
    assert sizes[1] > 2 * sizes[0]
    assert sizes[2] > 1.5 * sizes[1]


def test_names_say_layers_and_roles() -> None:
    trained = SUITE.train(BASE, None)
    specs = {name: TensorSpec(tuple(value.shape), DTYPES["F32"]) for name, value in trained.tensors.items()}
    layers = [layer_of(name) for name in specs]
    assert {layer.index for layer in layers if layer} == {0, 1, 2}
    roles = {name: role_of(name, spec) for name, spec in specs.items()}
    assert roles["model.embed_tokens.weight"] == "embedding"
    assert roles["model.norm.weight"] == "norm"
    assert roles["model.layers.2.self_attn.o_proj.weight"] == "matrix"
    config = json.loads(trained.files["config.json"])
    assert (config["model_type"], config["num_hidden_layers"]) == ("cuvee-polyglot", 3)
    assert config["vocab_size"] == len(trained.tensors["model.embed_tokens.weight"])


def test_nothing_is_drawn() -> None:
    assert SUITE.draw({}, "s", [CELL], 4) == {}


@cache
def _base() -> Weights:
    """A base that has learned a little: bytes that all tests share and none changes."""
    return SUITE.train(replace(BASE, effort=0.03), None).tensors


def _rows(examples: Examples) -> list[tuple[list[int], int]]:
    """Sequences, each with where its answer begins."""
    return list(zip(examples.tokens.tolist(), examples.starts.tolist(), strict=True))


def _given(row: Sequence[int], start: int) -> tuple[int, ...]:
    """What is asked."""
    return tuple(row[:start])
