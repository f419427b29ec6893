"""Letters and their features: as many as said, told apart, the same on every machine."""

import numpy as np
from universal_response import training
from universal_response.training import exemplars


def test_letters_are_told_apart():
    names, images = training.letters()
    assert len(names) == len(set(names)) == len(images) == 1623
    assert names.startswith("ABCDEGHI")  # of F, like E, there is none
    assert images.shape == (1623, 24, 24)
    # In whole numbers.
    rows = images.reshape(1623, -1).astype(np.int64)
    for place in (0, 5, 800, 1622):
        products = (rows[place] * rows).sum(1)
        squares = (rows**2).sum(1)
        cosines = products / np.sqrt(squares * squares[place])
        assert np.delete(cosines, place).max() < 0.88


def test_letters_are_in_the_middle():
    _, images = training.letters()
    for image in images[:50]:
        rows, columns = (np.flatnonzero(image.any(axis)) for axis in (1, 0))
        for lines in (rows, columns):
            assert abs(lines[0] - (23 - lines[-1])) <= 2  # an edge may be empty


def test_the_first_of_those_alike_is_kept():
    rows = [[9, 0, 0, 0], [0, 9, 0, 0], [9, 1, 0, 0], [0, 0, 9, 9], [0, 0, 0, 9]]
    images = np.array(rows, np.uint8).reshape(5, 2, 2)
    # 2 is like 0; 4 has a cosine of 0.71 with 3.
    assert exemplars.distinct(images, 9) == [0, 1, 3, 4]
    assert exemplars.distinct(images, 9, alike=0.7) == [0, 1, 3]
    assert exemplars.distinct(images, 2) == [0, 1]


def test_features_are_random_relu_features_of_unit_mean_square():
    features = training.features()
    assert features.shape == (1623, 512)
    assert features.dtype == np.float32
    assert (features >= 0).all()
    np.testing.assert_allclose((features.astype(float) ** 2).mean(1), 1, atol=1e-6)
    _, images = training.letters()
    weights = np.random.default_rng(0).integers(-127, 128, (576, 512))
    plain = np.array([[max(0, int(w @ images[7].ravel().astype(int))) for w in weights.T]])
    found = features[7] / features[7].max()
    np.testing.assert_allclose(found, plain[0] / plain.max(), rtol=1e-6)


def test_features_are_alike_as_published_ones_are():
    """Mean cosine about one half, on which the timing of induction depends."""
    rows = training.features()[:400].astype(float)
    cosines = rows @ rows.T / 512
    assert 0.45 < cosines[~np.eye(400, dtype=bool)].mean() < 0.55


def test_features_are_those_of_every_machine():
    """Another number here means another version of the font renderer: measure anew."""
    assert training.features_sha256().startswith("dfd36cb5e8498d2debf8613a4b6967fa")
    assert training.features_sha256(1) != training.features_sha256()
