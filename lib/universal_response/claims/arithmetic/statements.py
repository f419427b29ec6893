"""What the notes state of models that calculate, with the test of each."""

from universal_response.arithmetic import summaries
from universal_response.claims.arithmetic import quantities as of
from universal_response.claims.arithmetic.quantities import of_each
from universal_response.claims.heads.statements import BEYOND, NOTES
from universal_response.claims.statements import Claim

# Our reading of "does so" and of "few": more, and less, than half.
HALF = 0.5

CASCADES, BLOCK = "cascades", "block"

ARITHMETIC_CLAIMS = (
    Claim(
        "The model adds and subtracts what it was not trained on.",
        BEYOND,
        "part of the held-out problems that are solved",
        of_each(of.accuracy("held_out")),
        lambda part: part > 0.99,
    ),
    Claim(
        "A circuit calculates: some heads and MLPs at some places suffice.",
        NOTES,
        "nodes in the smallest circuit that gives 95 % of the tens, over all that can matter to "
        "them; less than half is enough",
        of_each(of.part_of_nodes),
        lambda part: part < HALF,
    ),
    Claim(
        "Not any nodes do.",
        BEYOND,
        "part of the tens that are right with the best of 20 random circuits of that size",
        of_each(of.random_tens),
        lambda part: part < HALF,
    ),
    Claim(
        "Attention moves the second operand to where the answer is predicted.",
        NOTES,
        "what a linear probe for its units gains at = by the first attention",
        of_each(of.moved_by_first_attention("b0")),
        lambda gained: gained > HALF,
    ),
    Claim(
        "And the first.",
        NOTES,
        "the same for units of the first operand",
        of_each(of.moved_by_first_attention("a0")),
        lambda gained: gained > HALF,
    ),
    Claim(
        "An MLP makes the answer.",
        NOTES,
        "part of the right digit's logit that the last MLP writes, units and tens",
        of_each(of.written_by_last_mlp),
        lambda part: part > HALF,
    ),
    Claim(
        "Before that MLP the answer cannot be read.",
        BEYOND,
        "what a linear probe for the units of the result gains at = by the last MLP; a quarter is "
        "enough",
        of_each(of.made_by_last_mlp),
        lambda gained: gained > 0.25,
    ),
    Claim(
        "Few neurons suffice.",
        NOTES,
        "neurons of the last MLP, of largest effect, that give nine of ten sums, over all; a tenth "
        "is enough (the notes cite 1.5 %)",
        of_each(of.part_of_neurons),
        lambda part: part < 0.1,
    ),
    Claim(
        "Neurons of largest effect differ between operators.",
        NOTES,
        "part of the 32 neurons of largest effect on sums that are among those for differences "
        "(by chance one in eight)",
        of_each(of.shared_neurons),
        lambda part: part < HALF,
    ),
    Claim(
        "An MLP deletes the operands after use.",
        NOTES,
        "logit that the last MLP writes to the operands' digits, less that of another digit, over "
        "that of the right one; -.1 is enough",
        of_each(of.deleted_operands),
        lambda written: written < -0.1,
    ),
    Claim(
        "It fails outside of what it was trained on: carries that make carries.",
        NOTES,
        "part of the withheld cascades that are solved",
        of_each(of.accuracy("withheld"), CASCADES),
        lambda part: part < HALF,
    ),
    Claim(
        "And in a block of operands that was withheld.",
        NOTES,
        "part of the withheld block that is solved",
        of_each(of.accuracy("withheld"), BLOCK),
        lambda part: part < HALF,
    ),
    Claim(
        "What is outside of the training data is unlikely: forms never seen.",
        NOTES,
        "probability that a problem with its operator first is less likely than one held out",
        of_each(lambda study: summaries.unlikely_kind(study, "operator first")),
        lambda chance: chance > 0.9,
    ),
    Claim(
        "The withheld block is unlikely.",
        NOTES,
        "probability that a problem of it is less likely than one held out",
        of_each(summaries.unlikely_kind, BLOCK),
        lambda chance: chance > 0.9,
    ),
    Claim(
        "Withheld cascades are unlikely.",
        NOTES,
        "the same of cascades",
        of_each(summaries.unlikely_kind, CASCADES),
        lambda chance: chance > 0.9,
    ),
    Claim(
        "Low likelihood predicts failure.",
        NOTES,
        "probability that a withheld cascade that fails is less likely than one that is solved",
        of_each(summaries.unlikely_fails, CASCADES),
        lambda chance: chance > 0.75,
    ),
    Claim(
        "A failing problem is solved once its circuit gives what it gives in a solved one.",
        NOTES,
        "part of the failing cascades whose digit is right with the circuit patched from a problem "
        "with the same answer",
        of_each(of.rescue("circuit, same answer"), CASCADES),
        lambda part: part > 0.9,
    ),
    Claim(
        "Nothing but the circuit does that.",
        BEYOND,
        "the same with all other nodes patched",
        of_each(of.rescue("other nodes, same answer"), CASCADES),
        lambda part: part < 0.1,
    ),
    Claim(
        "It takes the whole circuit.",
        BEYOND,
        "the same with as many random nodes, which hold some of it; mean over 20 draws",
        of_each(of.rescue("random nodes, same answer"), CASCADES),
        lambda part: part < HALF,
    ),
    Claim(
        "The patch restores the calculation.",
        NOTES,
        "part of the failing cascades that are right with the circuit of a solved problem with "
        "another answer",
        of_each(of.rescue("circuit, another answer"), CASCADES),
        lambda part: part > HALF,
    ),
    Claim(
        "The patch brings the donor's answer, whatever it is.",
        BEYOND,
        "part that then gives the digit of that other answer",
        of_each(of.rescue("circuit, another answer", "as_donor"), CASCADES),
        lambda part: part > 0.9,
    ),
    Claim(
        "The model's own output, corrected, rescues what follows, though the answer is not shown.",
        NOTES,
        "part that gives the right next digit with the circuit of the corrected problem, the place "
        "of the corrected digit withheld, less the same without a patch",
        of_each(of.beyond_unpatched, CASCADES),
        lambda gained: gained > 0.1,
    ),
    Claim(
        "The response is large where the answer depends on the digit.",
        BEYOND,
        "rank correlation, over operand digits and answers, of C_Δ at l = 2L in the limit with the "
        "distance by which the answer moves",
        of_each(summaries.response_follows_answer),
        lambda correlation: correlation > 0.7,
    ),
    Claim(
        "And where indirect effects say that the operand is used.",
        BEYOND,
        "the same with the summed size of the effects of all nodes at the digit's own place",
        of_each(summaries.response_follows_nodes),
        None,
    ),
    Claim(
        "The response to an operand knows the carry.",
        BEYOND,
        "C_Δ at l = 2L where the tens are predicted, units of the first operand raised by one: "
        "where that makes a carry over elsewhere, geometric means; a fifth is enough",
        of_each(of.carry_at_tens),
        lambda ratio: ratio > 1.2,
    ),
    Claim(
        "The tens read the carry off the units that are written.",
        BEYOND,
        "part of the predicted tens that change with the written units, less with an operand's, "
        "where that makes a carry",
        of_each(of.read_off_result),
        lambda gained: gained > 0.9,
    ),
)
