"""Every rule against mpmath, on the very same float32 inputs.

The exact change is f(v + d) - f(v) with 60 digits, and the exact limit a derivative by mpmath; the
equations that the rules use are not part of either. A rule may be off by 1e-6 of the sum of the
absolute values of the terms of its equation, since those are what it adds in float32. Where it adds
nothing, as for the sigmoid, that is 1e-6 of the result itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from universal_response.propagation import rules
from universal_response.propagation.pair import _activation
from universal_response.propagation.rows import Rows, by_rows, can_compile

MP = mpmath.mp.clone()
MP.dps = 60
TOLERANCE = 1e-6
TINY = float(np.finfo(np.float32).tiny)

_mp = np.vectorize(lambda x: MP.mpf(float(x)), otypes=[object])
_float = np.vectorize(float, otypes=[float])
# Of the same numbers again and again: values that many changes are made to, terms of one equation.
exp, erfc, root = (
    np.frompyfunc(lru_cache(1 << 16)(each), 1, 1) for each in (MP.exp, MP.erfc, MP.sqrt)
)


def check(found, exact, terms, scale=1):
    """Within the tolerance of the sum of the absolute terms.

    Numbers below the normal ones of float32 have fewer digits, or none. They may make an error of
    the smallest normal one, times what they are multiplied by if that is more than 1 (`scale`).
    """
    found = _mp(found.double().numpy())
    bound = TOLERANCE * sum(abs(each) for each in terms) + TINY * scale
    excess = _float(abs(found - exact) / bound)
    at = np.unravel_index(np.argmax(np.where(np.isnan(excess), np.inf, excess)), excess.shape)
    worst = excess[at]
    assert worst <= 1, (
        f"at {at}: {worst:.3g} of what is allowed; {float(found[at])!r} for {float(exact[at])!r}"
    )


VALUES = (0, 1e-30, 1e-6, 1e-3, 0.1, 0.7, 1, 2.4, 5, 8.5, 13, 17, 25, 40, 56.3, 60, 87.5, 88.8, 90)
RATIOS = (1e-12, 1e-9, 1e-6, 1e-3, 0.03, 0.17, 0.3, 0.7, 0.95, 1, 1.1, 1.7, 2, 2.5, 3)


def grid():
    """Values and changes of both signs; at zero the changes are the ratios themselves."""
    rng = np.random.default_rng(0)
    v = np.concatenate([VALUES, rng.uniform(0, 90, 12), rng.uniform(0, 6, 12)])
    v, ratio = np.meshgrid(np.concatenate([v, -v]), np.concatenate([RATIOS, np.negative(RATIOS)]))
    v, ratio = v.ravel(), ratio.ravel()
    return np.float32(v), np.float32(np.where(v == 0, ratio, v * ratio))


@st.composite
def drawn(draw, n=24):
    """As the grid, at random."""
    numbers = st.floats(-90, 90, width=32)
    v = np.array(draw(st.lists(numbers, min_size=n, max_size=n)), dtype=np.float32)
    exponents = st.floats(-12, np.log10(3))
    ratio = 10 ** np.array(draw(st.lists(exponents, min_size=n, max_size=n)))
    sign = draw(st.lists(st.sampled_from([-1, 1]), min_size=n, max_size=n))
    return v, np.float32(np.where(v == 0, 1, v) * ratio * sign)


@dataclass(frozen=True)
class Rule:
    """A rule of one value, the function that it is for, and the terms of its two equations."""

    rule: Callable
    function: Callable
    terms: Callable
    limit_terms: Callable


def sigmoid(v):
    return 1 / (1 + exp(-v))


def normal(v):
    return erfc(-v / MP.sqrt(2)) / 2


def gated(activation, gate, gate_slope):
    """x s(w): d s(w') + x (s(w') - s(w))."""

    def rule(v, d, limit):
        saved = activation.saved(v)
        return activation.change(saved.__getitem__, d, limit)

    def function(x):
        return x * sigmoid(gate(x))

    def terms(x, d):
        changed = sigmoid(gate(x + d))
        return d * changed, x * (changed - sigmoid(gate(x)))

    def limit_terms(x, d):
        w = gate(x)
        return d * sigmoid(w), x * sigmoid(w) * sigmoid(-w) * gate_slope(x) * d

    return Rule(rule, function, terms, limit_terms)


C, A = MP.sqrt(2 / MP.pi), MP.mpf("0.044715")
ONE = {
    "square": Rule(
        rules.square, lambda v: v**2, lambda v, d: [d * (2 * v + d)], lambda v, d: [2 * v * d]
    ),
    "cube": Rule(
        rules.cube,
        lambda v: v**3,
        lambda v, d: [3 * v * (v + d) * d, d**3],
        lambda v, d: [3 * v * v * d],
    ),
    "sigmoid": Rule(
        rules.sigmoid,
        sigmoid,
        lambda v, d: [sigmoid(v + d) - sigmoid(v)],
        lambda v, d: [sigmoid(v) * sigmoid(-v) * d],
    ),
    "tanh": Rule(
        rules.tanh,
        lambda v: 2 * sigmoid(2 * v) - 1,
        lambda v, d: [2 * (sigmoid(2 * (v + d)) - sigmoid(2 * v))],
        lambda v, d: [4 * sigmoid(2 * v) * sigmoid(-2 * v) * d],
    ),
    "silu": gated(rules.SILU, lambda x: x, lambda x: 1),
    "gelu_tanh": gated(
        rules.GELU_TANH,
        lambda x: 2 * C * (x + A * x**3),
        lambda x: 2 * C * (1 + 3 * A * x**2),
    ),
    "quick_gelu": gated(rules.QUICK_GELU, lambda x: MP.mpf("1.702") * x, lambda x: MP.mpf("1.702")),
    "gelu": Rule(
        rules.gelu,
        lambda v: v * normal(v),
        lambda v, d: [d * normal(v + d), v * (normal(v + d) - normal(v))],
        lambda v, d: [d * normal(v), d * v * exp(-v * v / 2) / MP.sqrt(2 * MP.pi)],
    ),
}


def check_one(name, v, d, limit, rule=None):
    case = ONE[name]
    found = (rule or case.rule)(torch.from_numpy(v), torch.from_numpy(d), limit)
    assert found.dtype == torch.float32
    scale = np.maximum(np.maximum(abs(v), abs(d)), 1)
    v, d = _mp(v), _mp(d)
    if limit:
        at = {x: MP.diff(case.function, x) for x in set(v)}
        exact = np.array([at[x] for x in v], dtype=object) * d
        check(found, exact, case.limit_terms(v, d), scale)
    else:
        check(found, case.function(v + d) - case.function(v), case.terms(v, d), scale)


@pytest.mark.parametrize("limit", [False, True])
@pytest.mark.parametrize("name", ONE)
def test_rule_of_one_value(name, limit):
    check_one(name, *grid(), limit)


@pytest.mark.parametrize("limit", [False, True])
@pytest.mark.parametrize("name", ONE)
@settings(max_examples=30)
@given(drawn=drawn())
def test_rule_of_one_value_drawn(name, limit, drawn):
    check_one(name, *drawn, limit)


GATED = {"silu": rules.SILU, "gelu_tanh": rules.GELU_TANH, "quick_gelu": rules.QUICK_GELU}


@pytest.mark.skipif(not can_compile(), reason="needs a C++ compiler")
@pytest.mark.parametrize("limit", [False, True])
@pytest.mark.parametrize("name", GATED)
def test_compiled_rule_of_one_value(name, limit):
    """As one loop that PyTorch writes, in long measurements: its exp(x) - 1 is not `expm1`."""

    def compiled(v, d, limit):
        # A row a ratio of change to value: in those of weak changes nothing is computed anew.
        v, d = (each.reshape(2 * len(RATIOS), -1) for each in (v, d))
        saved = [Rows(table, None) for table in GATED[name].saved(v)]
        rule, weak = _activation(GATED[name], limit)
        return by_rows(rule, saved, [d], compiled=True, weak=weak).ravel()

    check_one(name, *grid(), limit, compiled)


# functions of several values ----------------------------------------------------------------------


def pairs(n=1500):
    """Four rows of values and changes, of every size against each other."""
    rng = np.random.default_rng(1)
    x, y = rng.uniform(-90, 90, (2, n)) * 10 ** rng.uniform(-3, 0, (2, n))
    sizes = 10 ** rng.uniform(-12, np.log10(3), (2, n)) * rng.choice([-1, 1], (2, n))
    # Some changes take a value to zero, or to minus itself, up to rounding.
    sizes[:, : n // 10], sizes[:, n // 10 : n // 5] = -1 + 1e-6 * sizes[:, : n // 10], -2
    found = np.float32([x, x * sizes[0], y, y * sizes[1]])
    found[1, -n // 10 :] = 0
    found[3, -n // 20 :] = 0
    return found


@pytest.mark.parametrize("limit", [False, True])
def test_product(limit):
    inputs = pairs()
    found = rules.product(*torch.from_numpy(inputs), limit)
    x, dx, y, dy = _mp(inputs)
    terms = dx * y, (x if limit else x + dx) * dy
    exact = dx * y + x * dy if limit else (x + dx) * (y + dy) - x * y
    check(found, exact, terms)


@pytest.mark.parametrize("limit", [False, True])
def test_quotient(limit):
    inputs = pairs()
    inputs = inputs[:, inputs[2] + inputs[3] != 0]
    found = rules.quotient(*torch.from_numpy(inputs), limit)
    x, dx, y, dy = _mp(inputs)
    changed = y if limit else y + dy
    terms = dx / changed, x * dy / y / changed
    exact = dx / y - x * dy / y**2 if limit else (x + dx) / (y + dy) - x / y
    check(found, exact, terms)


@pytest.mark.parametrize("bounds", [(0, np.inf), (-np.inf, 3.3), (-1.1, 2.7), (-30, 55.5)])
def test_clamp(bounds):
    """From inside the bounds exact; from outside d and v to the bound are added."""
    low, high = (float(np.float32(each)) for each in bounds)
    v, d = grid()
    tensors = torch.from_numpy(v), torch.from_numpy(d)
    found, limit = (rules.clamp(*tensors, low, high, each) for each in (False, True))
    inside = (v > low) & (v < high)
    np.testing.assert_array_equal(limit.numpy(), d * inside)
    v, d = _mp(v), _mp(d)
    exact = np.clip(v + d, low, high) - np.clip(v, low, high)
    check(found, exact, np.where(exact != 0, [abs(d), abs(v - np.clip(v, low, high))], 0))
    kept = inside & (v + d > low) & (v + d < high)
    np.testing.assert_array_equal(found.numpy()[kept], _float(d[kept]))
    if low == 0:
        for limit in (False, True):
            np.testing.assert_array_equal(
                rules.relu(*tensors, limit), rules.clamp(*tensors, low, high, limit)
            )


def test_relu_at_its_kink():
    v = torch.tensor([0.0, 0, 0, 1, 1, 1, -1, -1, -1])
    d = torch.tensor([-2.0, 0, 3, -2, -1, 1e-9, -1, 1, 3])
    expected = torch.tensor([0, 0, 3, -1, -1, 1e-9, 0, 0, 2])
    torch.testing.assert_close(rules.relu(v, d, limit=False), expected, rtol=0, atol=0)
    # As in torch, the derivative at zero is 0.
    of_torch = torch.func.jvp(torch.relu, (v,), (d,))[1]
    torch.testing.assert_close(rules.relu(v, d, limit=True), of_torch, rtol=0, atol=0)


# rows of scores -----------------------------------------------------------------------------------

KEYS = 7
HIDDEN = torch.finfo(torch.float32).min


def weights_of(scores):
    """Of exact numbers; those hidden count for nothing."""
    grown = exp(scores - scores.max(-1, keepdims=True))
    grown = np.where(scores < -1e30, MP.mpf(0), grown)
    return grown / grown.sum(-1, keepdims=True)


def edges():
    """Scores and changes at which a softmax is hard."""
    rng = np.random.default_rng(2)
    spread = rng.uniform(-2, 2, KEYS)
    even, moved = np.zeros(KEYS), rng.uniform(-1, 1, KEYS)
    last = np.eye(KEYS)[-1]
    for size in (1e-12, 1e-6, 1e-3, 0.1, 1, 3, 6, 9, 15):
        # An ordinary row; a dominant key; a sink; one key alone moves; all do by nearly the same.
        for scores in (even, spread, spread + 30 * last, spread + 12 * last, spread - 80 * last):
            for d in (moved, last, -last, 1 + 1e-3 * moved):
                yield scores, size * d
    # A sink loses 40; underflowed keys gain 150; both at once; all lose but one of many.
    yield spread + 20 * last, -40 * last
    yield spread + 5 * last, -40 * last
    yield spread - 140 * last, 150 * last
    yield spread - 110 * last, 150 * last
    yield spread + 20 * last - 130 * np.eye(KEYS)[0], 150 * np.eye(KEYS)[0] - 40 * last
    # Some gain what the largest loses.
    for gained in (14.3, 60.7, 180.2):
        yield spread + gained * last, 0.6 * gained * (1 - last) - 0.7 * gained * last + moved
        yield spread - 2 * gained * (1 - last), gained * (moved + 2) * (1 - last) - gained * last
    for size in (2, 10, 18, 40):
        yield even, -size * (1 - last)
        yield spread, -size * (1 - last)
        yield spread, size * last
    for hidden in (-np.inf, HIDDEN):
        for size in (1e-9, 0.1, 3, 30):
            yield np.where(np.arange(KEYS) > 3, hidden, spread), size * moved
            # What is hidden stays so.
            yield np.where(np.arange(KEYS) > 3, hidden, spread), 150 * last + size * moved
            yield np.where(np.arange(KEYS) > 0, hidden, spread), size * moved


def rows(n=120):
    """Scores (row, key), and changes, at the edges and at random."""
    rng = np.random.default_rng(3)
    scores, d = (np.float32(each) for each in zip(*edges(), strict=True))
    drawn = rng.uniform(-1, 1, (n, KEYS)) * rng.choice([2, 10, 90], (n, 1))
    ratio = 10 ** rng.uniform(-12, np.log10(3), (n, 1)) * rng.uniform(-1, 1, (n, KEYS))
    return np.concatenate([scores, np.float32(drawn)]), np.concatenate(
        [d, np.float32(drawn) * np.float32(ratio)]
    )


@st.composite
def drawn_rows(draw):
    """Rows of any scores, some hidden, and any changes."""
    numbers = st.floats(-90, 90, width=32)
    row = st.lists(numbers, min_size=KEYS, max_size=KEYS)
    scores = np.array(draw(st.lists(row, min_size=4, max_size=4)), dtype=np.float32)
    spread = draw(st.sampled_from([1, 0.1, 0.02]))
    hidden = np.arange(KEYS) > draw(st.integers(0, KEYS))
    scores = np.where(hidden, np.float32(HIDDEN), np.float32(scores * spread))
    moved = np.array(draw(st.lists(row, min_size=4, max_size=4)))
    return scores, np.float32(moved / 90 * 10 ** draw(st.floats(-12, 2.4)))


def check_softmax(scores, d, limit):
    exact, moved = _mp(scores), _mp(d)
    seen = exact > -1e30
    p = weights_of(exact)
    weights = np.float32(_float(p))
    found = rules.softmax(*(torch.from_numpy(each) for each in (scores, weights, d)), limit)
    moved = np.where(seen, moved, 0)
    largest = weights.argmax(-1)[:, None]
    shifted = np.where(seen, moved - np.take_along_axis(moved, largest, -1), 0)
    if limit:
        change, grown, mean = p * (moved - (p * moved).sum(-1, keepdims=True)), shifted, 0
    else:
        # -inf + d is no number of mpmath's to be trusted with.
        changed = np.where(seen, np.where(seen, exact, 0) + moved, exact)
        change, grown = weights_of(changed) - p, exp(shifted) - 1
        mean = (p * grown).sum(-1, keepdims=True)
    terms = p * grown / (1 + mean), p * (p * abs(grown)).sum(-1, keepdims=True) / (1 + mean)
    check(found, change, terms)


@pytest.mark.parametrize("limit", [False, True])
def test_softmax(limit):
    check_softmax(*rows(), limit)


@pytest.mark.parametrize("limit", [False, True])
@settings(max_examples=40)
@given(drawn=drawn_rows())
def test_softmax_drawn(limit, drawn):
    check_softmax(*drawn, limit)


@pytest.mark.parametrize("n_keys", [64, 400])
def test_softmax_of_many_keys(n_keys):
    """The largest weight is small at first, and gains on all the others."""
    rng = np.random.default_rng(8)
    scores = np.float32(rng.uniform(-1, 1, (7, n_keys)))
    gained = np.array([[0.3], [1], [2], [5], [10], [15], [30]])
    largest = scores.argmax(-1)[:, None] == np.arange(n_keys)
    check_softmax(scores, np.float32(gained * largest + 0.1 * scores), limit=False)
    check_softmax(scores, np.float32(-gained * largest + 0.1 * scores), limit=False)


def check_mixed(scores, d, value, dvalue, limit):
    """The last key of each row is a sink: it has no value. Only the last values change."""
    exact, v, dv = _mp(scores), _mp(value), _mp(dvalue)
    p = weights_of(exact)
    weights = np.float32(_float(p))
    d = d - np.take_along_axis(d, weights.argmax(-1)[:, None], -1)
    moved, late = _mp(d), slice(len(v) - len(dv), len(v))
    mixture = p[:, : len(v)] @ v
    tensors = (
        torch.from_numpy(each)
        for each in (weights, d.copy(), value, dvalue, np.float32(_float(mixture)))
    )
    found = rules.mixed(*tensors, limit)
    if limit:
        grown, total, changed = p * moved, 1, p
        of_p = grown - p * grown.sum(-1, keepdims=True)
        exact = of_p[:, : len(v)] @ v + p[:, late] @ dv
    else:
        grown = p * (exp(moved) - 1)
        total = 1 + grown.sum(-1, keepdims=True)
        changed, v_new = p * exp(moved), v.copy()
        v_new[late] += dv
        exact = (weights_of(_mp(scores) + moved)[:, : len(v)] @ v_new) - mixture
    terms = (
        abs(grown)[:, : len(v)] @ abs(v) / total,
        abs(grown).sum(-1, keepdims=True) * (p[:, : len(v)] @ abs(v)) / total,
        changed[:, late] @ abs(dv) / total,
    )
    check(found, exact, terms)


def values_at_random(strength):
    rng = np.random.default_rng(4)
    value = rng.uniform(-90, 90, (KEYS - 1, 3)) * 10 ** rng.uniform(-3, 0, 3)
    return np.float32(value), np.float32(strength * rng.uniform(-3, 3, (3, 3)) * value[-3:])


@pytest.mark.parametrize("strength", [1e-12, 1e-3, 1])
@pytest.mark.parametrize("limit", [False, True])
def test_mixed(strength, limit):
    scores, d = rows()
    # As it is called: with no key that gains more than 16 on the largest.
    at = weights_of(_mp(scores)).argmax(-1)[:, None]
    weak = ((d - np.take_along_axis(d, at, -1)).max(-1) < 16) & (scores > -1e30).all(-1)
    assert weak.sum() > 200
    check_mixed(scores[weak], d[weak], *values_at_random(strength), limit)


@pytest.mark.parametrize("limit", [False, True])
@settings(max_examples=40)
@given(drawn=drawn_rows(), strength=st.floats(-12, 0))
def test_mixed_drawn(limit, drawn, strength):
    scores, d = drawn
    scores = np.maximum(scores, -90)
    check_mixed(
        scores, d * np.float32(8 / max(abs(d).max(), 8)), *values_at_random(10**strength), limit
    )


def test_what_a_softmax_must_not_mix():
    """Such changes are told from those that `mixed` is for."""
    assert rules.is_strong(torch.tensor([0.0, 16.1]))
    assert rules.is_strong(torch.tensor([0.0, torch.nan]))
    assert not rules.is_strong(torch.tensor([-200.0, 15.9]))


# norms --------------------------------------------------------------------------------------------

WIDTH = 8
CONSTANTS = (1e-5, 1e-6, 1e-8, 1e-12)


def mean(x):
    return x.sum(-1, keepdims=True) / x.shape[-1]


def norm(x, constant):
    return x / root(mean(x * x) + constant)


def norm_parts(x, d, constant, limit):
    """a, r' and b of r' w + b x with d = a x + w, w perpendicular to x."""
    a, r = mean(x * d) / mean(x * x), 1 / root(mean(x * x) + constant)
    if limit:
        return a, r, constant * a * r**3
    r_new = 1 / root(mean((x + d) ** 2) + constant)
    return a, r_new, (1 + a) * r_new - r


def norm_change(x, d, constant, limit):
    if not limit:
        return norm(x + d, constant) - norm(x, constant)

    def along(t, row, k):
        return norm(x[row] + t * d[row], constant)[k]

    found = [MP.diff(partial(along, row=row, k=k), 0) for row, k in np.ndindex(x.shape)]
    return np.array(found, dtype=object).reshape(x.shape)


def states(n=18):
    """Vectors of mean square 1 and of others from 1e-4 to 1e4, and directions."""
    rng = np.random.default_rng(5)
    x, d = rng.standard_normal((2, n, WIDTH))
    x /= np.sqrt((x * x).mean(-1, keepdims=True))
    x[n // 2 :] *= 10 ** rng.uniform(-2, 2, (n - n // 2, 1))
    return np.float32(x), d * np.sqrt((x * x).mean(-1, keepdims=True))


@pytest.mark.parametrize("limit", [False, True])
@pytest.mark.parametrize("constant", CONSTANTS)
@pytest.mark.parametrize("strength", [1e-12, 1e-6, 0.05, 0.3, 0.999, 1, 1.7, -1e-6, -0.05, -3])
def test_norm_of_a_parallel_change(strength, constant, limit):
    """In float64, as it is used there: no digit of such a change is left in float32.

    A change is -strength x, rounded; what the rounding turns aside belongs to the input.
    """
    x = np.float64(states(6 if limit else 18)[0])
    d = -strength * x
    found = rules.normalised(torch.from_numpy(x), torch.from_numpy(d), constant, limit)
    x, d, constant = _mp(x), _mp(d), MP.mpf(constant)
    a, r, b = norm_parts(x, d, constant, limit)
    check(found, norm_change(x, d, constant, limit), (r * (d - a * x), b * x))


def check_norm(x, d, constant, limit):
    """In float32 what is perpendicular, w, is a difference itself: its terms are d and a x."""
    found = rules.normalised(torch.from_numpy(x), torch.from_numpy(d), constant, limit)
    assert found.dtype == torch.float32
    x, d, constant = _mp(x), _mp(d), MP.mpf(constant)
    exact = norm_change(x, d, constant, limit)
    a, r, b = norm_parts(x, d, constant, limit)
    check(found, exact, (r * d, r * a * x, b * x))
    # Where much of d is perpendicular no such allowance is needed, but by vectors.
    w = d - a * x
    at = (mean(w * w) > 0.1 * mean(d * d))[:, 0]
    largest = (abs(r * w) + abs(b * x)).max(-1, keepdims=True)
    if at.any():
        check(found[torch.from_numpy(at)], exact[at], [np.repeat(largest[at], WIDTH, -1)])
    return at


@pytest.mark.parametrize("limit", [False, True])
@pytest.mark.parametrize("constant", CONSTANTS)
@pytest.mark.parametrize("strength", [1e-12, 1e-6, 0.05, 0.3, 1, 3])
def test_norm_of_any_change(strength, constant, limit):
    x, direction = states(6 if limit else 18)
    perpendicular = check_norm(x, np.float32(strength * direction), constant, limit)
    assert perpendicular.mean() > 0.6
    for share in (-1, 0.7):
        check_norm(x, np.float32(strength * (share * x + 0.05 * direction)), constant, limit)


@settings(max_examples=60)
@given(data=st.data(), constant=st.sampled_from(CONSTANTS), strength=st.floats(-12, 0.47))
def test_norm_of_any_change_drawn(data, constant, strength):
    numbers = st.lists(st.floats(-90, 90, width=32), min_size=WIDTH, max_size=WIDTH)
    x, d = (np.array([data.draw(numbers)]) for _ in range(2))
    if abs(x).max() < 1e-3:
        x[0, 0] = 1
    d *= abs(x).max() / 90 * 10**strength
    check_norm(np.float32(x), np.float32(d), constant, limit=False)


@pytest.mark.parametrize("limit", [False, True])
def test_norm_factors(limit):
    """From moments alone, a change beyond the origin included."""
    rng = np.random.default_rng(6)
    n = 400
    m = 10 ** rng.uniform(-6, 4, n)
    a = 10 ** rng.uniform(-12, 0.5, n) * rng.choice([-1, 1], n)
    p = m * 10 ** rng.uniform(-24, 1, n)
    # What c may be at most, and what rounding makes of it.
    c = np.sqrt(m * p) * rng.uniform(-1, 1, n) * rng.choice([0, 1e-6, 0.5], n)
    inputs = np.float32([m, a, c, p])
    for constant in CONSTANTS:
        found = rules.norm_factors(*torch.from_numpy(inputs), constant, limit)
        m, a, c, p = _mp(inputs)
        e = MP.mpf(constant)
        r = 1 / root(m + e)
        if limit:
            check(found[0], r, [r])
            check(found[1], r**3 * (e * a - c), (r**3 * e * a, r**3 * c))
            continue
        m_new = (1 + a) ** 2 * m + 2 * (1 + a) * c + p
        r_new = 1 / root(m_new + e)
        # The terms of m' as well, of which r' is the root.
        lost = (abs((1 + a) ** 2 * m) + abs(2 * (1 + a) * c) + p + e) / (m_new + e)
        check(found[0], r_new, [r_new * lost])
        scale = r**2 * r_new**2 / abs((1 + a) * r_new + r)
        fine = [scale * e * a * (2 + a), scale * 2 * (1 + a) * c, scale * p]
        plain = [(1 + a) * r_new, r]
        terms = [np.where(a < -1, x, y) * lost for x, y in zip(plain, fine[:2], strict=True)]
        check(found[1], (1 + a) * r_new - r, [*terms, np.where(a < -1, 0, fine[2]) * lost])


def test_norm_of_a_state_that_vanishes():
    """Rounding that is left of x + d is nothing: without this it would grow by e^(-1/2)."""
    x = states()[0]
    d = -x * (1 + np.float32(1e-7))
    found = rules.normalised(torch.from_numpy(x), torch.from_numpy(d), 1e-12, limit=False)
    exact = -norm(_mp(x), MP.mpf(1e-12))
    check(found, exact, [exact])
    # Of a zero state, too, a change is a change.
    zero = np.zeros_like(x)
    found = rules.normalised(torch.from_numpy(zero), torch.from_numpy(x), 1e-6, limit=False)
    exact = norm(_mp(x), MP.mpf(1e-6))
    check(found, exact, [exact])
    found = rules.normalised(torch.from_numpy(zero), torch.from_numpy(x), 1e-6, limit=True)
    check(found, _mp(x) * 1000, [_mp(x) * 1000])


@pytest.mark.parametrize("limit", [False, True])
@pytest.mark.parametrize("constant", [1e-5, 1e-12])
@pytest.mark.parametrize("strength", [1e-12, 1e-6, 0.05, 0.3, 1, 3])
def test_secant_of_a_norm(strength, constant, limit):
    """Linear in the part, the whole change of the norm for all of d, and r' what 2 x + d is 0 with.

    Which says what every part becomes: it has a share of d along 2 x + d, and the rest.
    """
    x, direction = states(6)
    d = np.float32(strength * direction)
    part = np.float32(strength * states(12)[1][6:] * np.sqrt(mean(x * x)))
    found = rules.secant(*map(torch.from_numpy, (x, d, part)), constant, limit)
    assert found.dtype == torch.float32
    x, d, part, e = _mp(x), _mp(d), _mp(part), MP.mpf(constant)
    along, moved = (2 * x, x) if limit else (2 * x + d, x + d)
    share, r = mean(part * along) / mean(d * along), 1 / root(mean(moved * moved) + e)
    exact = share * norm_change(x, d, e, limit) + r * (part - share * d)
    lengths = mean(x * x) + e, mean(moved * moved) + e
    k = 1 / (root(lengths[0]) * root(lengths[1]) * (root(lengths[0]) + root(lengths[1])))
    # The terms of |x + d|^2, too.
    lost = (lengths[0] + mean(abs(along * d))) / lengths[1] if not limit else 1
    check(found, exact, [lost * abs(r * part), lost * abs(k * x) * mean(abs(part * along))])
