from .behaviour import PROBES, Probe, accuracy, judged, loss
from .blocks import Blocks, drawn
from .curriculum import CURRICULUM, Phase
from .description import command, described, settings_from
from .film import Film, settings_of_film
from .folder import train_into
from .frames import FilmSettings, frame
from .learning import train
from .network import configuration, initial
from .optimizer import grouped, optimizers
from .settings import Gpt2Settings, Network
from .verify import verify_film

__all__ = [
    "CURRICULUM",
    "PROBES",
    "Blocks",
    "Film",
    "FilmSettings",
    "Gpt2Settings",
    "Network",
    "Phase",
    "Probe",
    "accuracy",
    "command",
    "configuration",
    "described",
    "drawn",
    "frame",
    "grouped",
    "initial",
    "judged",
    "loss",
    "optimizers",
    "settings_from",
    "settings_of_film",
    "train",
    "train_into",
    "verify_film",
]
