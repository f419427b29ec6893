"""A GPT-2 and a curriculum that are trained within a second."""

from universal_response.training.gpt2 import FilmSettings, Gpt2Settings, Network, Phase

NETWORK = Network(layers=2, width=16, heads=2, inner=24, vocabulary=20, context=40)
PHASES = (
    Phase(tokens=8, length=10, batch=4, shortest=2, longest=3, steps=4, t0=3),
    Phase(tokens=20, length=16, batch=3, shortest=3, longest=6, steps=3, t0=5),
)
SMALL = Gpt2Settings(phases=PHASES, network=NETWORK, warm_up=3, every=2, device="cpu")
FILM = FilmSettings(every=2, evaluated_on=4, perturbed_on=2, gap=2)
