"""The study of a tiny adder as a whole: its file, its witness, and how it goes on."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr
from tiny_models import tiny_model
from transformers import LlamaForCausalLM
from universal_response import arithmetic, load_model, load_results
from universal_response.arithmetic import AdderSettings, ArithmeticSettings
from universal_response.arithmetic.network import initial
from universal_response.arithmetic.study import study
from universal_response.measurement import recorded
from universal_response.models import bridged

TRAINED = AdderSettings(
    digits=1, width=16, heads=2, inner=32, steps=200, batch=128, warm_up=2, rate=1e-2,
    withheld="block", seed=1, device="cpu",
)  # fmt: skip
SMALL = ArithmeticSettings(
    chosen_on=16, means_of=16, evaluated_on=16, probed_on=32, perturbed_on=2, likely_of=12,
    draws=2, device="cpu",
)  # fmt: skip
PLACES = ["a0", "op", "b0", "=", "r0", "r1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("trained") / "adder"
    arithmetic.train_into(made, TRAINED)
    return made


@pytest.fixture(scope="module")
def path(folder):
    runs = folder.parent / "runs"
    arithmetic.arithmetic_for(str(folder), SMALL, runs)
    (path,) = runs.iterdir()
    return path


@pytest.fixture(scope="module")
def found(path):
    return load_results(path, kind="arithmetic")


@pytest.fixture(scope="module")
def hf(folder):
    return LlamaForCausalLM.from_pretrained(folder).eval()


def said(hf, tokens):
    """Log probabilities among digits where the result is predicted."""
    with torch.no_grad():
        return hf(torch.as_tensor(tokens)).logits[:, 3:5, :10].log_softmax(-1).numpy()


# What takes long is marked where it is used: all that asks for `found`.
slow = pytest.mark.slow


@slow
def test_settings_and_training_are_recorded(found):
    assert recorded(ArithmeticSettings, found.attrs) == replace(SMALL, device="auto")
    about = ("kind", "withheld", "training_seed", "digits", "input")
    assert [found.attrs[name] for name in about] == [
        "arithmetic", "block", 1, 1, "sums and differences of 1 digits"
    ]  # fmt: skip
    assert found.sublayer.values.tolist() == ["input", "attention", "mlp", "attention", "mlp"]


@slow
def test_accuracy_is_that_of_the_model(found, hf):
    parts = vars(arithmetic.split("block", 1, 1))
    assert found.part_of_split.values.tolist() == list(parts)
    for name, problems in parts.items():
        tokens = problems.tokens()
        right = said(hf, tokens).argmax(-1) == tokens[:, 4:]
        of = found.sel(part_of_split=name)
        assert int(of.problems) == len(problems)
        assert float(of.accuracy) == pytest.approx(right.all(1).mean(), abs=1e-6)
        np.testing.assert_allclose(of.digit_accuracy, right.mean(0), atol=1e-6)


@slow
def test_the_witness_is_what_the_model_says(found, hf):
    tokens = found.tokens.values
    assert (tokens == arithmetic.problems_in(tokens).tokens()).all()
    np.testing.assert_allclose(found.witness_log_probability, said(hf, tokens), atol=1e-4)
    with torch.no_grad():
        every = hf(torch.from_numpy(tokens)).logits.log_softmax(-1).numpy()
    likely = [sum(every[k, n - 1, tokens[k, n]] for n in (1, 2, 3)) for k in range(len(tokens))]
    np.testing.assert_allclose(found.witness_log_likelihood, likely, atol=1e-4)


@slow
def test_likelihoods_are_kept_of_as_many_as_there_are(found):
    counts = dict(
        zip(found.kind_of_problem.values.tolist(), found.solved.count("asked").values, strict=True)
    )
    assert list(counts) == [
        "training", "held_out", "withheld", "operator first", "operator last", "negative difference"
    ]  # fmt: skip
    there = found.log_likelihood.notnull()
    assert (there == found.solved.notnull()).all()
    assert counts["withheld"] == 7  # 4 and 5 in either operand, three differences of them
    assert {counts[name] for name in counts if name not in ("withheld", "held_out")} == {12}
    assert (found.log_likelihood.where(there, -1) < 0).all()


@slow
def test_all_nodes_are_as_right_as_the_model(found, hf):
    """And every ranking has all of them at the end, none at the beginning."""
    assert found.circuit_size.values[-1] == 5 * 2 * 3
    for end in (0, -1):
        accuracy = found.circuit_accuracy.isel(circuit_size=end)
        assert (accuracy == accuracy.isel(ranking=0)).all()
    whole = found.circuit_accuracy.isel(circuit_size=-1, ranking=0)
    all_neurons = found.neuron_accuracy.sel(kept=32).isel(layer=0, ranked_on=0)
    assert (all_neurons.mean("operation") <= whole.min("answer") + 1e-6).all()
    assert (found.neuron_accuracy.sel(kept=32) == all_neurons).all()


@slow
def test_circuits_suffice_and_hold_what_can_matter(found):
    for answer in range(2):
        rank = found.node_rank.isel(answer=answer)
        fit = rank.sel(place=PLACES[: 4 + answer])
        assert sorted(fit.values.ravel()) == list(range(fit.size))
        assert rank.notnull().sum() == fit.size
        assert 0 <= int(found.circuit_nodes[answer]) <= fit.size


@slow
def test_what_comes_later_moves_nothing(found):
    late = found.logit_effect.isel(answer=0).sel(place="r0")
    assert (late == 0).all()
    assert (found.answer_distance.isel(answer=0).sel(changed_digit="r0") == 0).all()
    others = found.answer_distance.sel(changed_digit=["a0", "b0"])
    assert ((others > 0) & (others <= 1)).all()
    alone = found.answer_flips.sel(changed="result alone").isel(answer=0)
    assert (alone == 0).all()
    assert ((found.answer_flips >= 0) & (found.answer_flips <= 1)).all()


@slow
def test_the_embedding_tells_its_digit_and_nothing_else(found):
    at_first = found.probe_accuracy.isel(position=0)
    for label, place in (("a0", "a0"), ("b0", "b0")):
        here = at_first.sel(label=label)
        assert (here.sel(place_read=place) >= here).all()
        assert here.sel(place_read="=") < here.sel(place_read=place)


@slow
def test_a_witness_verifies(found, folder):
    outcome = arithmetic.verify_arithmetic(found)
    assert outcome.agrees
    assert outcome.worst < 0.01
    names = [str(name) for name in found if str(name).startswith("witness_")]
    assert len(names) == 4
    assert outcome.compared == sum(found[name].size for name in names)
    loaded = load_model(str(folder), device="cpu", tokenizer=False)
    assert arithmetic.verify_arithmetic(found, loaded).agrees


@slow
@pytest.mark.parametrize(
    ("name", "at"),
    [
        ("witness_log_probability", (1, 0, 3)),
        ("witness_log_likelihood", (2,)),
        ("witness_response", (3, 1, 1)),
    ],
)
@pytest.mark.parametrize("to", [1.01, np.nan])
def test_another_number_in_the_witness_is_seen(found, name, at, to):
    changed = found.copy(deep=True)
    changed[name][at] = changed[name][at] * to + 0.002
    outcome = arithmetic.verify_arithmetic(changed)
    assert not outcome.agrees
    assert outcome.worst > 1
    assert outcome.where["of"] == name
    assert tuple(value for dim, value in outcome.where.items() if dim != "of") == at


@slow
def test_other_problems_in_the_witness_are_refused(found):
    changed = found.copy(deep=True)
    changed.tokens[0, 0] = (changed.tokens[0, 0] + 1) % 10
    said = re.escape("tokens: not those of seed=0; the file was changed")
    with pytest.raises(ValueError, match=f"^{said}$"):
        arithmetic.verify_arithmetic(changed)
    other = found.copy(deep=True).assign_attrs(weights_sha256="0" * 64)
    with pytest.raises(ValueError, match=r"^weights_sha256=0{64}: [^\n]*$"):
        arithmetic.verify_arithmetic(other)


@slow
def test_what_is_there_is_not_measured_again(found, path, folder, monkeypatch):
    def measured(*_):
        raise AssertionError("it was there")

    monkeypatch.setattr(arithmetic, "study_arithmetic_into", measured)
    asked = replace(SMALL, device="auto")
    again = arithmetic.arithmetic_for(str(folder), asked, runs=path.parent)
    xr.testing.assert_identical(again, found)
    xr.testing.assert_identical(arithmetic.arithmetic_for(str(path)), found)
    with pytest.raises(AssertionError, match="it was there"):
        arithmetic.arithmetic_for(str(folder), replace(SMALL, seed=1), runs=path.parent)


@slow
def test_a_study_that_was_killed_goes_on(folder, tmp_path, monkeypatch):
    """Finished parts are read, of other settings measured again; they go once the file is there."""
    few = {name: study.PARTS[name] for name in ("accuracy", "likelihood", "witness")}
    measured, killed = [], ["witness"]

    def part(name):
        def measure(material):
            if name in killed:
                raise KeyboardInterrupt
            measured.append(name)
            return few[name](material)

        return measure

    monkeypatch.setattr(study, "PARTS", {name: part(name) for name in few})
    out = tmp_path / "a.nc"
    with pytest.raises(KeyboardInterrupt):
        arithmetic.study_arithmetic_into(out, str(folder), SMALL)
    assert not out.exists()
    killed.clear()
    whole = arithmetic.study_arithmetic_into(out, str(folder), SMALL)
    assert measured == ["accuracy", "likelihood", "witness"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.nc"]
    xr.testing.assert_identical(whole, load_results(out, kind="arithmetic"))
    kept = tmp_path / "parts"
    for seed in (0, 0, 1):
        arithmetic.study_arithmetic(str(folder), replace(SMALL, seed=seed), folder=kept)
    assert measured == 3 * list(few)


def test_a_bridge_is_studied_as_it_is(monkeypatch):
    """With what tells how it was trained given beside it."""
    few = {name: study.PARTS[name] for name in ("accuracy", "witness")}
    monkeypatch.setattr(study, "PARTS", few)
    trained = AdderSettings(digits=1, width=16, heads=2, inner=32)
    bridge = bridged(initial(trained).double())
    found = arithmetic.study_arithmetic(bridge, SMALL, trained)
    assert found.attrs["dtype"] == "float64"
    assert found.attrs["withheld"] == "nothing"
    assert found.accuracy.isnull().values.tolist() == [False, False, True]


def test_a_model_of_another_task_is_refused():
    said = re.escape("model: 101 tokens and a context of 64; one that adds here has 13")
    with pytest.raises(ValueError, match=f"^{said}"):
        arithmetic.study_arithmetic(tiny_model("llama"), SMALL, TRAINED)


def test_a_bridge_of_which_nothing_tells_how_it_was_trained_is_refused():
    said = r"^model=\S+: provenance\.json there does not tell of a training to add; [^\n]*$"
    with pytest.raises(ValueError, match=said):
        arithmetic.study_arithmetic(tiny_model("llama"), SMALL)


EVEN = "half are sums; use an even number >= 16"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"chosen_on": 14}, f"chosen_on=14: {EVEN}"),
        ({"means_of": 17}, f"means_of=17: {EVEN}"),
        ({"evaluated_on": 0}, f"evaluated_on=0: {EVEN}"),
        ({"probed_on": 1201}, f"probed_on=1201: {EVEN}"),
        ({"perturbed_on": 1}, "perturbed_on=1: errors need 2; use >= 2"),
        ({"likely_of": 1}, "likely_of=1: errors need 2; use >= 2"),
        ({"draws": 1}, "draws=1: errors need 2; use >= 2"),
        ({"faithful": 0.0}, "faithful=0: use 0 < faithful <= 1"),
        ({"faithful": 1.5}, "faithful=1.5: use 0 < faithful <= 1"),
        ({"seed": -1}, "seed=-1: use a seed >= 0"),
    ],
)
def test_other_settings_of_a_study_are_refused(asked, said):
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        ArithmeticSettings(**asked)


def test_a_number_type_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"^dtype=float8: [^\n]*$"):
        ArithmeticSettings(dtype="float8")
