"""What the classes of the task look like: letters, as the features that a model is given.

The letters are those of a font that comes with matplotlib. All numbers are whole until the last
division, so that they are the same on every processor, for one version of the font renderer.
"""

import hashlib
import unicodedata
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.ft2font import FT2Font, LoadFlags

FACE = "DejaVuSans.ttf"
SIDE = 24  # pixels
SIZE = 18  # of the font, in pixels; with it few letters are wider or higher than SIDE
N_CLASSES = 1623  # as many as Omniglot has
N_FEATURES = 512
# Letters of a larger cosine are not told apart: accents, and one shape in several scripts.
ALIKE = 0.88

Images = UInt8[np.ndarray, "letter side side"]


def rendered(face: str = FACE) -> tuple[str, Images]:
    """All letters of a font that fit, in the order of their code points, and their images."""
    font = FT2Font(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / face))
    font.set_size(SIZE, 72)
    found = {}
    for letter in map(chr, sorted(font.get_charmap())):
        if unicodedata.category(letter).startswith("L"):
            image = _image(font, letter)
            if image is not None:
                found[letter] = image
    return "".join(found), np.stack(list(found.values()))


def _image(font: FT2Font, letter: str) -> UInt8[np.ndarray, "side side"] | None:
    """A letter in the middle of its square; none if it is empty or does not fit."""
    # Hints move outlines by rules that change with the renderer.
    font.set_text(letter, 0.0, flags=LoadFlags.NO_HINTING)
    font.draw_glyphs_to_bitmap(antialiased=True)
    glyph = np.asarray(font.get_image())
    if max(glyph.shape) > SIDE or not glyph.any():
        return None
    image = np.zeros((SIDE, SIDE), np.uint8)
    top, left = ((SIDE - n) // 2 for n in glyph.shape)
    image[top : top + glyph.shape[0], left : left + glyph.shape[1]] = glyph
    return image


def distinct(images: Images, n: int, alike: float = ALIKE) -> list[int]:
    """The first n letters that are not like one before them."""
    # In float64 products of whole numbers are exact.
    rows = images.reshape(len(images), -1).astype(np.float64)
    products = rows @ rows.T
    squares = products.diagonal()
    like = products**2 >= alike**2 * squares * squares[:, None]
    kept: list[int] = []
    for place in range(len(rows)):
        if len(kept) < n and not like[place, kept].any():
            kept.append(place)
    return kept


@cache
def letters() -> tuple[str, Images]:
    """The letters that are the classes of the task, and their images."""
    names, images = rendered()
    kept = distinct(images, N_CLASSES)
    return "".join(names[place] for place in kept), images[kept]


@cache
def features(seed: int = 0) -> Float[np.ndarray, "class feature"]:
    """Features of every class: random ReLU features of its image, of unit mean square, in float32.

    Args:
        seed: of the random weights, whole numbers of zero mean.
    """
    _, images = letters()
    weights = np.random.default_rng(seed).integers(-127, 128, (SIDE * SIDE, N_FEATURES))
    flat = images.reshape(len(images), -1).astype(np.float64)
    found = np.maximum(flat @ weights.astype(np.float64), 0)
    found /= np.sqrt((found**2).mean(1, keepdims=True))
    return found.astype(np.float32)


def features_sha256(seed: int = 0) -> str:
    """Digest of the features, which tells whether another renderer gave others."""
    return hashlib.sha256(features(seed).tobytes()).hexdigest()
