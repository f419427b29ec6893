"""What the paper on the formation of induction heads states, with the test of each."""

from collections.abc import Callable
from dataclasses import dataclass

from universal_response.claims.training import quantities as of
from universal_response.training.summaries import CLASSES, COPYING, FULL, GRAFT, LABELS, MATCHING

ABSTRACT, TEXT, BEYOND = "abstract", "its experiments", "beyond the paper"


@dataclass(frozen=True)
class TrainingClaim:
    """A statement of a source and the test of it.

    Attributes:
        statement: in our words.
        source: where it is made.
        quantity: what is computed, in words.
        evaluate: study -> a number for every seed, or every pair of seeds.
        holds: whether such a number keeps the bound; None where there is none.
    """

    statement: str
    source: str
    quantity: str
    evaluate: of.Quantity
    holds: Callable[[float], bool] | None


def _order(statement: str, first: str, second: str, source: str = TEXT) -> TrainingClaim:
    return TrainingClaim(
        statement,
        source,
        f"sequences to a loss of .35, {second} over {first}, all pairs of seeds",
        of.later(first, second),
        lambda ratio: ratio > 1,
    )


TRAINING_CLAIMS = (
    TrainingClaim(
        "The loss stays on a plateau where both labels are as likely.",
        TEXT,
        "loss between a quarter and three quarters of the time to a loss of .35, less ln 2",
        of.plateau_above_ln2,
        lambda excess: abs(excess) < 0.1,
    ),
    TrainingClaim(
        "Then it falls: a phase change.",
        ABSTRACT,
        "time from a loss of .6 to one of .2 over the time to .6",
        of.steepness,
        lambda ratio: ratio < 1,
    ),
    TrainingClaim(
        "It falls after 200 to 600 thousand sequences.",
        TEXT,
        "sequences to a loss of .35",
        of.learned,
        lambda when: 2e5 < when < 6e5,
    ),
    TrainingClaim(
        "The task is solved.",
        TEXT,
        "accuracy on the training split at the end",
        of.accuracy("training"),
        lambda accuracy: accuracy > 0.99,
    ),
    TrainingClaim(
        "What is learned is the rule, and serves labels in new pairs.",
        TEXT,
        "accuracy on label pairs that were held out",
        of.accuracy("relabelled"),
        lambda accuracy: accuracy > 0.9,
    ),
    TrainingClaim(
        "It serves classes that were never seen.",
        TEXT,
        "accuracy on unseen classes",
        of.accuracy("unseen"),
        lambda accuracy: accuracy > 0.9,
    ),
    TrainingClaim(
        "There is more than one induction head.",
        ABSTRACT,
        "heads of layer 2 with an induction strength above .5",
        of.strong_heads,
        lambda count: count > 1,
    ),
    TrainingClaim(
        "Induction heads are diverse.",
        ABSTRACT,
        "largest less smallest induction strength",
        of.range_of_strengths,
        None,
    ),
    TrainingClaim(
        "A head serves as well as it is strong.",
        TEXT,
        "rank correlation over heads of accuracy with one head alone and induction strength",
        of.alone_by_strength,
        lambda correlation: correlation > 0.8,
    ),
    TrainingClaim(
        "No single head is needed.",
        TEXT,
        "largest loss of accuracy with one head dropped",
        of.cost_of_any_head,
        lambda cost: cost < 0.02,
    ),
    TrainingClaim(
        "Heads are additive: the second strongest helps the first.",
        ABSTRACT,
        "loss with the two strongest heads over that with the strongest",
        of.gained_by_second,
        lambda ratio: ratio < 1,
    ),
    TrainingClaim(
        "And so do all others.",
        ABSTRACT,
        "loss with all heads over that with the two strongest",
        of.last_head_lowers,
        lambda ratio: ratio < 1,
    ),
    TrainingClaim(
        "Layer 1 acts through layer 2 alone.",
        TEXT,
        "accuracy lost without the path from layer 1 straight to the output",
        of.cost_of_path,
        lambda cost: cost < 0.01,
    ),
    TrainingClaim(
        "Wiring is many-to-many: several heads of layer 1 feed the keys of one induction head.",
        TEXT,
        "heads of layer 1 that, alone, give keys at least half of what the best one gives; mean "
        "over heads with a strength above .5",
        of.feeding_heads("key"),
        lambda count: count > 1,
    ),
    TrainingClaim(
        "Where layer 2 attends depends on previous-token heads.",
        TEXT,
        "accuracy with them ablated and what all heads carry kept",
        of.ablated("value", "previous"),
        lambda accuracy: accuracy < 0.9,
    ),
    TrainingClaim(
        "Nothing else does: with all patterns kept they are not needed.",
        TEXT,
        "accuracy with them ablated and all patterns kept",
        of.ablated("pattern", "previous"),
        lambda accuracy: accuracy > 0.95,
    ),
    TrainingClaim(
        "The other heads of layer 1 are not needed for where layer 2 attends.",
        TEXT,
        "accuracy with the others ablated and what all heads carry kept",
        of.ablated("value", "others"),
        lambda accuracy: accuracy > 0.95,
    ),
    TrainingClaim(
        "They are needed for what is copied.",
        TEXT,
        "accuracy with the others ablated and all patterns kept",
        of.ablated("pattern", "others"),
        lambda accuracy: accuracy < 0.9,
    ),
    TrainingClaim(
        "Each single head can learn it alone.",
        TEXT,
        "sequences to a loss of .35 with one head of layer 2 throughout, every head, one seed",
        of.single_heads,
        lambda when: when < float("inf"),
    ),
    TrainingClaim(
        "In the toy, one factor given shortens the plateau.",
        TEXT,
        "steps to half of the plateau's loss, none given over one given",
        of.toy_earlier("c", "none"),
        lambda ratio: ratio > 1,
    ),
    TrainingClaim(
        "And a second one more so.",
        TEXT,
        "the same, one given over two given",
        of.toy_earlier("b and c", "c"),
        lambda ratio: ratio > 1,
    ),
    _order("Layer 1 and copying given leave least to be learned.", "L1 + copy", "copy", ABSTRACT),
    _order("They leave less than matching given.", "L1 + copy", "match", ABSTRACT),
    _order("Copying given helps more than layer 1 given.", "copy", "L1", ABSTRACT),
    _order("Matching given helps more than layer 1 given.", "match", "L1", ABSTRACT),
    _order("Layer 1 given helps more than its pattern alone.", "L1", "PT"),
    _order("The pattern alone helps.", "PT", "none"),
    _order("Previous-token attention in all heads of layer 1 helps less.", "PT", "all PT"),
    _order("A trained layer 1, grafted, takes the plateau away.", GRAFT, FULL),
    TrainingClaim(
        "Twice the labels delay learning at least twofold.",
        ABSTRACT,
        "sequences to a loss of .35, 10 labels over 5, seed by seed",
        of.delay(LABELS),
        lambda ratio: ratio >= 2,
    ),
    TrainingClaim(
        "Twice the classes delay it less than labels do.",
        ABSTRACT,
        "sequences to a loss of .35, 100 classes over 50, seed by seed; at most 1.5",
        of.delay(CLASSES),
        lambda ratio: ratio <= 1.5,
    ),
    TrainingClaim(
        "Labels leave the subcircuit of matching alone.",
        TEXT,
        "the same of 10 labels over 5 with L1 and copying clamped; within 10 %",
        of.delay(LABELS, MATCHING),
        lambda ratio: abs(ratio - 1) < 0.1,
    ),
    TrainingClaim(
        "Labels delay the subcircuit of copying to the output.",
        TEXT,
        "the same with matching clamped",
        of.delay(LABELS, COPYING),
        lambda ratio: ratio > 1.1,
    ),
    TrainingClaim(
        "Classes delay the subcircuit of matching.",
        TEXT,
        "of 100 classes over 50 with L1 and copying clamped",
        of.delay(CLASSES, MATCHING),
        lambda ratio: ratio > 1,
    ),
    TrainingClaim(
        "Classes leave the subcircuit of copying alone.",
        TEXT,
        "the same with matching clamped; within 10 %",
        of.delay(CLASSES, COPYING),
        lambda ratio: abs(ratio - 1) < 0.1,
    ),
    TrainingClaim(
        "On the plateau the query does not tell the right label from the wrong one.",
        BEYOND,
        "largest |S| before the loss is below .6",
        of.contrast_before,
        lambda contrast: contrast < 0.03,
    ),
    TrainingClaim(
        "At the end it does.",
        BEYOND,
        "S at the end",
        of.contrast_at_end,
        lambda contrast: contrast > 0.25,
    ),
    TrainingClaim(
        "The response follows the attention and does not announce it.",
        BEYOND,
        "sequences until S is half of what it becomes, over the same of the induction strength",
        of.lag,
        lambda ratio: ratio > 1,
    ),
    TrainingClaim(
        "Scaling a token is not seen through a norm: later tokens feel nothing behind layer 1.",
        BEYOND,
        "largest change of a later token behind layer 1 over that of the source; norms add 1e-12",
        of.leak,
        lambda leak: leak < 1e-6,
    ),
)
