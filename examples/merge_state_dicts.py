"""Merge models in memory: a base and two models made from it, by every method that works on task vectors."""

import torch

import cuvee

torch.manual_seed(0)
base = torch.nn.Linear(6, 4).state_dict()
models = {
    label: {name: tensor + 0.1 * torch.randn_like(tensor) for name, tensor in base.items()}
    for label in ("first", "second")
}

average = cuvee.merge_state_dicts("linear", models, weight={"first": 0.75, "second": 0.25})
expected = 0.75 * models["first"]["weight"] + 0.25 * models["second"]["weight"]
torch.testing.assert_close(average["weight"], expected)

for name, method in cuvee.methods().items():
    if method.operands == "deltas":
        taken = dict(list(models.items())[: method.models[1]])  # as many as the method takes
        merged = cuvee.merge_state_dicts(name, taken, base)
        torch.nn.Linear(6, 4).load_state_dict(merged)
        print(f"{name:16} moves the weight by {(merged['weight'] - base['weight']).norm():.3f}")
