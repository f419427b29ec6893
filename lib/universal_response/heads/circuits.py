"""QK and OV circuits: what a head looks for and what it writes, read off its weights.

Norms enter by their gains, and by the mean that a LayerNorm takes off; their scales are positive
numbers of each token and are left out.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from universal_response.activations.logits import Unembedding
from universal_response.activations.weights import LayerWeights
from universal_response.propagation import Norm


@dataclass(frozen=True)
class Factors:
    """A matrix (d_model, d_model) of rank d_head: left @ right, acting on rows.

    Attributes:
        left: (d_model, d_head).
        right: (d_head, d_model).
    """

    left: Float[Tensor, "d_model d_head"]
    right: Float[Tensor, "d_head d_model"]

    def norm(self) -> Tensor:
        """Frobenius, from the factors: |A B| = |R_A R_B^T| of their QR decompositions."""
        return torch.linalg.matrix_norm(_upper(self.left) @ _upper(self.right.T).T)

    def __matmul__(self, other: "Factors") -> "Factors":
        return Factors(self.left, (self.right @ other.left) @ other.right)

    @property
    def transposed(self) -> "Factors":
        return Factors(self.right.T, self.left.T)


def _upper(matrix: Tensor) -> Tensor:
    return torch.linalg.qr(matrix, mode="r").R


def ov_circuit(weights: LayerWeights, head: int) -> Factors:
    """W_V W_O: what a head writes to the residual stream for what it reads there, by rows."""
    reads, writes = weights.value_of(head).double(), weights.mixed[head].double()
    if weights.norm is not None:
        reads = weights.norm.before(reads)
    if weights.norm_after is not None:
        writes = weights.norm_after.behind(writes)
    return Factors(reads, writes)


def qk_circuit(
    weights: LayerWeights, head: int, rotation: Float[Tensor, "d_head d_head"] | None = None
) -> Factors:
    """W_Q R W_K^T: the score of a query (left) with a key (right) at the distance of R.

    Args:
        weights: of the layer.
        head: of that layer.
        rotation: R(d) of `rotations`; none if None.
    """
    query, key = weights.queries[head].double(), weights.key_of(head).double()
    if weights.query_norm is not None:
        query = _of_head(weights.query_norm, head, query.shape[1]).behind(query)
    if weights.key_norm is not None:
        key = _of_head(weights.key_norm, head // weights.n_shared, key.shape[1]).behind(key)
    if rotation is not None:
        # k R(0) . q R(d) = q R(d) k
        query = query @ rotation.to(query)
    if weights.norm is not None:
        query, key = weights.norm.before(query), weights.norm.before(key)
    return Factors(query, key.T)


def _of_head(norm: Norm, head: int, width: int) -> Norm:
    """A norm of queries or keys for one head; its gain may be of all heads, side by side or not."""
    by_head = norm.gain.reshape(-1, width)
    return replace(norm, gain=by_head[head if len(by_head) > 1 else 0])


def k_composition(sender: Factors, receiver: Factors) -> Tensor:
    """|W_OV M^T| / (|W_OV| |M|): how much of what a sender writes the receiver's keys read.

    Args:
        sender: OV circuit of an earlier head.
        receiver: QK circuit M of the later head.
    """
    lengths = sender.norm() * receiver.norm()
    return (sender @ receiver.transposed).norm() / torch.where(lengths > 0, lengths, 1)


def random_composition(sender: Factors, draws: int = 8, seed: int = 0) -> Tensor:
    """K-composition of a sender with QK circuits of random numbers, mean over draws."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(draws):
        left, right = (
            torch.randn(each.shape, generator=generator, dtype=torch.float64)
            for each in (sender.left, sender.right)
        )
        found.append(k_composition(sender, Factors(left, right)))
    return torch.stack(found).mean()


def positive_share(circuit: Factors, between: Float[Tensor, "d_model d_model"]) -> Tensor:
    """Sum of the eigenvalues of circuit @ between over the sum of their absolute values.

    From the (d_head, d_head) matrix that has the same ones. 1 where the map takes each token to
    itself (copying, matching), about 0 for a random one, -1 where it takes it away.
    """
    values = torch.linalg.eigvals(circuit.right @ between @ circuit.left)
    return values.real.sum() / values.abs().sum()


def token_overlap(
    model: TransformerBridge, unembedding: Unembedding
) -> dict[str, Float[Tensor, "d_model d_model"]]:
    """Sums over the vocabulary of outer products of embeddings, as heads read and logits show them.

    Returns:
        `copying`: W_U^T W_E, closes an OV circuit; `matching`: W_E^T W_E, closes a QK circuit.
        Embeddings at unit mean square, as a norm would show them, and all less their means over the
        vocabulary: what tokens have in common tells none from another.
    """
    inner: Any = model.original_model
    embedding = inner.get_input_embeddings().weight.detach()
    width, norm = embedding.shape[1], unembedding.norm
    copying, matching = (torch.zeros((width, width), dtype=torch.float64) for _ in range(2))
    read, written = (torch.zeros(width, dtype=torch.float64) for _ in range(2))
    for rows, out in zip(embedding.split(16384), unembedding.weight.split(16384), strict=True):
        shown = replace(norm, gain=torch.ones_like(norm.gain)).behind(rows.double())
        normed = shown / shown.square().mean(-1, keepdim=True).sqrt()
        shows = norm.before(out.double().T)
        copying += shows @ normed
        matching += normed.T @ normed
        read += normed.sum(0)
        written += shows.sum(1)
    n = len(embedding)
    return {
        "copying": copying - torch.outer(written, read) / n,
        "matching": matching - torch.outer(read, read) / n,
    }
