"""Exact match of generations."""

import re
import string
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, cast

from cuvee.evaluate.data import Row, Table, word_in, words_in
from cuvee.evaluate.declare import Count, column_of, score
from cuvee.evaluate.embedding import silent
from cuvee.evaluate.likelihood import made_for
from cuvee.evaluate.measure import Measure, share
from cuvee.evaluate.subject import Subject
from cuvee.plugins.paper import Paper

__all__ = ["exact_match"]

Name = Annotated[str, column_of("data")]
Normalisation = Literal["none", "strip", "squad"]

PAPER = Paper(
    title="SQuAD: 100,000+ Questions for Machine Comprehension of Text",
    authors="Pranav Rajpurkar, Jian Zhang, Konstantin Lopyrev, Percy Liang",
    venue="EMNLP",
    year=2016,
    url="https://aclanthology.org/D16-1264/",
)


def _of_squad(text: str) -> str:
    """Lower the letters, and leave out punctuation, English articles and white space at the ends and in rows."""
    bare = "".join(letter for letter in text.lower() if letter not in string.punctuation)
    return " ".join(re.sub(r"\b(?:a|an|the)\b", " ", bare).split())


NORMALISED: Mapping[Normalisation, Callable[[str], str]] = {
    "none": lambda text: text,
    "strip": str.strip,
    "squad": _of_squad,
}


def _readable(settings: Mapping[str, Any]) -> str:
    """Read every prompt and target once, so that a wrong one is found now."""
    for row in settings["data"].rows:
        word_in(row, settings["prompt"])
        words_in(row, settings["target"])
    return ""


def _suits(subject: Subject, settings: Mapping[str, Any]) -> str:
    """Verify that there is a template where one is asked for, that every prompt has tokens, and no answer too many."""
    rows, column, chat = settings["data"].rows, settings["prompt"], settings["chat"]
    if chat and not subject.tokenizer.chat_template:
        return "the model's tokenizer has no chat template; leave 'chat' out."
    return ("" if chat else silent(subject, rows, column)) or _too_long(
        subject, rows, column, settings["max_new_tokens"], chat=chat
    )


def _too_long(subject: Subject, rows: Sequence[Row], column: str, max_new_tokens: int, *, chat: bool) -> str:
    """Say which prompt, with its answer, has more tokens than the model has positions, if one has."""
    most = made_for(subject)
    if most is None or not subject.has_position_table:
        return ""
    goes_on = subject.can("causal")
    for row in rows:
        prompt = _templated(subject, [word_in(row, column)])[0] if chat else word_in(row, column)
        given = len(subject.tokenizer(prompt, add_special_tokens=not chat, verbose=False)["input_ids"])
        if max(given, max_new_tokens) > most or (goes_on and given + max_new_tokens > most):
            return (
                f"{row.place}: {given} tokens of the prompt and max_new_tokens={max_new_tokens} are more than the "
                f"{most} positions that the model has. Leave such prompts out, or lower max_new_tokens."
            )
    return ""


def _templated(subject: Subject, prompts: Sequence[str]) -> list[str]:
    """Put prompts into the tokenizer's chat template."""
    talks = [[{"role": "user", "content": prompt}] for prompt in prompts]
    return [subject.tokenizer.apply_chat_template(t, tokenize=False, add_generation_prompt=True) for t in talks]


@score(models=("causal", "seq2seq"), check=_readable, suits=_suits, paper=PAPER)
def exact_match(
    subject: Subject,
    *,
    data: Table,
    prompt: Name = "prompt",
    target: Name = "target",
    max_new_tokens: Count = 32,
    normalise: Normalisation = "strip",
    until: Literal["end", "line"] = "end",
    chat: bool = False,
    batch: Count = 8,
) -> Sequence[Measure]:
    """Share of prompts whose greedy continuation is the target, or one of several.

    Of the settings for generation that come with a model, only its special tokens are used: no sampling, no penalties.

    Args:
        data: table of prompts and targets (.jsonl, .csv, .tsv).
        prompt: column of the prompts.
        target: column of the targets; in JSON Lines a list where several are right.
        max_new_tokens: tokens that are generated at most.
        normalise: what is done to both before they are compared: ``none``; ``strip`` leaves out white space at the
            ends; ``squad`` also case, punctuation, English articles and repeated white space.
        until: what counts of a generation: all up to its ``end``, or its first ``line``.
        chat: put the prompt into the tokenizer's chat template, as what the user says.
        batch: prompts at a time.
    """
    normal = NORMALISED[normalise]
    hits: list[bool] = []
    for first in range(0, len(data.rows), batch):
        rows = data.rows[first : first + batch]
        answers = _generated(subject, [word_in(row, prompt) for row in rows], max_new_tokens, chat=chat)
        for row, answer in zip(rows, answers, strict=True):
            said = answer.lstrip("\n").partition("\n")[0] if until == "line" else answer
            hits.append(normal(said) in {normal(each) for each in words_in(row, target)})
    return [share("exact match", hits)]


def _generated(subject: Subject, prompts: Sequence[str], max_new_tokens: int, *, chat: bool) -> Sequence[str]:
    """Continue prompts greedily; return what was generated, without special tokens."""
    import torch
    from transformers import GenerationConfig

    tokenizer, network = subject.tokenizer, subject.network
    if chat:
        prompts = _templated(subject, prompts)
    goes_on = not network.config.is_encoder_decoder
    inputs = subject.encode(prompts, side="left" if goes_on else "right", cuts=False, special_tokens=not chat)
    most, given = made_for(subject), int(inputs["attention_mask"].sum(1).max())
    if most is not None and (given + max_new_tokens if goes_on else max(given, max_new_tokens)) > most:
        subject.note(
            f"Some prompts, with {max_new_tokens} tokens after them, have more than the {most} that the model was "
            "made for."
        )
    own, settings = network.generation_config, cast("Any", GenerationConfig)
    greedy = settings(
        do_sample=False,
        num_beams=1,
        max_new_tokens=max_new_tokens,
        bos_token_id=own.bos_token_id,
        eos_token_id=own.eos_token_id if own.eos_token_id is not None else tokenizer.eos_token_id,
        pad_token_id=subject.padding,
        decoder_start_token_id=own.decoder_start_token_id,
        forced_bos_token_id=own.forced_bos_token_id,
        forced_eos_token_id=own.forced_eos_token_id,
    )
    inputs.pop("token_type_ids", None)
    with torch.inference_mode():
        tokens = network.generate(**inputs, generation_config=greedy)
    tokens = tokens[:, inputs["input_ids"].shape[1] if goes_on else 1 :]  # without the prompt, or what begins an answer
    found: list[str] = tokenizer.batch_decode(tokens, skip_special_tokens=True)
    return found
