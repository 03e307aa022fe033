"""A small decoder: RMSNorm, rotary positions, gated MLPs, a tied head; tensors are named as in Llama's checkpoints."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from cuvee.studies.suites.polyglot.data import LENGTH
from cuvee.studies.suites.polyglot.lexicon import vocabulary

__all__ = ["PLANS", "TARGETS", "Network", "Plan", "flops_of", "new_network"]

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""Linear layers that adapters go on, by the end of their names."""
HEAD_WIDTH = 16
THETA = 100.0  # of the rotary positions: the slowest turns by about one radian over two dozen tokens
EPSILON = 1e-6  # of the norms, against vectors of zeros
EMBEDDING = 0.3  # deviation of fresh embeddings: as inputs they are normed, as the head they give moderate logits
COPYING = 0.5  # of fresh attention: how much of a token that is attended to is added where it is attended from
GATED = 0.3  # of fresh MLPs: they begin small beside that


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A network's shape.

    Attributes:
        width: of the residual stream; heads are 16 wide, MLPs twice as wide.
        depth: layers.
    """

    width: int
    depth: int = 3


PLANS: Mapping[str, Plan] = {"s": Plan(width=32), "m": Plan(width=64), "l": Plan(width=96)}


class Norm(nn.Module):
    """Divide by the root of the mean square, and scale."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., width) to the same."""
        return self.weight * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPSILON)


class Attention(nn.Module):
    """Causal self-attention with rotary positions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(width, width, bias=False) for _ in range(4))

    def forward(self, x: Tensor, turns: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
        """Map (n, tokens, width) to the same; `mask` (tokens, tokens) is -inf where nothing may be seen."""
        q, k, v = (
            each(x).unflatten(2, (-1, HEAD_WIDTH)).transpose(1, 2) for each in (self.q_proj, self.k_proj, self.v_proj)
        )
        products = _turned(q, turns) @ _turned(k, turns).transpose(2, 3)
        weights = (products / HEAD_WIDTH**0.5 + mask).softmax(3)
        out: Tensor = self.o_proj((weights @ v).transpose(1, 2).flatten(2))
        return out


class Mlp(nn.Module):
    """A gated MLP."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, 2 * width, bias=False)
        self.up_proj = nn.Linear(width, 2 * width, bias=False)
        self.down_proj = nn.Linear(2 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., width) to the same."""
        out: Tensor = self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class Layer(nn.Module):
    """Attention, then an MLP, each with its norm before it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.input_layernorm = Norm(width)
        self.self_attn = Attention(width)
        self.post_attention_layernorm = Norm(width)
        self.mlp = Mlp(width)

    def forward(self, x: Tensor, turns: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
        """Map (n, tokens, width) to the same."""
        x = x + self.self_attn(self.input_layernorm(x), turns, mask)
        out: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out


class Trunk(nn.Module):
    """Tokens to states."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(len(vocabulary()), plan.width)
        self.layers = nn.ModuleList(Layer(plan.width) for _ in range(plan.depth))
        self.norm = Norm(plan.width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (n, tokens) int64 to (n, tokens, width) float32."""
        count = tokens.shape[1]
        turns, mask = _turns(count), torch.full((count, count), -torch.inf).triu(1)
        x: Tensor = self.embed_tokens(tokens)
        for layer in self.layers:
            x = layer(x, turns, mask)
        normed: Tensor = self.norm(x)
        return normed


class Network(nn.Module):
    """Tokens to logits of the next ones; the head is the embedding, so that a word that is copied is a word said."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.model = Trunk(plan)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (n, tokens) int64 to (n, tokens, vocabulary) float32."""
        return self._logits(self.model(tokens))

    def logits_before(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        """Return the logits that predict the wanted tokens, and no others, which saves most of the head's work.

        Args:
            tokens: (n, tokens) int64.
            wanted: (n, tokens) bool, none of them the first.

        Returns:
            (wanted tokens, vocabulary) float32, in the order of `tokens[wanted]`.
        """
        return self._logits(self.model(tokens[:, :-1])[wanted[:, 1:]])

    def _logits(self, states: Tensor) -> Tensor:
        return functional.linear(states, self.model.embed_tokens.weight)


def new_network(architecture: str, seed: int) -> Network:
    """Make a network with fresh weights. The caller's random state is left as it was.

    Queries begin equal to keys, and outputs to values transposed: attention then sees and copies words that are alike,
    which small networks are slow to find. After Trockman and Kolter, "Mimetic Initialization of Self-Attention Layers",
    ICML 2023, arXiv 2305.09828; theirs add noise, and copy with the other sign.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        network = Network(PLANS[architecture])
        for name, value in network.named_parameters():
            if value.dim() == 2:
                nn.init.normal_(value, std=EMBEDDING if "embed_tokens" in name else value.shape[1] ** -0.5)
        for layer in network.model.layers:
            assert isinstance(layer, Layer)
            layer.self_attn.k_proj.weight.copy_(layer.self_attn.q_proj.weight)
            layer.self_attn.o_proj.weight.copy_(COPYING * layer.self_attn.v_proj.weight.T)
            layer.mlp.down_proj.weight.mul_(GATED)
    return network


def flops_of(plan: Plan) -> int:
    """Return operations of a forward pass of one example of the full length: its matrix products, two for each weight.

    Attention counts all pairs of tokens, also those that the mask hides, for that is what is computed.
    """
    width = plan.width
    layer = LENGTH * (4 * width**2 + 3 * 2 * width**2) + 2 * LENGTH**2 * width
    return 2 * (plan.depth * layer + LENGTH * width * len(vocabulary()))


def _turns(count: int) -> tuple[Tensor, Tensor]:
    """Return cosines and sines of the rotary angles, (tokens, HEAD_WIDTH / 2) each."""
    speeds = THETA ** (-torch.arange(0, HEAD_WIDTH, 2) / HEAD_WIDTH)
    angles = torch.arange(count)[:, None] * speeds
    return angles.cos(), angles.sin()


def _turned(x: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
    """Turn pairs of features, one of each half, by the angles of their places."""
    cosines, sines = turns
    one, other = x.chunk(2, -1)
    return torch.cat((one * cosines - other * sines, one * sines + other * cosines), -1)
