"""Rotary positions against a formula in complex numbers."""

import plain_training as plain
import torch
from universal_response.training.rotary import rotated


def test_pairs_of_neighbours_turn():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((2, 3, 5, 64), generator=generator, dtype=torch.float64)
    found = rotated(x, 8)
    for token in range(5):
        for head in range(8):
            columns = slice(8 * head, 8 * head + 8)
            expected = plain.turned(x[1, 2, token, columns], token)
            torch.testing.assert_close(found[1, 2, token, columns], expected, rtol=0, atol=1e-14)


def test_products_depend_on_the_distance_alone():
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn((2, 1, 8), generator=generator, dtype=torch.float64)
    products = rotated(q.expand(5, -1), 8) @ rotated(k.expand(5, -1), 8).T
    for offset in range(5):
        diagonal = products.diagonal(-offset)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal))
    assert len({round(float(each), 9) for each in products[:, 0]}) == 5
