"""What the abstract and the captions of the paper state, with the test of each."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from universal_response.claims import quantities
from universal_response.claims.quantities import ARITHMETIC, GEOMETRIC, Evaluate

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
        holds: verdict on a value; None where there is no bound.
        average: over pairs, arithmetic or geometric; "" where that is no question.
        logarithmic: whether errors are those of the logarithm of the quantity.
        could_fail: False where every smooth function passes, if only strengths are weak enough.
    """

    statement: str
    source: str
    quantity: str
    evaluate: Callable[..., Any] | None
    holds: Callable[[Any], bool] | None
    average: str = ""
    logarithmic: bool = False
    could_fail: bool = True


def _is_small(value: float) -> bool:
    return value < SMALL


def _by_both_means(
    statement: str,
    source: str,
    quantity: str,
    evaluate: Callable[[str], Evaluate],
    holds: Callable[[float], bool],
    **more: bool,
) -> list[Claim]:
    return [
        Claim(statement, source, quantity, evaluate(average), holds, average, **more)
        for average in (ARITHMETIC, GEOMETRIC)
    ]


_smooth = partial(_by_both_means, holds=_is_small, logarithmic=True, could_fail=False)

PEAKS = _by_both_means(
    "At the end of the model the response near the repeat peaks one token before it.",
    "Fig. 2b",
    "C_Δ at T₀ - 1 over the next largest in the window, ε₀",
    lambda mean: quantities.prominence("delta", mean),
    lambda value: value > 1,
    logarithmic=True,
)

STEPS = _by_both_means(
    "The shift is gradual.",
    "abstract",
    "largest step of C(T₀ - 1) / (C(T₀ - 1) + C(T₀)) in one sublayer, its way from early to "
    "late being 1; less than half is gradual (spread evenly over half of the depth: 1 / L)",
    quantities.largest_step,
    lambda value: value < 0.5,
    logarithmic=True,
)

LINEAR_REGIME = [
    Claim(
        f"The linear regime of the length ends where it is 5 % off, {where}.",
        "beyond the paper",
        f"largest ε with |C_Δ / (ε linear) - 1| < 5 %, {how}",
        evaluate("delta"),
        None,
        ARITHMETIC,
        logarithmic=True,
    )
    for where, how, evaluate in (
        ("at Δj = T₀ - 1", "at Δj = T₀ - 1", quantities.largest_at_peak),
        ("over all distances", "root mean square over Δj", quantities.largest_overall),
    )
]

CLAIMS = (
    *PEAKS,
    *_by_both_means(
        "The angle shows the same peak.",
        "Fig. 2e",
        "C_φ at T₀ - 1 over the next largest in the window, ε₀",
        lambda mean: quantities.prominence("phi", mean),
        lambda value: value > 1,
        logarithmic=True,
    ),
    *_by_both_means(
        "Early layers respond most at the same token, T₀.",
        "Fig. 4",
        "share of positions between 5 and 25 % of the depth whose peak is at T₀",
        quantities.early_at_t0,
        lambda value: value > 0.5,
    ),
    *_by_both_means(
        "From intermediate layers on the peak is at T₀ - 1 (ℓ > 30 of 52 in Gemma-2-2B).",
        "abstract, Fig. 4",
        "onset position over 2L (1 if there is none); between 0.25 and 0.75 counts as intermediate",
        quantities.onset,
        lambda value: 0.25 < value < 0.75,
    ),
    *STEPS,
    Claim(
        "The rise of the peak belongs to intermediate layers.",
        "abstract",
        "share of all positive increments of C_Δ within the middle half of the depth; more "
        "than half is enough",
        quantities.middle_rise,
        lambda value: value > 0.5,
        ARITHMETIC,
    ),
    *_smooth(
        "For ε < 0.1 lengths scale by a number that does not depend on Δj.",
        "Fig. 2b, c",
        "C_Δ(ε) / C_Δ(ε₀): relative spread over Δj, at the worst ε",
        lambda mean: quantities.over_distances("delta", mean),
    ),
    *_smooth(
        "For ε < 0.1 angle metrics scale by a number that does not depend on Δj.",
        "Fig. 2e, f",
        "C_φ(ε) / C_φ(ε₀): the same spread",
        lambda mean: quantities.over_distances("phi", mean),
    ),
    *_smooth(
        "The length grows in proportion to ε.",
        "Fig. 2c",
        "χ_Δ over ε / ε₀: largest distance from 1, ε < 0.1",
        lambda mean: quantities.theory("delta", mean),
    ),
    *_smooth(
        "The angle metric grows as ε squared.",
        "Fig. 2f",
        "χ_φ over (ε / ε₀)^2: largest distance from 1, ε < 0.1",
        lambda mean: quantities.theory("phi", mean),
    ),
    *_smooth(
        "One number serves all layers, for the length.",
        "Fig. 3a",
        "C_Δ(ε) / C_Δ(ε₀) at Δj = T₀ - 1: relative spread over ℓ from the second attention "
        "sublayer on, at the worst ε < 0.1",
        lambda mean: quantities.over_positions("delta", mean),
    ),
    *_smooth(
        "One number serves all layers, for the angle.",
        "Fig. 3b",
        "the same for C_φ",
        lambda mean: quantities.over_positions("phi", mean),
    ),
    Claim(
        "The direction of the response needs no rescaling.",
        "Fig. 3c",
        "C_ϑ(ε) - C_ϑ(ε₀) at Δj = T₀ - 1, rms over the same ℓ, over that of C_ϑ(ε₀), at the worst "
        "ε < 0.1",
        quantities.theta_constant,
        _is_small,
        ARITHMETIC,
        logarithmic=True,
        could_fail=False,
    ),
    Claim(
        "Models share χ = ε / ε₀ over two orders of magnitude.",
        "Fig. 5a-c",
        "|δ(ε)|, its largest value from 0.0003 to ε₀ = 0.03",
        quantities.universal,
        _is_small,
        ARITHMETIC,
        logarithmic=True,
        could_fail=False,
    ),
    Claim(
        "Weak responses have reached their exact linear limit.",
        "beyond the paper",
        "C_Δ / (ε linear) at ε = 0.003: distance from 1, root mean square over Δj",
        quantities.limit("delta"),
        None,
        ARITHMETIC,
        logarithmic=True,
        could_fail=False,
    ),
    *LINEAR_REGIME,
    Claim(
        "The quadratic regime of the angle ends where it is 5 % off, at Δj = T₀ - 1.",
        "beyond the paper",
        "largest ε with |C_φ / (ε^2 linear) - 1| < 5 %, at Δj = T₀ - 1",
        quantities.largest_at_peak("phi"),
        None,
        ARITHMETIC,
        logarithmic=True,
    ),
    *(
        Claim(
            f"Attention and MLP sublayers add known parts of the {name}.",
            f"Fig. 3{panel}",
            f"sum of the increments of {symbol} over attention ({rest})",
            quantities.attention(metric),
            None,
            ARITHMETIC,
        )
        for name, panel, symbol, metric, rest in (
            ("length", "d", "C_Δ", "delta", "MLP: 1 minus it"),
            ("angle metric", "e", "C_φ", "phi", "MLP: 1 minus it"),
            ("direction", "f", "C_ϑ", "theta_source", "not normalised"),
        )
    ),
    Claim(
        "All of this in Gemma-2-2B, Llama-3.2-3B and GPT-2-XL.",
        "all figures",
        "needs their weights; one command each, see the page on running it",
        None,
        None,
    ),
)
