"""A latent diffusion model of diffusers, in parts: what is trained, the U-Net, and what stays, all else.

Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models" (arXiv 2112.10752); drawn with DDIM (Song
et al., arXiv 2010.02502) and guidance without a classifier (Ho and Salimans, arXiv 2207.12598).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cuvee.studies.external.adapters.hosted import device_here

__all__ = ["Painter", "open_unet"]

BATCH = 8  # images that are drawn at a time


def open_unet(folder: Path) -> nn.Module:
    """Read the U-Net of a pipeline."""
    import diffusers

    kind: Any = diffusers.UNet2DConditionModel
    module: nn.Module = kind.from_pretrained(folder / "unet", local_files_only=True, torch_dtype=torch.float32)
    return module


class Painter:
    """Draws images with U-Nets, and says how wrong they are about given ones.

    Args:
        folder: of the pipeline; all but the U-Net is read from it.
        size: edge of an image, in pixels.
    """

    def __init__(self, folder: Path, size: int) -> None:
        from diffusers import AutoencoderKL, DDIMScheduler
        from transformers import AutoTokenizer, CLIPTextModel

        def read(kind: Any, name: str) -> Any:
            return kind.from_pretrained(folder / name, local_files_only=True)

        self._tokenizer: Any = read(AutoTokenizer, "tokenizer")
        self._reader: Any = read(CLIPTextModel, "text_encoder").to(device_here()).eval()
        self._coder: Any = read(AutoencoderKL, "vae").to(device_here()).eval()
        self._noises: Any = read(DDIMScheduler, "scheduler")
        edge = size // 2 ** (len(self._coder.config.block_out_channels) - 1)
        self._shape = (int(self._coder.config.latent_channels), edge, edge)
        self._size = size

    def drawn(
        self, unet: nn.Module, prompts: Sequence[str], generator: torch.Generator, steps: int, guidance: float
    ) -> Tensor:
        """Draw an image for each prompt.

        Args:
            unet: predicts the noise.
            prompts: texts.
            generator: of the noise that drawing begins with, on the CPU; the same noise for every model.
            steps: passes, each with and without the prompt.
            guidance: how much the prompt counts; 1 is as it was trained.

        Returns:
            Images, (prompts, 3, size, size) float32 in [0, 1], on the CPU.
        """
        noise = torch.randn((len(prompts), *self._shape), generator=generator)
        with torch.inference_mode():
            parts = [
                self._batch(unet, prompts[i : i + BATCH], noise[i : i + BATCH], steps, guidance)
                for i in range(0, len(prompts), BATCH)
            ]
        return torch.cat(parts)

    def _batch(self, unet: nn.Module, prompts: Sequence[str], noise: Tensor, steps: int, guidance: float) -> Tensor:
        texts = self._read([""] * len(prompts) + list(prompts))
        self._noises.set_timesteps(steps)
        latents = noise.to(device_here()) * self._noises.init_noise_sigma
        for time in self._noises.timesteps:
            without, given = self._predicted(unet, torch.cat([latents, latents]), time, texts).chunk(2)
            latents = self._noises.step(without + guidance * (given - without), time, latents).prev_sample
        images: Tensor = self._coder.decode(latents / self._coder.config.scaling_factor).sample
        return (images / 2 + 0.5).clamp(0, 1).float().cpu()

    def loss(self, unet: nn.Module, images: Tensor, prompts: Sequence[str], generator: torch.Generator) -> Tensor:
        """Return how wrong a U-Net is about noise that is added to images: the mean squared error, a scalar.

        Args:
            unet: predicts the noise.
            images: (n, 3, size, size) in [0, 1].
            prompts: a text for each.
            generator: of times and noise, on the CPU.
        """
        with torch.no_grad():
            texts = self._read(prompts)
            coded = self._coder.encode(images.to(device_here()) * 2 - 1).latent_dist.mean
            latents = coded * self._coder.config.scaling_factor
        noise = torch.randn(latents.shape, generator=generator).to(device_here())
        most = int(self._noises.config.num_train_timesteps)
        times = torch.randint(most, (len(prompts),), generator=generator).to(device_here())
        noisy = self._noises.add_noise(latents, noise, times)
        found = self._predicted(unet, noisy, times, texts)
        is_velocity = self._noises.config.prediction_type == "v_prediction"
        return functional.mse_loss(found, self._noises.get_velocity(latents, noise, times) if is_velocity else noise)

    def _read(self, texts: Sequence[str]) -> Tensor:
        """Return what the text encoder makes of texts: (texts, tokens, width)."""
        most = int(self._reader.config.max_position_embeddings)
        tokens = self._tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=most, return_tensors="pt"
        )
        states: Tensor = self._reader(tokens.input_ids.to(device_here())).last_hidden_state
        return states

    def _predicted(self, unet: nn.Module, latents: Tensor, time: Tensor, texts: Tensor) -> Tensor:
        module: Any = unet
        found: Tensor = module(latents, time, encoder_hidden_states=texts).sample
        return found
