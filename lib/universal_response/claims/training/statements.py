"""What the paper on the formation of induction heads states, with the test of each."""

from universal_response.claims.statements import Claim
from universal_response.claims.training import quantities as of
from universal_response.training.summaries import CLASSES, COPYING, FULL, GRAFT, LABELS, MATCHING

ABSTRACT, TEXT, BEYOND = "abstract", "its experiments", "beyond the paper"
BOTH = f"{ABSTRACT}, by {TEXT}"


def _order(statement: str, first: str, second: str, source: str = TEXT) -> Claim:
    return Claim(
        statement,
        source,
        f"sequences to a loss of .35, {second} over {first}, all pairs of seeds",
        of.later(first, second),
        lambda ratio: ratio > 1,
    )


TRAINING_CLAIMS = (
    Claim(
        "The loss stays on a plateau where both labels are as likely.",
        TEXT,
        "loss between a quarter and three quarters of the time to a loss of .35, less ln 2",
        of.plateau_above_ln2,
        lambda excess: abs(excess) < 0.1,
    ),
    Claim(
        "Then it falls: a phase change.",
        ABSTRACT,
        "time from a loss of .6 to one of .2 over the time to .6",
        of.steepness,
        lambda ratio: ratio < 1,
    ),
    Claim(
        "It falls after 200 to 600 thousand sequences.",
        TEXT,
        "sequences to a loss of .35",
        of.learned,
        lambda when: 2e5 < when < 6e5,
    ),
    Claim(
        "The task is solved.",
        TEXT,
        "accuracy on the training split at the end",
        of.accuracy("training"),
        lambda accuracy: accuracy > 0.99,
    ),
    Claim(
        "What is learned is the rule, and serves labels in new pairs.",
        TEXT,
        "accuracy on label pairs that were held out",
        of.accuracy("relabelled"),
        lambda accuracy: accuracy > 0.9,
    ),
    Claim(
        "It serves classes that were never seen.",
        TEXT,
        "accuracy on unseen classes",
        of.accuracy("unseen"),
        lambda accuracy: accuracy > 0.9,
    ),
    Claim(
        "There is more than one induction head.",
        ABSTRACT,
        "heads of layer 2 with an induction strength above .5",
        of.strong_heads,
        lambda count: count > 1,
    ),
    Claim(
        "Induction heads are diverse.",
        ABSTRACT,
        "largest less smallest induction strength",
        of.range_of_strengths,
        None,
    ),
    Claim(
        "A head serves as well as it is strong.",
        TEXT,
        "rank correlation over heads of accuracy with one head alone and induction strength",
        of.alone_by_strength,
        lambda correlation: correlation > 0.8,
    ),
    Claim(
        "No single head is needed.",
        TEXT,
        "largest loss of accuracy with one head dropped",
        of.cost_of_any_head,
        lambda cost: cost < 0.02,
    ),
    Claim(
        "Heads are additive: the second strongest helps the first.",
        ABSTRACT,
        "loss with the two strongest heads over that with the strongest",
        of.gained_by_second,
        lambda ratio: ratio < 1,
    ),
    Claim(
        "And so do all others.",
        ABSTRACT,
        "loss with all heads over that with the two strongest",
        of.last_head_lowers,
        lambda ratio: ratio < 1,
    ),
    Claim(
        "Layer 1 acts through layer 2 alone.",
        TEXT,
        "accuracy lost without the path from layer 1 straight to the output",
        of.cost_of_path,
        lambda cost: cost < 0.01,
    ),
    Claim(
        "Wiring is many-to-many: several heads of layer 1 feed the keys of one induction head.",
        TEXT,
        "heads of layer 1 that, alone, give keys at least half of what the best one gives; mean "
        "over heads with a strength above .5",
        of.feeding_heads("key"),
        lambda count: count > 1,
    ),
    Claim(
        "Where layer 2 attends depends on previous-token heads.",
        TEXT,
        "accuracy with them ablated and what all heads carry kept",
        of.ablated("value", "previous"),
        lambda accuracy: accuracy < 0.9,
    ),
    Claim(
        "Previous-token heads carry nothing that is copied: patterns kept, they are not needed.",
        TEXT,
        "accuracy with them ablated and all patterns kept",
        of.ablated("pattern", "previous"),
        lambda accuracy: accuracy > 0.95,
    ),
    Claim(
        "The other heads of layer 1 are not needed for where layer 2 attends.",
        TEXT,
        "accuracy with the others ablated and what all heads carry kept",
        of.ablated("value", "others"),
        lambda accuracy: accuracy > 0.95,
    ),
    Claim(
        "The other heads of layer 1 are needed for what is copied.",
        TEXT,
        "accuracy with the others ablated and all patterns kept",
        of.ablated("pattern", "others"),
        lambda accuracy: accuracy < 0.9,
    ),
    Claim(
        "Each single head can learn it alone.",
        TEXT,
        "sequences to a loss of .35 with one head of layer 2 throughout, every head, one seed",
        of.single_heads,
        lambda when: when < float("inf"),
    ),
    Claim(
        "In the toy, one factor given shortens the plateau.",
        TEXT,
        "steps to half of the plateau's loss, none given over one given",
        of.toy_earlier("c", "none"),
        lambda ratio: ratio > 1,
    ),
    Claim(
        "And a second one more so.",
        TEXT,
        "the same, one given over two given",
        of.toy_earlier("b and c", "c"),
        lambda ratio: ratio > 1,
    ),
    _order("Layer 1 and copying given leave least to be learned.", "L1 + copy", "copy", BOTH),
    _order("They leave less than matching given.", "L1 + copy", "match", BOTH),
    _order("Copying given helps more than layer 1 given.", "copy", "L1", BOTH),
    _order("Matching given helps more than layer 1 given.", "match", "L1", BOTH),
    _order("Layer 1 given helps more than its pattern alone.", "L1", "PT"),
    _order("The pattern alone helps.", "PT", "none"),
    _order(
        "Previous-token attention in all heads of layer 1 helps less than in one.", "PT", "all PT"
    ),
    _order("A trained layer 1, grafted, takes the plateau away.", GRAFT, FULL),
    Claim(
        "Twice the labels delay learning at least twofold.",
        BOTH,
        "sequences to a loss of .35, 10 labels over 5, seed by seed",
        of.delay(LABELS),
        lambda ratio: ratio >= 2,
    ),
    Claim(
        "Twice the classes delay it less than labels do.",
        BOTH,
        "sequences to a loss of .35, 100 classes over 50, seed by seed; at most 1.5",
        of.delay(CLASSES),
        lambda ratio: ratio <= 1.5,
    ),
    Claim(
        "Labels leave the subcircuit of matching alone.",
        TEXT,
        "the same of 10 labels over 5 with L1 and copying clamped; within 10 %",
        of.delay(LABELS, MATCHING),
        lambda ratio: abs(ratio - 1) < 0.1,
    ),
    Claim(
        "Labels delay the subcircuit of copying to the output.",
        TEXT,
        "the same with matching clamped",
        of.delay(LABELS, COPYING),
        lambda ratio: ratio > 1.1,
    ),
    Claim(
        "Classes delay the subcircuit of matching.",
        TEXT,
        "of 100 classes over 50 with L1 and copying clamped",
        of.delay(CLASSES, MATCHING),
        lambda ratio: ratio > 1,
    ),
    Claim(
        "Classes leave the subcircuit of copying alone.",
        TEXT,
        "the same with matching clamped; within 10 %",
        of.delay(CLASSES, COPYING),
        lambda ratio: abs(ratio - 1) < 0.1,
    ),
    Claim(
        "On the plateau the query does not tell the right label from the wrong one.",
        BEYOND,
        "largest |S| before the loss is below .6",
        of.contrast_before,
        lambda contrast: contrast < 0.03,
    ),
    Claim(
        "At the end it does.",
        BEYOND,
        "S at the end",
        of.contrast_at_end,
        lambda contrast: contrast > 0.25,
    ),
    Claim(
        "The response does not announce the fall of the loss.",
        BEYOND,
        "sequences until S is half of what it becomes, over those until the loss is half-way down",
        of.lag("loss"),
        lambda ratio: ratio > 1,
    ),
    Claim(
        "The response does not announce attention either.",
        BEYOND,
        "the same over those until the induction strength is half of what it becomes",
        of.lag("strength"),
        lambda ratio: ratio > 1,
    ),
    Claim(
        "Scaling a token is not seen through a norm: later tokens feel nothing behind layer 1.",
        BEYOND,
        "largest change of a later token behind layer 1 over that of the source; norms add 1e-12",
        of.leak,
        lambda leak: leak < 1e-6,
    ),
)
