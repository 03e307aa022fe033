"""NearSwap: take another model's entries where they lie near the base's, and move a little towards it elsewhere.

Published by alchemonaut with the model QuartetAnemoi-70B, 2024,
https://huggingface.co/alchemonaut/QuartetAnemoi-70B-t0.0001. There, and in mergekit
(https://github.com/arcee-ai/mergekit), theta = k theta_1 + (1 - k) theta_0 with k = min(1, t / |theta_1 - theta_0|) for
every entry. That moves each entry by its difference, or by t where the difference is larger: the task vector with its
entries cut at -t and t, which is what is computed here. Difference: mergekit divides by at least 1e-6, so that with a t
below 1e-6 entries that differ by less move a share of their way.
"""

from typing import Annotated

from cuvee.methods.declare import Deltas, Paper, Range, method
from cuvee.tensors.algebra import weighted_sum
from cuvee.tensors.clip import Clipped
from cuvee.tensors.operands import Operand

FARTHEST = 1e6


@method(
    paper=Paper(
        title="QuartetAnemoi-70B-t0.0001: NearSwap algorithm",
        authors="alchemonaut",
        venue="Hugging Face",
        year=2024,
        url="https://huggingface.co/alchemonaut/QuartetAnemoi-70B-t0.0001",
    ),
    models=(1, 1),
    identity=lambda _: {"t": FARTHEST},
)
def nearswap(deltas: Deltas, *, t: Annotated[float, Range(0.0, FARTHEST, usual=(0.0, 0.0025))] = 1e-4) -> Operand:
    """Move each entry of the base towards the model's by no more than a distance.

    theta = theta_0 + min(max(tau, -t), t): entries that differ by less than `t` are the model's, all others move by
    `t`. The author reports that quality degrades above t = 0.0025.

    Args:
        deltas: one task vector, (rows, e).
        t: how far an entry moves at most, in units of the parameters themselves.

    Returns:
        Merged task vector, (rows, e) float32.
    """
    (delta,) = deltas
    return weighted_sum([Clipped(delta, t)], [1.0])
