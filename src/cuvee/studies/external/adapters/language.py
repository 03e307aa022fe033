"""Language models of transformers, encoder-decoders and decoders: how likely an answer is, and what they answer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cuvee.evaluate.networks import quiet
from cuvee.studies.external.adapters.hosted import device_here
from cuvee.studies.external.scoring import ENCODER_DECODER

__all__ = ["Language", "open_model"]

IGNORED = -100  # a label that counts for nothing


def open_model(folder: Path, kind: str) -> nn.Module:
    """Read a language model: a `DECODER`, or an `ENCODER_DECODER`."""
    import transformers

    opened = getattr(transformers, kind)
    with quiet():
        module: nn.Module = opened.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    return module


class Language:
    """Reads and writes text for models of one tokenizer.

    Args:
        folder: with the tokenizer.
        kind: class of the models: a `DECODER`, or an `ENCODER_DECODER`.
        length: tokens of an input, at most.
        generate: tokens that are written, at most.

    Attributes:
        tokenizer: of transformers.
    """

    def __init__(self, folder: Path, kind: str, length: int, generate: int) -> None:
        from transformers import AutoTokenizer

        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self._has_encoder = kind == ENCODER_DECODER
        self._length, self._generate = length, generate

    def losses(self, network: nn.Module, pairs: Sequence[tuple[str, str]]) -> Tensor:
        """Return the negative logarithms of the likelihoods of answers.

        Args:
            network: a model.
            pairs: prompts and answers.

        Returns:
            The sum over an answer's tokens, (pairs,) float32.
        """
        return self._summed(network, pairs)[0]

    def mean_loss(self, network: nn.Module, pairs: Sequence[tuple[str, str]]) -> Tensor:
        """Return the mean loss of the answers' tokens, a scalar, to train by."""
        losses, counts = self._summed(network, pairs)
        return losses.sum() / counts.sum()

    def written(self, network: nn.Module, prompt: str) -> str:
        """Return what a model writes after a prompt: at each step the likeliest token."""
        module: Any = network
        ids = self._input(prompt)
        tokens = torch.tensor([ids], device=device_here())
        found = module.generate(
            input_ids=tokens,
            attention_mask=torch.ones_like(tokens),
            max_new_tokens=self._generate,
            do_sample=False,
            pad_token_id=self._pad,
        )[0]
        text: str = self.tokenizer.decode(found if self._has_encoder else found[len(ids) :], skip_special_tokens=True)
        return text.strip()

    @property
    def _pad(self) -> int:
        """A token to fill up with, which counts for nothing."""
        pad, end = self.tokenizer.pad_token_id, self.tokenizer.eos_token_id
        return int(pad if pad is not None else end if end is not None else 0)

    def _input(self, text: str) -> list[int]:
        """Return the tokens of a prompt."""
        ids: list[int] = self.tokenizer(text, truncation=True, max_length=self._length)["input_ids"]
        end = self.tokenizer.eos_token_id
        return ids[:-1] if not self._has_encoder and len(ids) > 1 and ids[-1] == end else ids

    def _output(self, text: str) -> list[int]:
        """Return the tokens of an answer, with the end."""
        said = text if self._has_encoder else f" {text}"
        ids: list[int] = self.tokenizer(said, add_special_tokens=False)["input_ids"]
        end = self.tokenizer.eos_token_id
        return ids if end is None else [*ids, end]

    def _summed(self, network: nn.Module, pairs: Sequence[tuple[str, str]]) -> tuple[Tensor, Tensor]:
        """Return losses of answers, and their numbers of tokens."""
        module: Any = network
        prompts, answers = [self._input(prompt) for prompt, _ in pairs], [self._output(answer) for _, answer in pairs]
        if self._has_encoder:
            ids, labels = self._padded(prompts, self._pad), self._padded(answers, IGNORED)
            mask = self._padded([[1] * len(each) for each in prompts], 0)
            logits = module(input_ids=ids, attention_mask=mask, labels=labels).logits
        else:
            whole = [[*prompt, *answer] for prompt, answer in zip(prompts, answers, strict=True)]
            ids = self._padded(whole, self._pad)
            mask = self._padded([[1] * len(each) for each in whole], 0)
            blank = [[IGNORED] * len(prompt) + answer for prompt, answer in zip(prompts, answers, strict=True)]
            labels = self._padded(blank, IGNORED)[:, 1:]
            logits = module(input_ids=ids, attention_mask=mask).logits[:, :-1]
        losses = functional.cross_entropy(
            logits.transpose(1, 2).float(), labels, ignore_index=IGNORED, reduction="none"
        )
        return losses.sum(1), (labels != IGNORED).sum(1)

    @staticmethod
    def _padded(rows: Sequence[Sequence[int]], filling: int) -> Tensor:
        longest = max(map(len, rows))
        return torch.tensor([[*row, *[filling] * (longest - len(row))] for row in rows], device=device_here())
