"""What the abstract and the captions of the paper state, with the test of each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from universal_response.claims import quantities
from universal_response.response import Estimate

SMALL = 0.1  # our reading of "independent of" and "well approximated by"


@dataclass(frozen=True)
class Claim:
    """A statement of a source and the test of it.

    Statements on learning are tested by seed: `evaluate` takes a study alone and gives a number for
    every seed, or every pair of them, and `holds` takes such a number.

    Attributes:
        statement: in our words.
        source: where it is made.
        quantity: what is computed.
        evaluate: results and their resampled means -> the quantity along `resample`; None where it
            takes what is not here.
        holds: verdict on an estimate; None where the source names no value to compare with.
    """

    statement: str
    source: str
    quantity: str
    evaluate: Callable[..., Any] | None
    holds: Callable[[Any], bool] | None


def _is_small(found: Estimate) -> bool:
    return found.value < SMALL


PEAK = Claim(
    "At the end of the model the response peaks one token before the repeat.",
    "Fig. 2b",
    "C_Δ at T₀ - 1 over the next largest in the window, ε₀",
    quantities.prominence("delta"),
    lambda found: found.value > 1,
)

ATTENTION_PART = Claim(
    "Attention and MLP sublayers add known parts of the length.",
    "Fig. 3d",
    "sum of the increments of C_Δ over attention (MLP: 1 minus it)",
    quantities.attention("delta"),
    None,
)

LINEAR_REGIME = Claim(
    "The linear regime of the length ends where it is 5 % off.",
    "beyond the paper",
    "largest ε with |C_Δ / (ε linear) - 1| < 5 %, mean over Δj",
    quantities.largest("delta"),
    None,
)

CLAIMS = (
    PEAK,
    Claim(
        "The angle shows the same peak.",
        "Fig. 2e",
        "C_φ at T₀ - 1 over the next largest in the window, ε₀",
        quantities.prominence("phi"),
        lambda found: found.value > 1,
    ),
    Claim(
        "Rescaled, the length curves of all weak strengths are one curve.",
        "Fig. 2b",
        "C_Δ / χ: relative distance from their common curve, rms over Δj and ε < 0.1",
        quantities.collapse("delta"),
        _is_small,
    ),
    Claim(
        "Rescaled, the angle curves of all weak strengths are one curve.",
        "Fig. 2e",
        "C_φ / χ: the same distance",
        quantities.collapse("phi"),
        _is_small,
    ),
    Claim(
        "The length grows in proportion to ε.",
        "Fig. 2c",
        "χ_Δ over ε / ε₀: largest distance from 1, ε < 0.1",
        quantities.theory("delta"),
        _is_small,
    ),
    Claim(
        "The angle metric grows as ε squared.",
        "Fig. 2f",
        "χ_φ over (ε / ε₀)^2: largest distance from 1, ε < 0.1",
        quantities.theory("phi"),
        _is_small,
    ),
    Claim(
        "For ε < 0.1 the ratios of lengths do not depend on Δj.",
        "Fig. 2c",
        "C_Δ(ε) / C_Δ(ε₀): relative spread over Δj, at the worst ε",
        quantities.spread("delta"),
        _is_small,
    ),
    Claim(
        "For ε < 0.1 the ratios of angle metrics do not depend on Δj.",
        "Fig. 2f",
        "C_φ(ε) / C_φ(ε₀): the same spread",
        quantities.spread("phi"),
        _is_small,
    ),
    Claim(
        "One χ serves all layers, for the length.",
        "Fig. 3a",
        "χ_Δ at each ℓ (Δj = T₀ - 1) over that of ℓ = 2L: distance from 1, rms over ε < 0.1 and "
        "ℓ from the second attention sublayer on",
        quantities.layers("delta"),
        _is_small,
    ),
    Claim(
        "One χ serves all layers, for the angle.",
        "Fig. 3b",
        "the same for χ_φ",
        quantities.layers("phi"),
        _is_small,
    ),
    Claim(
        "The direction of the response needs no rescaling.",
        "Fig. 3c",
        "C_ϑ(ε) - C_ϑ(ε₀) at Δj = T₀ - 1: rms over ε < 0.1 and the same ℓ",
        quantities.theta_constant,
        _is_small,
    ),
    ATTENTION_PART,
    Claim(
        "Attention and MLP sublayers add known parts of the angle metric.",
        "Fig. 3e",
        "sum of the increments of C_φ over attention (MLP: 1 minus it)",
        quantities.attention("phi"),
        None,
    ),
    Claim(
        "Attention and MLP sublayers add known parts of the direction.",
        "Fig. 3f",
        "sum of the increments of C_ϑ over attention (not normalised)",
        quantities.attention("theta_source"),
        None,
    ),
    Claim(
        "Early layers respond most at the same token, T₀.",
        "Fig. 4",
        "share of positions between 5 and 25 % of the depth whose peak is at T₀",
        quantities.early_at_t0,
        lambda found: found.value > 0.5,
    ),
    Claim(
        "From intermediate layers on the peak is at T₀ - 1 (ℓ > 30 of 52 in Gemma-2-2B).",
        "abstract, Fig. 4",
        "onset position over 2L (1 if there is none); between 0.25 and 0.75 counts as intermediate",
        quantities.onset,
        lambda found: 0.25 < found.value < 0.75,
    ),
    Claim(
        "The shift is gradual.",
        "abstract",
        "sublayers on which C(T₀ - 1) / (C(T₀ - 1) + C(T₀)) is 10 to 90 % of the way; more than "
        "one block is gradual",
        quantities.gradual,
        lambda found: found.value > 2,
    ),
    Claim(
        "The rise of the peak belongs to intermediate layers.",
        "abstract",
        "share of all positive increments of C_Δ within the middle half of the depth; more "
        "than half is enough",
        quantities.middle_rise,
        lambda found: found.value > 0.5,
    ),
    Claim(
        "Models share χ = ε / ε₀ over two orders of magnitude.",
        "Fig. 5a-c",
        "|δ(ε)|, its largest value from 0.0003 to ε₀ = 0.03",
        quantities.universal,
        _is_small,
    ),
    Claim(
        "All of this in Gemma-2-2B, Llama-3.2-3B and GPT-2-XL.",
        "all figures",
        "needs their weights; one command each, see the page on running it",
        None,
        None,
    ),
    Claim(
        "Weak responses have reached their exact linear limit.",
        "beyond the paper",
        "C_Δ / (ε linear) at ε = 0.003: distance of its mean over Δj from 1; bound 1 %",
        quantities.limit("delta"),
        lambda found: found.value < 0.01,
    ),
    LINEAR_REGIME,
    Claim(
        "The quadratic regime of the angle ends where it is 5 % off.",
        "beyond the paper",
        "largest ε with |C_φ / (ε^2 linear) - 1| < 5 %, mean over Δj",
        quantities.largest("phi"),
        None,
    ),
)
