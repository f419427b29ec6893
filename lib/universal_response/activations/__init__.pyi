from .components import Component, components, head_written, rewritten, whole_written
from .logits import Unembedding, unembedding_of
from .neurons import first_order_effects, neuron_activations, neurons_replaced
from .outputs import Metric, Outputs, mean_by_position, outputs
from .probes import Probe, probe
from .weights import LayerWeights, layer_weights, norm_of, of_layers

__all__ = [
    "Component",
    "LayerWeights",
    "Metric",
    "Outputs",
    "Probe",
    "Unembedding",
    "components",
    "first_order_effects",
    "head_written",
    "layer_weights",
    "mean_by_position",
    "neuron_activations",
    "neurons_replaced",
    "norm_of",
    "of_layers",
    "outputs",
    "probe",
    "rewritten",
    "unembedding_of",
    "whole_written",
]
