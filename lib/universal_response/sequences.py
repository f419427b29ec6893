"""Token sequences: repeated random blocks (caption of Fig. 1), texts, and files of token ids."""

import hashlib
import re
from collections.abc import Sequence
from operator import index
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

# White space as it can be read off an axis.
VISIBLE = {" ": "\u2423", "\n": "\u21b5", "\t": "\u21e5"}


def repeated_random_tokens(
    t0: int,
    batch: int,
    vocabulary_size: int,
    generator: np.random.Generator,
    distinct: bool = False,
) -> Int[np.ndarray, "batch {2*t0}"]:
    """Draw `batch` blocks of `t0` uniform random tokens and repeat each block once.

    Tokens are drawn sequence by sequence, so the first sequences of a large batch are those of a
    smaller batch with the same seed.

    Args:
        t0: length T0 of the block, at least 2; the sequence has T = 2 T0 tokens, with no BOS token.
        batch: number of sequences, at least 1.
        vocabulary_size: tokens are uniform on 0 .. vocabulary_size - 1.
        generator: source of randomness, for example `numpy.random.default_rng(seed)`.
        distinct: draw every block without replacement, so that no token meets itself by chance.

    Returns:
        int64 array (batch, 2 * t0).

    Raises:
        ValueError: t0, batch or vocabulary_size too small.
    """
    check_block(t0)
    if batch < 1:
        raise ValueError(f"batch={batch}: at least one sequence is needed; use batch >= 1")
    if vocabulary_size < 2:
        raise ValueError(f"vocabulary_size={vocabulary_size}: at least 2 tokens are needed")
    if distinct and vocabulary_size < t0:
        raise ValueError(
            f"distinct: {vocabulary_size} tokens do not make a block of {t0} distinct ones; use "
            f"t0 <= {vocabulary_size}"
        )
    if distinct:
        rows = [generator.choice(vocabulary_size, t0, replace=False) for _ in range(batch)]
        block = np.stack(rows).astype(np.int64)
    else:
        block = generator.integers(vocabulary_size, size=(batch, t0), dtype=np.int64)
    return np.concatenate([block, block], axis=1)


def check_block(t0: int) -> None:
    """Refuse a block of random tokens that is too short to be repeated.

    Raises:
        ValueError: t0 < 2.
    """
    if t0 < 2:
        raise ValueError(f"t0={t0}: the repeated block needs at least 2 tokens; use t0 >= 2")


def stratified_sources(
    t: int, n: int, generator: np.random.Generator
) -> Int[np.ndarray, " source"]:
    """Draw n of the tokens 0 .. t-1, spread over the sequence: one from each of n parts of it.

    The parts are as equal as whole tokens allow and begin at a random token (the last part may go
    on at the beginning), so that every token is drawn equally often.

    Returns:
        int64 array (source,), in rising order.
    """
    edges = np.arange(n + 1) * t // n
    drawn = generator.integers(edges[:-1], edges[1:]) + generator.integers(t)
    return np.sort(drawn % t)


def read_text(path: str | Path) -> str:
    """Read a text file.

    Raises:
        ValueError: no such file, or one that is not UTF-8 text.
    """
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"file={path}: byte {error.start} is not UTF-8 text; save the file as UTF-8"
        ) from None
    except OSError as error:
        raise ValueError(
            f"file={path}: cannot be read ({error.strerror}); check the path"
        ) from error


def passages(text: str) -> list[str]:
    """Split a text at blank lines; line breaks inside a passage are part of it."""
    parts = re.split(r"\n(?:[ \t]*\n)+", text.replace("\r\n", "\n"))
    return [part.strip("\n") for part in parts if part.strip()]


def text_digest(text: str, bos: bool | None, repeat: bool, length: int | None) -> str:
    """Digest of a text and of how it is cut into tokens."""
    asked = repr((passages(text), bos, repeat, length))
    return hashlib.sha256(asked.encode()).hexdigest()


def tokens_of_text(
    text: str,
    tokenizer: Any,
    bos: bool | None = None,
    repeat: bool = False,
    length: int | None = None,
) -> Int[np.ndarray, "sequence token"]:
    """Tokens of the passages of a text, one sequence each, cut to the same number of tokens.

    Args:
        text: passages separated by blank lines.
        tokenizer: a Hugging Face tokenizer, as `load_tokenizer` returns it.
        bos: put the tokenizer's BOS token first. None: if the tokenizer does so by itself, which
            is how the model saw texts in training. No other special token is added.
        repeat: write each block of tokens twice, after the BOS token: T = 2 T0, or 2 T0 + 1.
        length: tokens kept of each passage, BOS not counted; those of the shortest if None.

    Returns:
        int64 array (sequence, token).

    Raises:
        ValueError: no tokenizer, no text, no BOS token, or too few tokens.
    """
    if tokenizer is None:
        raise ValueError(
            "tokenizer: none found beside the model's weights; give token ids (--tokens) instead "
            "of text"
        )
    found = passages(text)
    if not found:
        raise ValueError("text: empty; give at least one passage of two tokens")
    ids = [
        tokenizer(passage, add_special_tokens=False, verbose=False)["input_ids"]
        for passage in found
    ]
    first = tokenizer.bos_token_id
    if bos and first is None:
        raise ValueError("bos=True: the tokenizer has no BOS token; use bos=False (--no-bos)")
    if bos is None:
        bos = first is not None and tokenizer("a")["input_ids"][:1] == [first]
    blocks = _cut("passage", ids, length, repeat)
    start = np.full((len(blocks), int(bos)), first if bos else 0, dtype=np.int64)
    return np.concatenate([start, blocks], axis=1)


def read_tokens(
    path: str | Path, repeat: bool = False, length: int | None = None
) -> Int[np.ndarray, "sequence token"]:
    """Read token ids from a text file: integers separated by white space, a sequence per line.

    Args:
        path: the file; empty lines are skipped.
        repeat: write each sequence twice.
        length: tokens kept of each line; all if None.

    Returns:
        int64 array (sequence, token).

    Raises:
        ValueError: no such file, not UTF-8, empty, something that is no token id, lines of
            different length, or too few tokens.
    """
    lines = list(enumerate(read_text(path).splitlines(), start=1))
    rows = [(number, line.split()) for number, line in lines if line.strip()]
    if not rows:
        raise ValueError(f"file={path}: empty; write a line of token ids for each sequence")
    for number, row in rows:
        wrong = [part for part in row if not re.fullmatch("[0-9]{1,18}", part)]
        if wrong:
            raise ValueError(
                f"file={path}: {wrong[0]!r} in line {number} is no token id; write whole numbers "
                ">= 0 separated by spaces"
            )
        if len(row) != len(rows[0][1]):
            raise ValueError(
                f"file={path}: line {number} has {len(row)} tokens, line {rows[0][0]} has "
                f"{len(rows[0][1])}; make all lines equally long"
            )
    return _cut("sequence", [[int(part) for part in row] for _, row in rows], length, repeat)


def token_rows(tokens: Any) -> tuple[tuple[int, ...], ...]:
    """The tokens as tuples of int.

    Raises:
        ValueError: no rows of whole numbers.
    """
    try:
        return tuple(tuple(index(token) for token in row) for row in tokens)
    except TypeError:
        raise ValueError(
            "tokens: not an array (sequence, token) of whole numbers; give a list of token ids for "
            "each sequence"
        ) from None


def check_rows(rows: Sequence[Sequence[int]], t0: int) -> None:
    """Check that sequences can be measured together and that a block of t0 tokens is repeated.

    Raises:
        ValueError: none, ragged, a single token, or no such block.
    """
    if not rows or len(rows[0]) < 2:
        raise ValueError("tokens: give at least one sequence of at least 2 tokens")
    for number, row in enumerate(rows):
        if len(row) != len(rows[0]):
            raise ValueError(
                f"tokens: sequence {number} has {len(row)} of them, sequence 0 has {len(rows[0])}; "
                "make all sequences equally long"
            )
        starts = range(len(row) - 2 * t0 + 1)
        repeats = any(row[at : at + t0] == row[at + t0 : at + 2 * t0] for at in starts)
        if t0 and (t0 < 2 or not repeats):
            raise ValueError(
                f"t0={t0}: sequence {number} does not hold a block of so many tokens (at least 2) "
                "twice in a row; use t0=0 if nothing repeats"
            )


def token_labels(tokens: Int[np.ndarray, "sequence token"], tokenizer: Any) -> np.ndarray:
    """Each token as text, decoded by itself, with white space made visible.

    A token that is no whole character by itself, or that the tokenizer does not know, is written
    as its id in brackets. Some tokenizers drop the space before a token that is decoded alone.

    Returns:
        Array of strings (sequence, token).
    """
    ids, inverse = np.unique(tokens, return_inverse=True)
    return np.array([_label(int(token), tokenizer) for token in ids])[inverse].reshape(tokens.shape)


def _label(token: int, tokenizer: Any) -> str:
    text = tokenizer.decode([token], clean_up_tokenization_spaces=False)
    if not text or "\ufffd" in text:
        return f"[{token}]"
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in (VISIBLE.get(character, character) for character in text)
    )


def _cut(
    kind: str, rows: Sequence[Sequence[int]], length: int | None, repeat: bool
) -> Int[np.ndarray, "sequence token"]:
    """Rows cut to the same length and, if asked, written twice."""
    if length is not None and length < 2:
        raise ValueError(f"length={length}: a sequence needs at least 2 tokens; use length >= 2")
    shortest = min(range(len(rows)), key=lambda row: len(rows[row]))
    available = len(rows[shortest])
    if available < 2:
        raise ValueError(f"tokens: {kind} {shortest + 1} has {available} of them; give at least 2")
    if length is not None and length > available:
        raise ValueError(
            f"length={length}: {kind} {shortest + 1} has {available} tokens; use length <= "
            f"{available} or a longer {kind}"
        )
    blocks = np.array([row[: length or available] for row in rows], dtype=np.int64)
    return np.concatenate([blocks, blocks], axis=1) if repeat else blocks
