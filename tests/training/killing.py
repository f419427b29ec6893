"""Trainings that are killed, and steps that are counted."""

import pytest


def kill(train, learning, monkeypatch, steps):
    """Run a training until it has done so many steps, and no further."""
    made, step = [], learning.step

    def killed(*arguments):
        if len(made) == steps:
            raise KeyboardInterrupt
        made.append(1)
        return step(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(learning, "step", killed)
        with pytest.raises(KeyboardInterrupt):
            train()


def counted(learning, monkeypatch):
    """A list that grows by every step from now on."""
    done, step = [], learning.step
    monkeypatch.setattr(learning, "step", lambda *of: done.append(1) or step(*of))
    return done
