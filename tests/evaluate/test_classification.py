"""Accuracy of classifiers of texts and images, against the model asked example by example."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    ViTForImageClassification,
)

import cuvee
import scored
from cuvee.errors import ScoreError

NAMES = ["bad", "fair", "good"]


def answers(folder: Path, texts: list[str], pairs: list[str] | None = None) -> list[int]:
    """Ask the model that lies on disk, text by text."""
    model = BertForSequenceClassification.from_pretrained(folder).eval()
    spoken = scored.tokenizer(cls=True, pad_token="<pad>")
    found = []
    with torch.no_grad():
        for i, text in enumerate(texts):
            encoded = spoken(text, pairs[i] if pairs else None, return_tensors="pt")
            found.append(int(model(**encoded).logits.argmax()))
    return found


TEXTS = [" ".join(f"w{(7 * i + j) % 90 + 4}" for j in range(i % 5 + 1)) for i in range(21)]


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("paired", [False, True])
def test_accuracy_is_the_share_of_right_answers(tmp_path: Path, paired: bool, batch: int) -> None:
    folder = scored.classifier(tmp_path / "m")
    right = answers(folder, TEXTS, TEXTS[::-1] if paired else None)
    assert len(set(right)) > 1
    labels = [NAMES[(answer + (i % 3 == 0)) % 3] for i, answer in enumerate(right)]  # every third is wrong
    rows = [{"text": t, "other": o, "label": n} for t, o, n in zip(TEXTS, TEXTS[::-1], labels, strict=True)]
    data = scored.lines(tmp_path / "d.jsonl", rows)
    more = ",pair=other" if paired else ""
    (found,) = cuvee.evaluate(folder, f"classification:data={data},text=text,batch={batch}{more}").results
    assert found.measure.value == 14 / 21
    assert (found.measure.num_examples, found.measure.doubt) == (21, "wilson")
    (first,) = cuvee.evaluate(folder, f"classification:data={data},text=text{more}", limit=4).results
    assert first.measure.value == 2 / 4


def test_labels_may_be_numbers_and_tables_may_be_separated(tmp_path: Path) -> None:
    folder = scored.classifier(tmp_path / "m")
    right = answers(folder, TEXTS)
    for name, sign in (("d.csv", ","), ("d.tsv", "\t")):
        (tmp_path / name).write_text(
            f"sentence{sign}class\n" + "".join(f"{t}{sign}{n}\n" for t, n in zip(TEXTS, right, strict=True))
        )
        scores = {"classification": {"data": tmp_path / name, "text": "sentence", "label": "class"}}
        assert cuvee.evaluate(folder, scores).results[0].measure.value == 1
    rows: list[dict[str, object]] = [{"text": t, "label": n} for t, n in zip(TEXTS, right, strict=True)]
    data = scored.lines(tmp_path / "d.jsonl", rows)
    assert cuvee.evaluate(folder, f"classification:data={data},text=text").results[0].measure.value == 1


@pytest.mark.parametrize("theirs", [None, 50])
def test_a_decoder_with_other_padding_than_its_tokenizer_classifies_in_batches(
    tmp_path: Path, theirs: int | None
) -> None:
    torch.manual_seed(0)
    model = LlamaForSequenceClassification(
        LlamaConfig(vocab_size=96, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
                    max_position_embeddings=32, num_labels=2, initializer_range=0.5, pad_token_id=theirs)
    ).eval()  # fmt: skip
    folder = scored.save(model, tmp_path / "m", scored.tokenizer(**{"pad_token": "<pad>"} if theirs else {}))
    with torch.no_grad():
        each = [scored.tokenizer()(text, return_tensors="pt")["input_ids"] for text in TEXTS]
        right = [int(model(input_ids=ids).logits.argmax()) for ids in each]
    rows: list[dict[str, object]] = [{"text": t, "label": n} for t, n in zip(TEXTS, right, strict=True)]
    data = scored.lines(tmp_path / "d.jsonl", rows)
    assert cuvee.evaluate(folder, f"classification:data={data},text=text,batch=6").results[0].measure.value == 1


def test_long_texts_are_cut_and_noted(tmp_path: Path) -> None:
    folder = scored.classifier(tmp_path / "m")
    right = answers(folder, [" ".join(["w9"] * 30)])  # 32 with the special tokens
    data = scored.lines(tmp_path / "d.jsonl", [{"text": " ".join(["w9"] * 50), "label": right[0]}])
    found = cuvee.evaluate(folder, f"classification:data={data},text=text")
    assert found.results[0].measure.value == 1
    assert found.models[0].notes == ("Texts of more than 32 tokens were cut: the model was made for no more.",)


def test_accuracy_on_images(tmp_path: Path) -> None:
    folder = scored.image_classifier(tmp_path / "m")
    model = ViTForImageClassification.from_pretrained(folder).eval()
    rows: list[dict[str, object]] = []
    for i in range(6):
        pixels = np.random.default_rng(i).integers(0, 256, (8, 8, 3), np.uint8)
        (tmp_path / "pictures").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{i}.png")
        values = (torch.from_numpy(pixels).permute(2, 0, 1).float() / 255 - 0.5) / 0.5
        with torch.no_grad():
            answer = int(model(pixel_values=values[None]).logits.argmax())
        rows.append({"image": f"pictures/{i}.png", "label": ["cat", "dog"][answer if i else 1 - answer]})
    data = scored.lines(tmp_path / "d.jsonl", rows)
    (found,) = cuvee.evaluate(folder, f"classification:data={data},image=image,batch=4").results
    assert found.measure.value == 5 / 6
    with pytest.raises(ScoreError, match="names images; name their column: image=COLUMN"):
        cuvee.evaluate(folder, f"classification:data={data},text=image")
    (tmp_path / "pictures" / "3.png").write_text("no image")
    with pytest.raises(ScoreError, match=r"d.jsonl:4: the image .*3.png cannot be read"):
        cuvee.evaluate(folder, f"classification:data={data},image=image")
    (tmp_path / "pictures" / "3.png").unlink()
    with pytest.raises(ScoreError, match=r"d.jsonl:4: there is no image .*3.png"):
        cuvee.evaluate(folder, f"classification:data={data},image=image")


@pytest.mark.parametrize(
    ("setting", "row", "said"),
    [
        ("", {"text": "w5", "label": "good"}, "name one column"),
        ("text=text,image=text", {"text": "w5", "label": "good"}, "name one column"),
        ("image=text,pair=text", {"text": "w5", "label": "good"}, "leave 'pair' out"),
        ("image=text", {"text": "w5", "label": "good"}, "names texts; name their column: text=COLUMN"),
        ("text=text", {"text": "w5", "label": "goood"}, "'goood' is none of the model's: bad, fair, good"),
        ("text=text", {"text": "w5", "label": 3}, "3 is none of the model's"),
        ("text=text", {"text": "w5", "label": True}, "True is none of the model's"),
        ("text=text", {"text": 5, "label": "good"}, "'text' is 5; text was expected"),
    ],
)
def test_what_does_not_fit_is_said(tmp_path: Path, setting: str, row: dict[str, object], said: str) -> None:
    folder = scored.classifier(tmp_path / "m")
    data = scored.lines(tmp_path / "d.jsonl", [row])
    (tmp_path / "w5").touch()  # as if it were an image
    with pytest.raises(ScoreError, match=said):
        cuvee.evaluate(folder, f"classification:data={data},{setting}")
