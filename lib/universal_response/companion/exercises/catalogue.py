"""All exercises, and the plans of the sessions."""

from universal_response.companion.exercises import (
    session1,
    session2,
    session3,
    session4,
    session5,
    session6,
)
from universal_response.companion.exercises.exercise import Exercise, Session

EXERCISES: dict[str, Exercise] = {
    exercise.name: exercise
    for exercise in (
        Exercise(
            "read-peak", "Read the peak", 1, "easy", 5, session1.read_peak,
            "Look at the magnified panel: each marker is one distance. Short distances do not "
            "count.",
        ),
        Exercise(
            "causal-zeros", "Count the zeros", 1, "easy", 5, session1.causal_zeros,
            "Fill in a 3 by 3 matrix by hand first. Can a token respond to itself?",
        ),
        Exercise(
            "first-responder", "The first to notice", 1, "medium", 10, session1.first_responder,
            "What can a norm not see? And which kind of sublayer moves anything from token to "
            "token?",
        ),
        Exercise(
            "relative-length", "Write the first metric", 1, "easy", 10, session1.relative_length,
            "Which vector is measured, and which one is it relative to? The last axis is that of "
            "the vector; all axes before it remain.",
        ),
        Exercise(
            "two-powers", "Predict two powers", 1, "medium", 10, session1.two_powers,
            "Halve the response in your mind: what happens to its length, and what to one minus "
            "the cosine of a small angle? Expand the cosine.",
        ),
        Exercise(
            "collapse", "Make the curves collapse", 1, "medium", 15, session1.collapse,
            "The curve of the reference strength must come out unchanged, and every metric has a "
            "power of its own.",
        ),
        Exercise(
            "two-lanes", "Two lanes", 2, "easy", 5, session2.two_lanes,
            "Go along the row of that position in the left panel, and read the distance under its "
            "brightest cell. Early first.",
        ),
        Exercise(
            "peak-to-median", "How tall is the peak?", 2, "easy", 10, session2.peak_to_median,
            "The response at the induction distance over the median of all distances, both at "
            "the last position and the reference strength.",
        ),
        Exercise(
            "attention-share", "Who made it?", 2, "medium", 10, session2.attention_share,
            "Add up every step of one kind of sublayer, the negative ones too, and divide by the "
            "sum of all steps.",
        ),
        Exercise(
            "onset", "The onset of induction", 2, "medium", 15, session2.onset,
            "The peak has to stay: come from the end. It must beat every other distance of the "
            "window, a tie is no lead, and the answer may be None.",
        ),
        Exercise(
            "relative-depth", "Another model", 2, "easy", 5, session2.relative_depth,
            "The onset of the other model, divided by its own last position. Did you pass the "
            "other results to the check?",
        ),
        Exercise(
            "paired-error", "Pairs have smaller errors", 2, "hard", 15, session2.paired_error,
            "Once take the error of each response and add their squares; once subtract sequence "
            "by sequence and take the error of that. First over second.",
        ),
        Exercise(
            "carry-change", "Carry the change", 3, "easy", 5, session3.carry_change,
            "Multiply out the square of v + d. What is left when the square of v is taken away on "
            "paper, and not by the program?",
        ),
        Exercise(
            "stable-angle", "An angle that survives", 3, "medium", 15, session3.stable_angle,
            "A difference can be no more exact than what is subtracted: the cosine is already "
            "rounded, the components of the two vectors are not. How do the vectors differ, and "
            "which part of that turns them?",
        ),
        Exercise(
            "parallel-response", "When the turn is missing", 3, "hard", 10,
            session3.parallel_response,
            "Which is the lowest order of the response that points across x? What does one minus "
            "the cosine do with it?",
        ),
        Exercise(
            "plateau", "Predict the plateau", 3, "hard", 10, session3.plateau,
            "For weak strengths every response is its linear limit; the reference is not. Work out "
            "one ratio for each distance, then take the mean, and mind the sign.",
        ),
        Exercise(
            "own-measurement", "Measure it yourself", 3, "medium", 10, session3.own_measurement,
            "It needs tokens that the shipped results do not have, and at least three strengths "
            "no larger than 0.05 that span a factor of ten.",
        ),
        Exercise(
            "own-metric", "A metric of your own", 3, "hard", 20, session3.own_metric,
            "The metric has to be a tensor shaped like response_response, zero left of the source, "
            "and none of the library's up to a factor. If all of that holds, look at the power "
            "again: which is the lowest order of D in it?",
        ),
        Exercise(
            "stripe-score", "Write the score", 4, "easy", 10, session4.stripe_score,
            "Which entry of the pattern does a query q read? Take those from the first query on, "
            "and their mean; all axes before the last two remain.",
        ),
        Exercise(
            "one-token-off", "One token off", 4, "medium", 10, session4.one_token_off,
            "Give each line an array whose entry for query q and key k is q - k: what does it "
            "return? Then look along the axis of heads at that offset.",
        ),
        Exercise(
            "names-by-chance", "Names by chance", 4, "medium", 10, session4.names_by_chance,
            "Go through the p-values from the smallest, with a bound that grows as fewer are "
            "left, and stop for good at the first above its bound. Of tests of heads that do "
            "nothing, how large a part lies below a level all the same?",
        ),
        Exercise(
            "sender-receiver", "Sender and receiver", 4, "easy", 5, session4.sender_receiver,
            "Cutting the edge that matters most changes the logit difference most. Should it rise "
            "or fall? Where nothing was measured the array holds nan.",
        ),
        Exercise(
            "indirect-effect", "Not by itself", 4, "medium", 10, session4.indirect_effect,
            "What is not direct is indirect. Look for the largest loss of that kind, and not for "
            "the largest ratio; the share may exceed one, where the two have different signs.",
        ),
        Exercise(
            "third-part", "The third part", 4, "hard", 10, session4.third_part,
            "Count the changes in each part. The share divides a part by the whole response: "
            "which power has that?",
        ),
        Exercise(
            "faithfulness", "Is it all?", 4, "medium", 10, session4.faithfulness,
            "No heads have faithfulness zero and all have one, also on average. What happens to a "
            "mean of ratios if one sequence has a tiny denominator?",
        ),
        Exercise(
            "two-labels", "What two labels are worth", 5, "easy", 5, session5.two_labels,
            "The loss is minus the natural logarithm of the probability that the right label has. "
            "Which probability is that?",
        ),
        Exercise(
            "induction-strength", "Write the strength", 5, "easy", 10, session5.induction_strength,
            "Which row of a pattern is that of the query, and which two columns are those of the "
            "labels? Which of the two is right depends on the sequence. One axis goes.",
        ),
        Exercise(
            "waiting-time", "How long is the wait?", 5, "medium", 10, session5.waiting_time,
            "Draw the line between the last evaluation that is not below and the first that is. "
            "What if the first of all is below, or none? The median goes over times, not losses.",
        ),
        Exercise(
            "what-shortens", "What shortens the wait", 5, "medium", 15, session5.what_shortens,
            "Ask of each clamp what is left to be learned. Where the seeds of two overlap either "
            "order will do. The curves need at least three different clamps, all with one seed, "
            "and long enough that two of them learn.",
        ),
        Exercise(
            "three-factors", "Three factors", 5, "hard", 15, session5.three_factors,
            "Sum over the two other indices first: only squares and overlaps of the other vectors "
            "remain. All three steps are taken from the old vectors. For the powers count the "
            "small factors in the largest term.",
        ),
        Exercise(
            "which-subcircuit", "Labels or classes", 5, "medium", 5, session5.which_subcircuit,
            "Which subcircuit is left to be learned where the other is given? Two ranges that "
            "overlap tell nothing.",
        ),
        Exercise(
            "lead-or-follow", "Does it announce itself?", 5, "medium", 10, session5.lead_or_follow,
            "Each curve is measured by its own last value, and the seeds are compared one by one. "
            "Which of the two was half-way first?",
        ),
        Exercise(
            "cascade", "A carry that makes a carry", 6, "easy", 5, session6.cascade,
            "The tens have to hand on a carry. In which of these sums would they not do so if the "
            "units handed them none?",
        ),
        Exercise(
            "two-effects", "Two measures of one effect", 6, "medium", 10, session6.two_effects,
            "Each of the two terms divides by the smaller of its probabilities if the patch works. "
            "The logarithms are natural, the powers those of ten; the node is chosen by the "
            "logarithmic effect.",
        ),
        Exercise(
            "smallest-circuit", "How few suffice?", 6, "medium", 10, session6.smallest_circuit,
            "Enough is a part of what all nodes have, digit by digit. The random circuits are all "
            "rankings but one, and they are as large as the circuit that was found.",
        ),
        Exercise(
            "who-writes", "Who writes the answer?", 6, "easy", 5, session6.who_writes,
            "Follow the right digit, at the units alone. Negative numbers count too; what do all "
            "shares sum to?",
        ),
        Exercise(
            "less-likely", "Does it expect to fail?", 6, "medium", 10, session6.less_likely,
            "Put every problem that failed beside every one that was solved. What is a tie worth? "
            "Some entries were not measured. Did you pass the study of the model that fails?",
        ),
        Exercise(
            "what-is-restored", "What is restored?", 6, "medium", 10, session6.what_is_restored,
            "Write beside each row which digit you expect if one explanation is right, and which "
            "if the other is. Which row could tell them apart? Did you pass the study of the model "
            "that fails?",
        ),
        Exercise(
            "read-carry", "Where the carry is read", 6, "hard", 15, session6.read_carry,
            "One token at a time; all others stay, also those that are wrong then. Which place "
            "predicts the tens? Compare digits that the model says with those it said before, in "
            "all sums that are asked for.",
        ),
    )
}  # fmt: skip

SESSIONS: dict[int, Session] = {
    session.number: session
    for session in (
        Session(
            1, "One token, a little weaker",
            (
                (10, "The residual stream, the input, the perturbation"),
                "read-peak", "causal-zeros",
                (10, "What a norm cannot see; attention and MLP"),
                "first-responder",
                (5, "Three metrics"),
                "relative-length",
                (5, "Small responses are linear"),
                "two-powers", "collapse",
                (5, "Round-up"),
            ),
        ),
        Session(
            2, "Layer by layer",
            (
                (10, "The layer map"),
                "two-lanes", "peak-to-median",
                (10, "Increments, and what a share is not"),
                "attention-share",
                (5, "Defining an onset"),
                "onset", "relative-depth", "paired-error",
                (5, "Round-up"),
            ),
        ),
        Session(
            3, "Limits and measuring",
            (
                (5, "What subtraction loses"),
                "carry-change", "stable-angle",
                (5, "The exact limit and higher orders"),
                "parallel-response", "plateau",
                (5, "From tokens to inner products"),
                "own-measurement", "own-metric",
                (5, "Round-up"),
            ),
        ),
        Session(
            4, "Find an induction head, and prove that it is one",
            (
                (5, "Heads, patterns and stripes"),
                "stripe-score", "one-token-off",
                (5, "A name needs a null"),
                "names-by-chance",
                (5, "Cutting an edge, replacing a head"),
                "sender-receiver", "indirect-effect",
                (5, "Three parts of a change"),
                "third-part", "faithfulness",
                (5, "Round-up"),
            ),
            results="heads-smollm2-135m", kind="heads",
        ),
        Session(
            5, "What has to go right",
            (
                (5, "A task, a plateau and a fall"),
                "two-labels", "induction-strength", "waiting-time",
                (5, "Giving a part, and waiting for the rest"),
                "what-shortens", "three-factors", "which-subcircuit",
                (5, "The response over training"),
                "lead-or-follow",
                (5, "Round-up"),
            ),
            results="training-letters", kind="training",
        ),
        Session(
            6, "A small model that adds",
            (
                (5, "A task of thirteen tokens"),
                "cascade",
                (5, "Patching one node"),
                "two-effects", "smallest-circuit", "who-writes",
                (5, "Outside of the training data"),
                "less-likely", "what-is-restored",
                (5, "A digit that the model wrote itself"),
                "read-carry",
                (5, "Round-up"),
            ),
            results="arithmetic-adder-0", kind="arithmetic",
        ),
    )
}  # fmt: skip
