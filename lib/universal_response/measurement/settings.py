"""What is measured: settings, checked where they are made, and the tokens they stand for."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from universal_response.number_types import PRODUCTS, check_dtype
from universal_response.perturbation import Perturbation, Scaling
from universal_response.sequences import (
    PAPER,
    Arrangement,
    arranged_random_tokens,
    check_block,
    check_rows,
    stratified_sources,
    text_digest,
    token_rows,
    tokens_of_text,
)

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

DEFAULT_EPSILONS = (1e-5, 3e-4, 1e-3, 3e-3, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.2, 0.3, 0.5)
RANDOM, UNREPEATED = "repeated random tokens", "random tokens"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is measured: repeated random tokens, or the tokens given.

    Attributes:
        t0: length T0 of the repeated block, or of the blocks of an arrangement; in the paper's a
            sequence has T = 2 T0 tokens. With `tokens` given, 0 says that nothing is known to
            repeat.
        batch: number of sequences averaged over (the paper has 32); that of `tokens` if given.
        epsilons: perturbation strengths, each in (0, 1]; none measures the limit only.
        epsilon0: reference strength of matrices and windows; one of `epsilons`, if there are any.
        distance: the dj at which a peak is expected: that of induction if None, T0 - 1 for blocks
            that follow each other, and nowhere where nothing is known to repeat. The window lies
            around distance + 1.
        sources: tokens perturbed in each sequence, drawn by `stratified_sources`; all if None.
        perturbation: what is done to a token's vector.
        perturbed_position: position l of the residual stream at which it is done.
        seed: of the random tokens and of the drawn sources; 0 where neither is drawn.
        arrangement: of random tokens: the paper's repeated block, or a control of it.
        distinct: no random token stands twice but by repetition.
        linear: measure the exact limit epsilon -> 0 as well.
        products: number type in which changes are multiplied with weights: `float32`, `tf32`,
            `bfloat16`, or `auto` for the fastest that changes C_delta by less than 1 %.
        dtype: of the model, where `measure` loads it.
        device: for the model, where `measure` loads it.
        sequences_per_chunk: sequences measured at a time; chosen from the memory they need if None.
        tokens: token ids (sequence, token) to measure instead of random ones.
        text_sha256: where the tokens come from a text, digest of it and of how it was cut.

    Raises:
        ValueError: a setting is out of range.
    """

    t0: int = 64
    batch: int = 32
    epsilons: tuple[float, ...] = DEFAULT_EPSILONS
    epsilon0: float = 0.05
    distance: int | None = None
    sources: int | None = None
    perturbation: Any = Scaling()  # noqa: RUF009 (frozen; a Perturbation, checked below)
    perturbed_position: int = 0
    seed: int = 0
    arrangement: Arrangement = PAPER
    distinct: bool = False
    linear: bool = True
    products: str = "float32"
    dtype: str = "float32"
    device: str = "auto"
    sequences_per_chunk: int | None = None
    tokens: tuple[tuple[int, ...], ...] | None = None
    text_sha256: str = ""

    @classmethod
    def for_tokens(cls, tokens: Any, t0: int = 0, **others: Any) -> "Settings":
        """Settings to measure these token ids.

        Args:
            tokens: array of whole numbers (sequence, token), or lists of equal length.
            t0: length of a block that every sequence holds twice in a row; 0 if there is none.
            others: as for `Settings`.
        """
        return cls(tokens=token_rows(tokens), t0=t0, **others)

    @classmethod
    def for_text(
        cls,
        text: str,
        tokenizer: Any,
        bos: bool | None = None,
        repeat: bool = False,
        length: int | None = None,
        **others: Any,
    ) -> "Settings":
        """Settings to measure a text, by `tokens_of_text`."""
        tokens = tokens_of_text(text, tokenizer, bos, repeat, length)
        t0 = tokens.shape[1] // 2 if repeat else 0
        digest = text_digest(text, bos, repeat, length)
        return cls.for_tokens(tokens, t0, text_sha256=digest, **others)

    @property
    def input(self) -> str:
        """What is measured, in words: (repeated) random tokens, `tokens` or `text`."""
        if self.tokens is not None:
            return "text" if self.text_sha256 else "tokens"
        return UNREPEATED if self.arrangement.distance(self.t0) is None else RANDOM

    @property
    def t(self) -> int:
        """Tokens of a sequence, T."""
        return self.arrangement.length(self.t0) if self.tokens is None else len(self.tokens[0])

    @property
    def peak(self) -> int | None:
        """The dj at which a peak is expected; None if nowhere."""
        if self.distance is not None or not self.t0:
            return self.distance
        return self.arrangement.distance(self.t0)

    @property
    def drawn(self) -> bool:
        """Whether the seed decides anything."""
        return self.tokens is None or self.sources is not None

    def __post_init__(self) -> None:
        object.__setattr__(self, "epsilons", tuple(float(epsilon) for epsilon in self.epsilons))
        if self.tokens is not None:
            object.__setattr__(self, "tokens", token_rows(self.tokens))
            check_rows(self.tokens, self.t0)
            object.__setattr__(self, "batch", len(self.tokens))
        else:
            check_block(self.t0)
        if not self.drawn:
            object.__setattr__(self, "seed", 0)
        if self.batch < 1:
            raise ValueError(f"batch={self.batch}: use at least one sequence, batch >= 1")
        if self.seed < 0:
            raise ValueError(f"seed={self.seed}: use a seed >= 0")
        for name in ("arrangement", "distinct"):
            if getattr(self, name) != getattr(Settings, name) and self.tokens is not None:
                raise ValueError(f"{name}: only for random tokens; leave it out with given ones")
        self._check_strengths()
        self._check_places()
        self._check_perturbation()
        check_dtype(self.dtype)
        if self.products not in (*PRODUCTS, "auto"):
            raise ValueError(f"products={self.products}: choose one of {', '.join(PRODUCTS)}, auto")
        if self.sequences_per_chunk is not None and self.sequences_per_chunk < 1:
            raise ValueError(
                f"sequences_per_chunk={self.sequences_per_chunk}: use at least 1, or None to choose"
            )

    def _check_places(self) -> None:
        if self.distance is not None and not 0 <= self.distance < self.t:
            raise ValueError(f"distance={self.distance}: use 0 <= distance < T = {self.t}")
        if self.sources is not None and not 1 <= self.sources <= self.t:
            raise ValueError(
                f"sources={self.sources}: use 1 to T = {self.t} of them, or None for all"
            )

    def _check_perturbation(self) -> None:
        if self.perturbed_position < 0:
            raise ValueError(f"perturbed_position={self.perturbed_position}: use a position >= 0")
        if not isinstance(self.perturbation, Perturbation):
            raise ValueError(
                f"perturbation={self.perturbation!r}: use ur.Scaling(), ur.Direction(vector) or "
                "ur.Swap(token)"
            )

    def _check_strengths(self) -> None:
        if not (self.epsilons or self.linear):
            raise ValueError("epsilons=(): give a strength in (0, 1], or linear=True for the limit")
        for epsilon in self.epsilons:
            if not 0 < epsilon <= 1:
                raise ValueError(f"epsilons: {epsilon:g} is outside (0, 1]; use 0 < epsilon <= 1")
        if len(set(self.epsilons)) < len(self.epsilons):
            raise ValueError(f"epsilons={self.epsilons}: a strength is given twice; give each once")
        if self.epsilons and self.epsilon0 not in self.epsilons:
            raise ValueError(
                f"epsilon0={self.epsilon0:g}: must be one of epsilons={self.epsilons}; add it there"
            )


# What the command line and the notebooks measure if not told otherwise.
DEFAULT = Settings()


def check_context(settings: Settings, context: int) -> None:
    """Refuse sequences that a model cannot take.

    Raises:
        ValueError: more tokens than the model's context.
    """
    if settings.t > context and settings.tokens is None:
        shorter = settings.t0 - -(-(settings.t - context) // settings.arrangement.copies)
        raise ValueError(
            f"t0={settings.t0}: sequences of {settings.t} tokens exceed the model's context of "
            f"{context}; use t0 <= {shorter}"
        )
    if settings.t > context:
        raise ValueError(
            f"tokens: sequences of {settings.t} tokens exceed the model's context of {context}; "
            "shorten them (--length)"
        )


def tokens_of(
    settings: Settings, context: int, vocabulary: int, bos: int | None = None
) -> np.ndarray:
    """The tokens to measure (sequence, token).

    Raises:
        ValueError: more tokens than the model's context, an id outside its vocabulary, or no BOS
            token where one is asked for.
    """
    check_context(settings, context)
    if settings.tokens is None:
        generator = np.random.default_rng(settings.seed)
        return arranged_random_tokens(
            settings.t0, settings.batch, vocabulary, generator, settings.arrangement,
            settings.distinct, bos,
        )  # fmt: skip
    wrong = [token for row in settings.tokens for token in row if not 0 <= token < vocabulary]
    if wrong:
        raise ValueError(
            f"tokens: id {wrong[0]} is outside the model's vocabulary; use 0 <= id < {vocabulary}"
        )
    return np.array(settings.tokens, dtype=np.int64)


def sources_of(settings: Settings) -> np.ndarray:
    """The tokens to perturb (sequence, source).

    A sequence's draw depends on the seed and on its number in the batch alone.
    """
    if settings.sources is None:
        return np.tile(np.arange(settings.t), (settings.batch, 1))
    generators = np.random.default_rng(settings.seed).spawn(settings.batch)
    return np.stack([stratified_sources(settings.t, settings.sources, one) for one in generators])


AnySettings = TypeVar("AnySettings", bound="DataclassInstance")


def recorded(settings: type[AnySettings], attributes: Mapping[str, Any]) -> AnySettings:
    """The settings of a study from the attributes of its results; `device` is the default.

    Args:
        settings: their class, all of whose fields have a default of the type recorded.
        attributes: of a results file.
    """
    mine = {one.name for one in fields(settings)} - {"device"}
    return settings(**{name: type(getattr(settings, name))(attributes[name]) for name in mine})
