"""What parts of a study of adders share, and failing problems, through Hugging Face again."""

import dataclasses
from functools import cached_property

import numpy as np
import plain_adder
import pytest
import torch
import xarray as xr
from universal_response.arithmetic import ArithmeticSettings, Problems, Split, all_problems
from universal_response.arithmetic.nodes import all_nodes
from universal_response.arithmetic.study import outside, responding
from universal_response.arithmetic.study.material import Material

SETTINGS = ArithmeticSettings(
    chosen_on=32, means_of=16, evaluated_on=16, probed_on=16, perturbed_on=4, draws=2
)
CIRCUIT = [12, 24, 30]


class Chosen(Material):
    """Withheld are some problems of which the last digit is right, so that another one fails."""

    @cached_property
    def split(self):
        every = all_problems()
        tokens = torch.from_numpy(every.tokens())
        right = (said(tokens) == tokens[:, 6:]).numpy()
        apart = right[:, 2] & ~right[:, :2].all(1) & (np.arange(len(every)) % 9 == 0)
        return Split(every[~apart], every[:0], every[apart])


@pytest.fixture(scope="module")
def material():
    """A model that guesses: some problems of every kind happen to be right."""
    circuit = xr.Dataset({"circuit_nodes": ("answer", CIRCUIT)})
    return Chosen(plain_adder.bridge(), plain_adder.SETTINGS, SETTINGS, {"circuit": circuit})


def said(tokens, nodes=(), by=None):
    """Digits of largest logit, (problem, answer)."""
    changes = plain_adder.putting(nodes, by) if nodes else {}
    return plain_adder.digit_logits(plain_adder.passed(tokens, changes)).argmax(-1)


def rows(problems):
    return {tuple(row) for row in problems.tokens().tolist()}


def test_parts_are_disjoint_and_half_of_each_are_sums(material):
    sizes = {
        "chosen_on": 32, "chosen donors": 32, "means_of": 16, "evaluated_on": 16, "donors": 16,
        "probed_on": 16,
    }  # fmt: skip
    parts = {name: material.problems(name) for name in sizes}
    assert {name: len(rows(part)) for name, part in parts.items()} == sizes
    assert len(set.union(*map(rows, parts.values()))) == sum(sizes.values())
    for name, part in parts.items():
        assert part.minus.tolist() == [False] * (len(part) // 2) + [True] * (len(part) // 2), name
        assert not rows(part) & rows(material.split.withheld)


def test_nodes_are_ranked_by_the_mean_size_of_their_effect(material):
    """On the logit difference, of sums and of differences, those that come too late left out."""
    of, donors = (material.problems(name) for name in ("chosen_on", "chosen donors"))
    tokens, given = (torch.from_numpy(each.tokens()) for each in (of, donors))
    right, other = tokens[:, 6:], given[:, 6:]
    donor = plain_adder.passed(given)

    def differences(changes=None):
        logits = plain_adder.digit_logits(plain_adder.passed(tokens, changes))
        return (
            logits.gather(2, other[..., None])[..., 0] - logits.gather(2, right[..., None])[..., 0]
        )

    before = differences()
    nodes = all_nodes(plain_adder.LAYERS, plain_adder.HEADS, range(plain_adder.PLACES - 1))
    assert material.nodes == nodes
    size = {}
    for node in nodes:
        moved = (differences(plain_adder.putting([node], donor)) - before) / 2
        for answer in range(3):
            means = []
            for minus in (False, True):
                mine = [
                    float(moved[k, answer])
                    for k in range(len(of))
                    if of.minus[k] == minus and right[k, answer] != other[k, answer]
                ]
                means.append(abs(np.mean(mine)) if mine else 0.0)
            size[node, answer] = np.mean(means)
    for answer in range(3):
        found = material.ranked(answer)
        fit = [node for node in nodes if node.place <= 5 + answer]
        assert set(found) == set(fit)
        assert len(found) == len(fit)
        sizes = [size[node, answer] for node in found]
        assert sizes == pytest.approx(sorted(sizes, reverse=True), abs=1e-9)
        assert sizes[0] > 10 * sizes[-1]


def test_the_place_that_answers(material):
    assert [material.answering(answer) for answer in range(3)] == [5, 6, 7]
    assert material.places[5:8] == ["=", "r0", "r1"]


# failing problems ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def failing(material):
    """Withheld problems with one digit wrong, the answer that is so most, and their tokens."""
    tokens = torch.from_numpy(material.split.withheld.tokens())
    wrong = said(tokens) != tokens[:, 6:]
    alone = [[bool(row[k]) and int(row.sum()) == 1 for k in range(3)] for row in wrong]
    counts = np.sum(alone, 0)
    answer = int(np.argmax(counts))
    return tokens[[row[answer] for row in alone]], answer


@pytest.fixture(scope="module")
def rescue(material):
    return outside.rescue(material)


def test_failing_are_withheld_problems_with_one_digit_wrong(failing, rescue):
    tokens, answer = failing
    assert len(tokens) > 3
    assert int(rescue.failing_problems) == len(tokens) == rescue.sizes["failing"]
    assert int(rescue.failing_answer) == answer < 2


def test_after_an_error_the_next_digit_is_that_behind_the_wrong_one(failing, rescue):
    tokens, answer = failing
    wrong = tokens.clone()
    wrong[:, 6 + answer] = said(tokens)[:, answer]
    assert (wrong[:, 6 + answer] != tokens[:, 6 + answer]).all()
    right = tokens[:, 7 + answer]
    row = rescue.sel(rescue="none, after the error")
    expected = said(wrong)[:, answer + 1] == right
    np.testing.assert_array_equal(row.rescued, expected.double())
    np.testing.assert_array_equal(row.as_donor, expected.double())


@pytest.mark.parametrize("withheld", [False, True])
def test_a_corrected_output_gives_its_circuit_of_the_next_digit(
    material, failing, rescue, withheld
):
    tokens, answer = failing
    wrong = tokens.clone()
    wrong[:, 6 + answer] = said(tokens)[:, answer]
    nodes = material.ranked(answer + 1)[: CIRCUIT[answer + 1]]
    assert {5 + answer, 6 + answer} <= {node.place for node in nodes}
    if withheld:  # where the corrected digit is read
        nodes = [node for node in nodes if node.place != 6 + answer]
    found = said(wrong, nodes, plain_adder.passed(tokens))[:, answer + 1]
    name = "circuit, corrected output" + withheld * ", its place withheld"
    expected = (found == tokens[:, 7 + answer]).double()
    np.testing.assert_array_equal(rescue.rescued.sel(rescue=name), expected)


def test_before_the_error_there_is_nothing_to_patch(rescue):
    """Both runs are the same there."""
    rows = ("circuit, corrected output, its place withheld", "none, after the error")
    withheld, none = (rescue.rescued.sel(rescue=row) for row in rows)
    np.testing.assert_array_equal(withheld, none)
    whole = rescue.rescued.sel(rescue="circuit, corrected output")
    assert (whole != none).any()


def test_one_place_later_is_what_stands_behind_the_right_digit(material, failing, rescue):
    tokens, answer = failing
    place = 5 + answer
    clean = plain_adder.passed(tokens)
    later = dataclasses.replace(
        clean, z=[each.clone() for each in clean.z], mlps=[each.clone() for each in clean.mlps]
    )
    for each in (*later.z, *later.mlps):
        each[:, place] = each[:, place + 1]
    nodes = [node for node in material.ranked(answer)[: CIRCUIT[answer]] if node.place == place]
    assert nodes
    found = said(tokens, nodes, later)[:, answer] == tokens[:, place + 1]
    alike = tokens[:, place + 1] == tokens[:, place + 2]
    expected = np.where(alike, np.nan, found)
    row = rescue.rescued.sel(rescue="circuit, corrected output, one place later")
    np.testing.assert_array_equal(row, expected)


def test_all_nodes_of_a_donor_with_the_same_answer_solve_a_problem(failing, rescue):
    """Of the units: at `=` the embedding is the same, so that all is as in the donor."""
    _, answer = failing
    row = rescue.sel(rescue="all nodes, same answer")
    known = row.rescued.notnull()
    np.testing.assert_array_equal(row.rescued.where(known), row.as_donor.where(known))
    if answer == 0:
        assert (row.rescued.where(known, 1) == 1).all()


def test_of_another_answer_that_of_the_donor_is_no_rescue(rescue):
    row = rescue.sel(rescue="circuit, another answer")
    assert row.rescued.notnull().any()
    assert not ((row.rescued == 1) & (row.as_donor == 1)).any()


def test_where_nothing_is_withheld_nothing_fails(material):
    found = outside.rescue(Material(material.model, plain_adder.SETTINGS, SETTINGS, material.done))
    assert found.failing_problems == 0
    assert found.rescued.isnull().all()
    assert found.sizes["failing"] == 1


# sums of both units -------------------------------------------------------------------------------


@pytest.mark.parametrize("total", [0, 5, 9, 13, 17])
def test_problems_by_the_sum_of_both_units(material, total):
    generator = np.random.default_rng(0)
    found = [responding._with_units(material, total, generator) for _ in range(20)]
    first, second = (
        np.concatenate([getattr(each, name) for each in found]) for name in ("first", "second")
    )
    assert (first % 10 + second % 10 == total).all()
    assert (first % 10 <= 8).all()
    assert (first // 10 + second // 10 != 9).all()
    assert set(first % 10) == set(range(max(0, total - 9), min(total, 8) + 1))
    assert not any(each.minus.any() for each in found)


def test_what_is_behind_a_raised_digit(material):
    problems = Problems(np.array([47, 15]), np.array([38, 14]), np.array([False, False]))
    before, after = (responding._behind(material, problems, step) for step in (0, 1))
    assert before.tolist() == [[4, 7, 10, 3, 8, 12, 5, 8, 0], [1, 5, 10, 1, 4, 12, 9, 2, 0]]
    assert after.tolist() == [[4, 7, 10, 3, 8, 12, 6, 8, 0], [1, 5, 10, 1, 4, 12, 0, 3, 0]]
    assert responding._raised(before, 1)[:, :2].tolist() == [[4, 8], [1, 6]]
    assert before[:, 1].tolist() == [7, 5]


def test_flips_are_other_digits_of_largest_logit(material):
    one = torch.from_numpy(plain_adder.problems(40).tokens())
    other = one.clone()
    other[:, 0] = (other[:, 0] + 1) % 10
    expected = (said(one) != said(other)).double()
    assert 0 < expected.mean() < 1
    np.testing.assert_array_equal(responding._flips(material, one, other), expected)
