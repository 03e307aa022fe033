"""Both ways to compute."""

import pytest

from cuvee.tensors.kernels import program


@pytest.fixture(params=["kernels", "torch"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute with compiled kernels, and in torch."""
    if request.param == "torch":
        monkeypatch.setattr(program, "kernel", lambda: None)
