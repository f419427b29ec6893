from .arrangement import (
    LATER,
    PAPER,
    Arrangement,
    arranged_random_tokens,
    check_block,
    repeated_random_tokens,
)
from .rows import check_rows, token_rows
from .sources import stratified_sources
from .texts import passages, read_text, read_tokens, text_digest, token_labels, tokens_of_text

__all__ = [
    "LATER",
    "PAPER",
    "Arrangement",
    "arranged_random_tokens",
    "check_block",
    "check_rows",
    "passages",
    "read_text",
    "read_tokens",
    "repeated_random_tokens",
    "stratified_sources",
    "text_digest",
    "token_labels",
    "token_rows",
    "tokens_of_text",
]
