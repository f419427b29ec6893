"""Texts and files of token ids as sequences, and tokens as text."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

# White space as it can be read off an axis.
VISIBLE = {" ": "\u2423", "\n": "\u21b5", "\t": "\u21e5"}


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
