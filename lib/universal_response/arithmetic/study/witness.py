"""A small part of a study that is measured again to verify a results file."""

import xarray as xr

from universal_response.activations import outputs
from universal_response.arithmetic.answers import answers, tokens_of
from universal_response.arithmetic.effects import each_patched
from universal_response.arithmetic.likelihood import log_likelihood
from universal_response.arithmetic.responding import scaled
from universal_response.arithmetic.study.material import Material
from universal_response.measurement import numbers

WITNESSES = 4


def witness(material: Material) -> xr.Dataset:
    """Of a few problems: log probabilities, log likelihood, effects of all nodes, and responses."""
    problems, donors = (material.problems(name)[:WITNESSES] for name in ("evaluated_on", "donors"))
    model, unembedding = material.model, material.unembedding
    tokens = tokens_of(problems, model)
    of, by = outputs(tokens, model), outputs(tokens_of(donors, model), model)
    said = answers(of.normed, tokens, unembedding)
    effects = each_patched(material.nodes, of, by, model, unembedding)
    response = scaled(problems, model, [0])[:, :, 0]
    return xr.Dataset(
        {
            "witness_log_probability": (
                ("witness", "answer", "digit"),
                numbers(said.log_probability),
            ),
            "witness_log_likelihood": (
                "witness",
                numbers(log_likelihood(tokens, model, unembedding)),
            ),
            "witness_effect": (("node", "witness", "answer"), numbers(effects.logit)),
            "witness_response": (("position", "witness", "answer"), numbers(response)),
            "tokens": (("witness", "token"), tokens.numpy()),
        }
    )
