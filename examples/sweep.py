"""Try several settings of a method at once: the models are read once, whatever the number of settings."""

import tempfile
from pathlib import Path

import torch

import cuvee

SCALES = (0.3, 0.6, 1.0)

torch.manual_seed(0)
base = {"layers.0.weight": torch.randn(64, 32)}
models = {label: {name: t + 0.02 * torch.randn(64, 32) for name, t in base.items()} for label in ("math", "code")}
recipe = cuvee.Recipe(method="task_arithmetic", models=models, base=base)

with tempfile.TemporaryDirectory() as temporary:
    outputs = {scale: Path(temporary, f"scale-{scale}") for scale in SCALES}
    report = cuvee.merge_variants({out: recipe.but(scale=scale) for scale, out in outputs.items()})

    alone = cuvee.plan(recipe)
    assert report.bytes_read == alone.bytes_read, "three merges read as much as one"
    assert report.bytes_written == len(SCALES) * alone.bytes_written
    for scale, out in outputs.items():
        source = cuvee.open_source(out)
        data = bytearray(source.header["layers.0.weight"].nbytes)
        source.read_into(memoryview(data), "layers.0.weight")
        source.close()
        merged = torch.frombuffer(data, dtype=torch.float32).reshape(64, 32)
        print(f"scale {scale}: {(merged - base['layers.0.weight']).norm():.2f} away from the base")
