"""A CLIP as it was published: which of some texts an image is likeliest to be of."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cuvee.evaluate.networks import quiet
from cuvee.studies.external.adapters.hosted import device_here
from cuvee.studies.external.adapters.pictures import Eye

__all__ = ["ZeroShot", "directions", "open_clip", "seen"]

BATCH = 64  # images at a time


def open_clip(folder: Path) -> nn.Module:
    """Read a CLIP."""
    from transformers import CLIPModel

    with quiet():
        module: nn.Module = CLIPModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    return module.to(device_here()).eval()


def directions(clip: nn.Module, folder: Path, texts: Sequence[str]) -> Tensor:
    """Return what a CLIP's text tower makes of texts, times its sharpness: (texts, width) float32."""
    from transformers import AutoTokenizer

    module: Any = clip
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    with torch.inference_mode(False), torch.no_grad():  # training takes it, too, whoever asked for it first
        tokens = tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt").to(_place(clip))
        pooled = module.text_model(**tokens).pooler_output
        head: Tensor = functional.normalize(module.text_projection(pooled), dim=1) * module.logit_scale.exp()
    return head.to(device_here())


def seen(clip: nn.Module, pixels: Tensor) -> Tensor:
    """Return directions of images by a CLIP's image tower: (images, width)."""
    module: Any = clip
    found = module.visual_projection(module.vision_model(pixel_values=pixels.to(_place(clip))).pooler_output)
    return functional.normalize(found, dim=1)


class ZeroShot:
    """Judges images.

    Args:
        folder: of the CLIP.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._clip = folder, open_clip(folder)
        vision: Any = self._clip.config
        self._eye = Eye(folder, int(vision.vision_config.image_size))
        self._head = cache(self._made)

    def likeliest(self, images: Tensor, texts: tuple[str, ...]) -> Tensor:
        """Return for each image the number of the text that fits best.

        Args:
            images: (n, 3, height, width) float32 in [0, 1].
            texts: what they may be of.
        """
        with torch.inference_mode():
            parts = [
                (seen(self._clip, self._eye(list(images[i : i + BATCH]))) @ self._head(texts).T).argmax(1).cpu()
                for i in range(0, len(images), BATCH)
            ]
        return torch.cat(parts)

    def _made(self, texts: tuple[str, ...]) -> Tensor:
        return directions(self._clip, self._folder, texts)


def _place(module: nn.Module) -> torch.device:
    """Return where a network is."""
    return next(module.parameters()).device
