"""The benchmark compares only what agrees, counts what it says, and writes what it measured."""

import gc
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from tiny_models import ARCHITECTURES, bridged, random_tokens, tiny_hf_model, tiny_model
from universal_response import Settings, plan
from universal_response.propagation import products, rows, suffixes

from benchmarks import contenders, report
from benchmarks.choices import choices
from benchmarks.compare import Disagreement, compare
from benchmarks.contenders import CONTENDERS, Case
from benchmarks.growth import _truncated
from benchmarks.models import with_random_weights
from benchmarks.profile import PARTS, shares
from benchmarks.roofline import Product, Roofline, faster, roofline
from benchmarks.sampling import _alike, sampling
from benchmarks.timing import PeakMemory, interleaved

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def short_measurements_of_the_rate(monkeypatch):
    """And of the garbage: it is looked for before every run, which is shorter than that."""
    monkeypatch.setattr("benchmarks.compare.RATE_SECONDS", 0.001)
    gc.freeze()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_all_contenders_agree(architecture):
    pytest.importorskip("nnsight")
    # One of its own: nnsight wraps it.
    case = Case(bridged(tiny_hf_model(architecture)), random_tokens(2, 8), (0.03, 0.1))
    found = compare(case, 1)
    assert set(found.timings) == set(CONTENDERS)
    assert set(found.worst) == {"batched", "nnsight", "engine"}
    assert max(found.worst.values()) <= 1
    assert found.linear_passes == pytest.approx(2 * found.ratio("linear"))
    assert len(found.rates) == len(CONTENDERS) + 1
    shortest = found.limit.flops_per_token * 2 * 2 * 8 * 9 / 2 / np.median(found.rates)
    assert found.reached_of_median == pytest.approx(shortest / found.timings["engine"].median)


def test_disagreement_is_refused(monkeypatch):
    def wrong(case):
        return 1.001 * contenders.batched(case)

    monkeypatch.setitem(contenders.CONTENDERS, "batched", wrong)
    case = Case(tiny_model("llama"), random_tokens(1, 8), (0.1,))
    with pytest.raises(Disagreement, match=r"\Abatched: differs from plain[^\n]*\Z"):
        compare(case, 1, ("plain", "batched"))


def test_operations_are_those_of_the_plan(tmp_path):
    for architecture in ARCHITECTURES:
        tiny_model(architecture).original_model.config.save_pretrained(tmp_path / architecture)
        size = plan.size_of(str(tmp_path / architecture))
        found = roofline(tiny_model(architecture), 10, min_run_time=0.001)
        per_token = plan.flops_per_token(
            size.block_weights, size.layers, size.heads * size.head_dim, 10
        )
        assert found.flops_per_token == per_token
        assert found.seconds(2, 10, 3) == pytest.approx(330 * per_token / found.rate)
        assert min(p.rate for p in found.products) <= found.rate
        assert found.rate <= max(p.rate for p in found.products)


def test_the_limit_takes_the_higher_rate_of_every_product():
    one = Roofline((Product(2, 3, 1, 10.0), Product(3, 2, 1, 5.0)), 24)
    other = Roofline((Product(2, 3, 1, 8.0), Product(3, 2, 1, 20.0)), 24)
    assert [product.rate for product in faster(one, other).products] == [10.0, 20.0]
    assert faster(one, other).seconds(1, 1, 1) == pytest.approx(12 / 10 + 12 / 20)


def test_repetitions_are_interleaved():
    order = []
    ways = {name: (lambda name=name: order.append(name)) for name in "abc"}
    timings, _ = interleaved(ways, 2, CPU, before=lambda: order.append("-"))
    assert "".join(order) == "-a-b-c-a-b-c"
    assert all(len(timing.seconds) == 2 for timing in timings.values())


def test_peak_memory_sees_what_is_allocated():
    with PeakMemory(CPU) as peak:
        held = torch.ones(1 << 26)  # 256 MiB, written
        for _ in range(5):
            held.add_(1)
        del held
    assert 2.5e8 < peak.bytes < 4e8


def test_report_holds_what_was_measured(tmp_path):
    case = Case(tiny_model("gpt2"), random_tokens(1, 8), (0.1,))
    found = compare(case, 2, ("plain", "linear"))
    result = report.header(CPU, model="tiny") | report.as_json(found)
    path = report.write(tmp_path, "compare-tiny", result, report.table(result))
    read = json.loads(path.read_text())
    assert read["contenders"]["plain"]["median_s"] == round(found.timings["plain"].median, 3)
    assert read["contenders"]["engine"]["times_engine"] == 1
    assert len(read["contenders"]["plain"]["seconds"]) == 2
    assert read["machine"]["cores"] >= 1
    assert {"torch", "transformers", "nnsight"} <= set(read["versions"])
    text = path.with_suffix(".md").read_text()
    for name in ("plain", "engine", "linear", "limit", "commit"):
        assert name in text


def test_random_weights_have_the_layers_asked_for():
    config = tiny_model("gemma2").original_model.config
    model = with_random_weights(_truncated(config, 5), CPU, "float32")
    assert model.cfg.n_layers == 5
    assert len(model.original_model.config.layer_types) == 5


def test_shares_are_of_the_whole():
    found = shares(Case(tiny_model("llama"), random_tokens(2, 12), (0.1,)))
    assert set(found) == {*PARTS, "other"}
    assert sum(found.values()) == pytest.approx(1)
    for part in ("products with weights", "attention", "rules of functions"):
        assert found[part] > 0


@pytest.mark.parametrize("compiled", [False, True])
def test_choices_are_timed(monkeypatch, compiled):
    """To compile rules takes longer than all else here; where there is no compiler, none are."""
    compiled = compiled and rows.can_compile()
    monkeypatch.setattr(rows, "can_compile", lambda: compiled)
    found = choices(Case(tiny_model("llama"), random_tokens(2, 8), (0.1,)), 2)
    assert {"one source a pass", "products by PyTorch's choice", "512 tokens a pass"} <= set(found)
    assert ("weights laid out beforehand" in found) == products._available()
    assert ("rules compiled" in found) == compiled
    assert found["engine"]["times_engine"] == 1
    for row in found.values():
        assert len(row["seconds"]) == 2


def test_a_choice_with_other_results_is_refused(monkeypatch):
    def wrong(sources, *others):
        return list(suffixes.packings(sources, *others[:3], mixed=False))[1:]

    monkeypatch.setattr("benchmarks.choices._unmixed", wrong)
    monkeypatch.setattr(rows, "can_compile", lambda: False)
    with pytest.raises(Disagreement, match="one source a pass: differs"):
        choices(Case(tiny_model("llama"), random_tokens(1, 8), (0.1,)), 1)


@pytest.mark.parametrize("model", ["smollm2-135m", "gemma-3-270m"])
def test_readme_states_the_committed_ratios(model):
    stem = f"compare-{model}-t64-b2-e2-cpu"
    read = json.loads((ROOT / "benchmarks" / "results" / f"{stem}.json").read_text())
    ratio = read["contenders"]["plain"]["times_engine"]
    assert re.search(rf"\b{ratio:.1f} times\b", (ROOT / "README.md").read_text().replace("\n", " "))


def test_a_sample_is_measured_beside_all_sources():
    settings = Settings(t0=16, batch=6, epsilons=())
    found = sampling(tiny_model("llama"), settings)
    sample = plan.equivalent_sample(settings)
    assert found["a sample"]["sequences"] == sample.batch
    assert found["a sample"]["sources"] == 8
    passes = [found[name]["token_passes"] for name in ("a sample", "all sources")]
    assert passes[0] / passes[1] == pytest.approx(sample.cost)
    for name in ("a sample", "all sources"):
        for kind in ("arithmetic", "geometric"):
            errors = found[name]["relative_errors"][kind]
            assert list(errors) == ["15", "16", "8"]
            assert all(0 < error < 1 for error in errors.values())


def test_how_alike_pairs_are():
    """By a known correlation; logarithms of numbers that share a factor."""
    generator = np.random.default_rng(0)
    shared, own = generator.normal(size=(2000, 1)), generator.normal(size=(2000, 6))
    values = np.exp(0.3**0.5 * shared + 0.7**0.5 * own)
    dims = ("metric", "sequence", "draw", "pair_distance")
    dataset = xr.Dataset(
        {"pairs": (dims, values[None, ..., None])}, {"metric": ["delta"], "pair_distance": [7]}
    )
    assert _alike(dataset)["logarithm"]["7"] == pytest.approx(0.3, abs=0.03)
