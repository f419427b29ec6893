"""What the notes on induction circuits state of heads, with the test of each."""

from universal_response.claims.heads import effects, patterns, streams
from universal_response.claims.statements import SMALL, Claim

MOSTLY = 0.5  # our reading of "does so": more than half

NOTES, BEYOND = "induction-circuit notes", "beyond the notes"

HEAD_CLAIMS = (
    Claim(
        "The model predicts what followed the same token before.",
        NOTES,
        "logit of the right token less the mean of the block's other tokens, second block",
        patterns.repeats,
        lambda value: value > 0,
    ),
    Claim(
        "Induction heads are responsible for the prediction of what is repeated.",
        NOTES,
        "part of the logit difference that is lost with all induction heads at their means on "
        "unrepeated tokens, beyond what as many random heads of their layers lose; more than half "
        "is enough",
        effects.lost_without("induction"),
        lambda value: value > MOSTLY,
    ),
    Claim(
        "Induction takes two heads in different layers: one attends to the token before, below "
        "the first induction head.",
        NOTES,
        "attention to the token before of the strongest such head in a layer below the first "
        "induction head (0 if there is none), less the most that any head with shuffled weights "
        "gives; more than half of all attention is enough",
        patterns.earlier_previous_token,
        lambda value: value > MOSTLY,
    ),
    Claim(
        "Without previous-token heads there is no induction.",
        NOTES,
        "part of the logit difference that is lost with all previous-token heads at their means on "
        "unrepeated tokens, beyond that of random heads (as many as induction heads, of their "
        "layers); more than half is enough",
        effects.lost_without("previous_token"),
        lambda value: value > MOSTLY,
    ),
    Claim(
        "What induction heads read through their keys was written by a previous-token head.",
        NOTES,
        "attention to the token before, less the most under shuffled weights, of the head "
        "without whose edges to those keys the induction score falls most; more than half is "
        "enough",
        patterns.previous_token_of_sender,
        lambda value: value > MOSTLY,
    ),
    Claim(
        "Where induction heads attend to is decided by what was written for their keys, not for "
        "their queries.",
        NOTES,
        "largest change of the induction score with an edge of a head to queries cut (of the heads "
        "that matter most through keys) over the largest fall with one to keys cut, sums over "
        "receivers; less than half is enough",
        effects.queries_over_keys,
        lambda value: value < MOSTLY,
    ),
    Claim(
        "What was written for their keys is not what induction heads pass on.",
        NOTES,
        "edges to values of the head without whose edges to keys the induction score falls most: "
        "change of the logit difference with them cut, over the fall with those to keys cut; less "
        "than half is enough",
        effects.values_over_keys,
        lambda value: value < MOSTLY,
    ),
    Claim(
        "An induction head writes the token that it attends to.",
        NOTES,
        "share of positive eigenvalues of OV circuits (-1 to 1): mean over induction heads less "
        "that over all others; error over heads",
        patterns.copying,
        lambda value: value > 0,
    ),
    Claim(
        "Induction heads look for what stood there, and not at a distance.",
        NOTES,
        "prefix matching with gaps of different lengths between the blocks over the induction "
        "score without one, of the induction head that keeps least; half is enough",
        patterns.without_distance,
        lambda value: value > MOSTLY,
    ),
    Claim(
        "Shuffled weights do no induction.",
        BEYOND,
        "largest induction score of any head with shuffled weights over the largest without",
        patterns.shuffled_induction,
        lambda value: value < SMALL,
    ),
    Claim(
        "There are heads that attend to the same token in the block before, this many.",
        BEYOND,
        "number of duplicate-token heads; its error tells whose score may lie below the threshold",
        patterns.duplicate_heads,
        None,
    ),
    Claim(
        "Duplicate-token heads attend to the same token this strongly.",
        BEYOND,
        "attention to the same token in the block before, less that of unrepeated tokens, of the "
        "head with the largest difference",
        patterns.duplicate_score,
        None,
    ),
    Claim(
        "Induction owes this much to duplicate-token heads.",
        BEYOND,
        "part of the logit difference that is lost with duplicate-token heads at their means on "
        "unrepeated tokens, beyond random heads",
        effects.lost_without("duplicate_token"),
        None,
    ),
    Claim(
        "Attention moves what is known of one token to another; MLPs work where it has arrived.",
        NOTES,
        "share of heads (MLPs: 1 minus it) in the limit of the response at T₀ - 1, at the position "
        "where its peak settles there; more than half is enough",
        streams.heads_at_onset,
        lambda value: value > MOSTLY,
    ),
    Claim(
        "It is induction heads that move it.",
        NOTES,
        "share of induction heads in the same, less that at a Δj of no meaning; more than half is "
        "enough",
        streams.induction_at_onset,
        lambda value: value > MOSTLY,
    ),
    Claim(
        "At the end of the model MLPs carry a part of the response.",
        BEYOND,
        "share of MLPs in the limit of the response at T₀ - 1, ℓ = 2L",
        streams.mlps_at_end,
        None,
    ),
    Claim(
        "Induction heads act on the logits directly.",
        NOTES,
        "fall of the logit difference with a head at its mean for the final norm alone over the "
        "fall where later layers react: sums over induction heads; more than half is direct",
        effects.direct_of_induction,
        lambda value: value > MOSTLY,
    ),
    Claim(
        "The head that induction heads read from acts on the logits indirectly.",
        NOTES,
        "the same ratio, of the head whose edges to their keys matter most to the induction score; "
        "less than half is indirect",
        effects.direct_of_sender,
        lambda value: value < MOSTLY,
    ),
    Claim(
        "Probability saturates where the logit difference goes on growing.",
        NOTES,
        "logit lens: part of the whole rise of the logit difference that comes in the last quarter "
        "of the depth: itself, or less that of the probability, whichever is smaller",
        streams.grows_beyond_probability,
        lambda value: value > 0,
    ),
    Claim(
        "What depends on place and what depends on the token lie in nearly orthogonal subspaces.",
        NOTES,
        "mean squared cosine between the main directions of either, less that of random subspaces; "
        "mean over ℓ ≥ 1, error over ℓ",
        streams.place_and_token,
        lambda value: value < SMALL,
    ),
    Claim(
        "Heads write elsewhere than they read.",
        NOTES,
        "mean squared cosine between what values read and what the head writes, on a scale from 0 "
        "(random: d_head / d_model) to 1 (the same): mean over heads, error over heads",
        patterns.write_where_they_read,
        lambda value: value < SMALL,
    ),
    Claim(
        "An attention pattern does not tell that a head is used.",
        NOTES,
        "share of induction heads whose direct attribution is not above 0 by two errors; any is "
        "enough",
        effects.pattern_without_effect,
        lambda value: value > 0,
    ),
    Claim(
        "Pattern and attribution rank heads alike, to this degree.",
        NOTES,
        "rank correlation of induction score and direct attribution, over all heads",
        effects.pattern_and_attribution,
        None,
    ),
    Claim(
        "Heads set to zero disturb what they are not for; at their means they do so less.",
        NOTES,
        "loss of unrepeated tokens (nats) with random heads at zero less that with the same heads "
        "at their means on such tokens",
        effects.zeros_beyond_means,
        lambda value: value > 0,
    ),
    Claim(
        "First-order estimates rank heads as patching does, to this degree (denoising).",
        BEYOND,
        "rank correlation over heads of attribution patching with patching, clean outputs put in",
        effects.estimate_rank("denoising"),
        None,
    ),
    Claim(
        "First-order estimates rank heads as patching does, to this degree (noising).",
        BEYOND,
        "the same, corrupt outputs put in",
        effects.estimate_rank("noising"),
        None,
    ),
    Claim(
        "First-order estimates miss the effect of a head by this much (denoising).",
        BEYOND,
        "largest distance of the estimate from patching over the largest effect of a head, "
        "clean outputs put in",
        effects.estimate_miss("denoising"),
        None,
    ),
    Claim(
        "First-order estimates miss the effect of a head by this much (noising).",
        BEYOND,
        "the same, corrupt outputs put in",
        effects.estimate_miss("noising"),
        None,
    ),
    Claim(
        "Shares in the linear response and effects of ablation rank heads alike, to this degree.",
        BEYOND,
        "rank correlation over heads of the share in the response at T₀ - 1 (limit, ℓ = 2L) with "
        "the fall of the logit difference with the head at its mean",
        streams.share_and_effect,
        None,
    ),
    Claim(
        "A weak perturbation is carried by induction heads as its limit is.",
        BEYOND,
        "share of induction heads in the response at T₀ - 1, ℓ = 2L: finite strength less limit, "
        "without sign",
        streams.share_of_strength,
        lambda value: value < SMALL,
    ),
)
