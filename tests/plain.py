"""An independent oracle: one full forward pass per source and strength, on the whole sequence."""

from dataclasses import dataclass

import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge


@dataclass
class Streams:
    """Residual vectors of the clean and of the perturbed runs.

    Attributes:
        clean: (position, sequence, token, d_model).
        perturbed: (position, epsilon, sequence, source, token, d_model).
    """

    clean: Tensor
    perturbed: Tensor

    @property
    def change(self) -> Tensor:
        """D = x' - x, (position, epsilon, sequence, source, target, d_model)."""
        return self.perturbed - self.clean[:, None, :, None]


def hook_names(model: TransformerBridge) -> list[str]:
    names = ["blocks.0.hook_resid_pre"]
    for layer in range(model.cfg.n_layers):
        for kind in ("mid", "post"):
            name = f"blocks.{layer}.hook_resid_{kind}"
            if name in model.hook_dict:
                names.append(name)
    return names


def streams(model: TransformerBridge, tokens: Tensor, epsilons: list[float]) -> Streams:
    def run(source: int | None = None, epsilon: float = 0.0) -> Tensor:
        stored = []

        def weaken(x: Tensor, hook: object) -> Tensor:
            weakened = x.clone()
            weakened[:, source] = x[:, source] - epsilon * x[:, source]
            return weakened

        def store(x: Tensor, hook: object) -> None:
            stored.append(x.detach().clone())

        names = hook_names(model)
        hooks = [(name, store) for name in names]
        if source is not None:
            hooks.insert(0, (names[0], weaken))
        with torch.no_grad():
            model.run_with_hooks(tokens, fwd_hooks=hooks)
        return torch.stack(stored)

    sources = range(tokens.shape[1])
    perturbed = [torch.stack([run(i, epsilon) for i in sources], dim=2) for epsilon in epsilons]
    return Streams(run(), torch.stack(perturbed, dim=1))


def inner_products(found: Streams) -> dict[str, Tensor]:
    """By the names of the library's fields, (position, epsilon, sequence, source, target)."""
    d = found.change
    x = found.clean[:, None, :, None]
    at_source = torch.stack([d[..., i, i, :] for i in range(d.shape[3])], dim=3)[..., None, :]
    return {
        "state_state": torch.linalg.vector_norm(found.clean, dim=-1) ** 2,
        "response_response": torch.linalg.vector_norm(d, dim=-1) ** 2,
        "response_state": (d * x).sum(-1),
        "response_source": (d * at_source).sum(-1),
        "response_perturbation": (d * at_source[:1]).sum(-1),
        "perpendicular": torch.linalg.vector_norm(across(d, x), dim=-1) ** 2,
    }


def across(d: Tensor, x: Tensor) -> Tensor:
    """The part of d perpendicular to x; d itself where x vanishes."""
    squared = (x * x).sum(-1, keepdim=True)
    along = (d * x).sum(-1, keepdim=True) / torch.where(squared > 0, squared, 1)
    return d - along * x


def metrics(found: Streams) -> dict[str, Tensor]:
    """The metrics from the residual vectors themselves, in double precision."""
    clean, d = found.clean.double()[:, None, :, None], found.change.double()
    perturbed = found.perturbed.double()
    at_source = torch.stack([d[..., i, i, :] for i in range(d.shape[3])], dim=3)[..., None, :]
    length = torch.linalg.vector_norm
    return {
        "delta": length(d, dim=-1) / length(clean, dim=-1),
        "phi": 1 - cosine(perturbed, clean),
        "theta_source": cosine(d, at_source),
        "theta_state": cosine(d, clean),
        "theta_perturbation": cosine(d, at_source[:1]),
    }


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of the angle between vectors; 0 where one of them vanishes."""
    lengths = torch.linalg.vector_norm(a, dim=-1) * torch.linalg.vector_norm(b, dim=-1)
    return torch.where(lengths > 0, (a * b).sum(-1) / lengths, 0.0)


def response_function(matrix: Tensor) -> Tensor:
    """Mean of C(i, i + dj) over all valid i."""
    t = matrix.shape[-1]
    means = []
    for delta_j in range(t):
        entries = [matrix[..., i, i + delta_j] for i in range(t - delta_j)]
        means.append(torch.stack(entries).mean(0))
    return torch.stack(means, dim=-1)
