"""Which training this is, in words that can be read back: for films, provenance and commands."""

from dataclasses import asdict, replace
from typing import Any

from universal_response.training.gpt2.curriculum import Phase
from universal_response.training.gpt2.settings import Gpt2Settings, Network


def described(settings: Gpt2Settings) -> dict[str, Any]:
    """The settings in lists, dictionaries and numbers."""
    return asdict(settings)


def settings_from(words: dict[str, Any]) -> Gpt2Settings:
    """Settings that `described` put into words; `device` is the processor, wherever it was."""
    phases = tuple(Phase(**each) for each in words["phases"])
    found = {"phases": phases, "network": Network(**words["network"]), "device": "cpu"}
    return Gpt2Settings(**words | found)


def command(settings: Gpt2Settings, film: bool = False) -> str:
    """What trains so again: on the command line, or in Python where that has no option for it."""
    default, last = Gpt2Settings(), settings.phases[-1]
    usual = default.phases[-1].steps
    phases = (*default.phases[:-1], replace(default.phases[-1], steps=last.steps))
    if replace(default, seed=settings.seed, phases=phases, device=settings.device) != settings:
        return f"ur.training.gpt2.train_into(FOLDER, settings{', FILE' * film})"
    chosen = f" --seed {settings.seed}" * (settings.seed != default.seed)
    chosen += f" --steps {last.steps}" * (last.steps != usual)
    return f"universal-response train gpt2-induction --out FOLDER{' --film FILE' * film}{chosen}"
