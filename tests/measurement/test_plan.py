"""What a plan counts, against what the engine really does; and that it needs no network."""

import json
import math
import socket
import sys
import weakref
from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from messages import one_line
from tiny_models import ARCHITECTURES, CONTEXT, random_tokens, tiny_hf_model, tiny_model
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
from universal_response import (
    Settings,
    cli,
    inner_products,
    linear_inner_products,
    measure,
    measurement,
    models,
    plan,
)
from universal_response.measurement.memory import CHUNK_BYTES
from universal_response.measurement.plan.size import size_with
from universal_response.measurement.settings import sources_of
from universal_response.models import weights
from universal_response.models.conversion import converted
from universal_response.propagation import products

EPSILONS = (0.01, 0.05, 0.3)
FINITE = Settings(t0=7, batch=2, epsilons=EPSILONS, linear=False)
LINEAR = replace(FINITE, linear=True)
PARAMETERS = {
    "smollm2-135m": 134_515_008,
    "gemma-3-270m": 268_098_176,
    "gemma-2-2b": 2_614_341_888,
    "llama-3.2-3b": 3_212_749_824,
    "gpt2-xl": 1_557_611_200,
    "gpt2-induction": 628_480,
    # Tokens and unembedding; two blocks of attention, an MLP with a gate and two norms; a norm.
    **dict.fromkeys(
        (name for name in models.REGISTRY if name.startswith("adder-")),
        2 * 13 * 64 + 2 * (4 * 64**2 + 3 * 64 * 256 + 2 * 64) + 64,
    ),
}


PLAN = sys.modules[plan.plan.__module__]  # its name is that of the function


@pytest.fixture
def no_network(monkeypatch):
    """Whatever would fetch something fails."""

    def refuse(*_, **__):
        pytest.fail("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(weights.subprocess, "run", refuse)
    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)


@pytest.fixture
def rate(monkeypatch):
    """A device of 100 GFLOP/s, so that nothing is timed."""
    monkeypatch.setattr(PLAN, "matrix_product_rate", lambda *_: 1e11)


def write_config(architecture, folder):
    """Nothing of a tiny model but its configuration."""
    tiny_model(architecture).original_model.config.save_pretrained(folder)
    assert [path.name for path in folder.iterdir()] == ["config.json"]


@pytest.fixture(scope="module")
def tiny_size(tmp_path_factory):
    """Size of a tiny model, known from its configuration."""

    @cache
    def size(architecture):
        folder = tmp_path_factory.mktemp(architecture)
        write_config(architecture, folder)
        return plan.size_of(str(folder))

    return size


@pytest.fixture
def counted_kernels(monkeypatch):
    """PyTorch's counter does not know products by oneDNN."""
    monkeypatch.setattr(products, "_available", lambda: False)


# operations --------------------------------------------------------------------------------------


def clean_pass(size):
    """What a plan neglects: the clean pass, and the clean pattern, made anew in the only other."""
    t, batch = 2 * FINITE.t0, FINITE.batch
    pattern = plan.flops_per_token(0, size.layers, 32, t)
    return (plan.flops_per_token(size.block_weights, size.layers, 32, t) + pattern) * batch * t


@pytest.mark.usefixtures("counted_kernels")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_flops_are_those_the_engine_does(architecture, tiny_size):
    size, model = tiny_size(architecture), tiny_model(architecture)
    tokens = random_tokens(FINITE.batch, 2 * FINITE.t0)
    with FlopCounterMode(display=False) as counter:
        inner_products(tokens, model, EPSILONS)
    counted, less = plan.flops(size, FINITE), clean_pass(size)
    assert counter.get_total_flops() - less == pytest.approx(counted, rel=0.01)
    assert less < 0.05 * counted


@pytest.mark.usefixtures("counted_kernels")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_linear_limit_costs_as_much_as_one_strength(architecture, tiny_size):
    size, model = tiny_size(architecture), tiny_model(architecture)
    tokens = random_tokens(FINITE.batch, 2 * FINITE.t0)
    with FlopCounterMode(display=False) as counter:
        linear_inner_products(tokens, model)
    counted, less = plan.flops(size, LINEAR) - plan.flops(size, FINITE), clean_pass(size)
    assert counter.get_total_flops() - less == pytest.approx(counted, rel=0.01)


def test_flops_of_one_token_by_hand():
    """One block of width 4 with an MLP of 16 and two heads of 2, three keys."""
    weights = 4 * 4 * 4 + 2 * 4 * 16
    assert plan.flops_per_token(weights, 1, 4, 3) == 2 * weights + 2 * (2 * 4 * 3)


@pytest.mark.parametrize("sources", [None, 3])
def test_token_passes_are_those_the_progress_bar_counts(sources):
    settings = replace(LINEAR, t0=5, sources=sources)
    model, tokens, done = tiny_model("llama"), random_tokens(settings.batch, 10), []
    drawn = None if sources is None else torch.from_numpy(sources_of(settings))
    asked = {"sources": drawn, "progress": done.append}
    inner_products(tokens, model, settings.epsilons, **asked)
    linear_inner_products(tokens, model, **asked)
    assert plan.token_passes(settings) == sum(done)
    if sources is None:
        assert sum(done) == 2 * 4 * 55
    else:
        assert 0 < sum(done) < 2 * 4 * 55 / 2


def test_given_tokens_are_counted_as_they_are():
    given = Settings.for_tokens(np.zeros((3, 7), int), epsilons=EPSILONS)
    assert plan.token_passes(given) == 3 * (3 + 1) * 7 * 8 // 2


# fewer sources -----------------------------------------------------------------------------------


def test_a_sample_has_the_same_standard_error():
    """By simulation: what the pairs of a sequence share has a part ALIKE of the variance."""
    settings = Settings(t0=64, batch=32)
    sample = plan.equivalent_sample(settings)
    assert sample.sources == 8
    generator = np.random.default_rng(0)

    def variance(batch, pairs):
        shared = generator.normal(size=(4000, batch, 1)) * plan.ALIKE**0.5
        own = generator.normal(size=(4000, batch, pairs)) * (1 - plan.ALIKE) ** 0.5
        return (shared + own).mean((1, 2)).var()

    of_all, of_sample = variance(32, 65), variance(sample.batch, 4)
    assert of_sample == pytest.approx(of_all, rel=0.1)


def test_a_sample_costs_what_its_passes_cost():
    settings = Settings(t0=8, batch=5, epsilons=(0.05, 0.1))
    sample = plan.equivalent_sample(settings, sources=4)
    passed = []
    for batch, sources in ((settings.batch, None), (sample.batch, 4)):
        asked = replace(settings, batch=batch, sources=sources)
        drawn = torch.from_numpy(sources_of(asked))
        tokens = random_tokens(batch, 16)
        done = [tokens.numel()]
        for epsilons in ((0.05, 0.1), None):
            run = linear_inner_products if epsilons is None else inner_products
            args = () if epsilons is None else (epsilons,)
            run(tokens, tiny_model("llama"), *args, sources=drawn, progress=done.append)
        passed.append(sum(done))
    assert sample.cost == pytest.approx(passed[1] / passed[0], rel=0.05)


def test_prices_by_hand():
    settings = Settings(t0=64, batch=2, epsilons=(0.05, 0.1), linear=True)
    found, size = plan.prices("smollm2-135m", settings), plan.size_of("smollm2-135m")
    sample = plan.equivalent_sample(settings)
    assert found.sequences.tolist() == [2, 2, sample.batch]
    assert found.sources.tolist() == [128, 128, 8]
    assert found["token-passes"].tolist()[:2] == [3 * 2 * 128 * 128, 3 * 2 * 128 * 129 // 2]
    per_token = 2 * size.block_weights + 4 * 30 * 576 * 128
    assert found.FLOPs[0] == 3 * 2 * 128 * 128 * per_token
    clean = 2 * 128 * per_token
    assert found.FLOPs[1] == plan.flops(size, settings) + clean
    assert found.part[0] == 1
    assert 0.5 < found.part[1] < 0.65
    # Clean passes weigh more where there are few strengths.
    assert sample.cost * found.part[1] == pytest.approx(found.part[2], rel=0.05)


def test_pairs_that_are_not_alike_leave_nothing_to_save():
    settings = Settings(t0=64, batch=32)
    some, none = (plan.equivalent_sample(settings, alike=alike) for alike in (0.01, 0.0))
    assert plan.equivalent_sample(settings).cost < some.cost < 1
    assert none is None
    assert len(plan.prices("smollm2-135m", settings, alike=0.0)) == 2


@pytest.mark.parametrize(
    "settings",
    [
        Settings(sources=8),
        Settings(t0=4),
        Settings.for_tokens(np.zeros((3, 40), int), t0=20),
        Settings(t0=64, batch=1, epsilons=(), sources=9),
    ],
    ids=["sampled already", "short", "given", "no gain"],
)
def test_where_a_sample_saves_nothing_none_is_proposed(settings):
    assert plan.equivalent_sample(settings) is None


# sizes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", models.REGISTRY)
def test_parameters_of_registered_models(name, no_network):
    assert plan.size_of(name).parameters == PARAMETERS[name]


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("gpt2-xl", 48 * 12 * 1600**2),
        ("llama-3.2-3b", 28 * (2 * 3072**2 + 2 * 3072 * 1024 + 3 * 3072 * 8192)),
        ("gemma-2-2b", 26 * (2 * 2304 * 2048 + 2 * 2304 * 1024 + 3 * 2304 * 9216)),
    ],
)
def test_weights_in_the_blocks_by_hand(name, weights):
    assert plan.size_of(name).block_weights == weights


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_size_is_that_of_the_loaded_model(architecture, tiny_size):
    size, cfg = tiny_size(architecture), tiny_model(architecture).cfg
    heads = cfg.n_heads, cfg.n_key_value_heads or cfg.n_heads, cfg.d_head
    assert (size.heads, size.key_value_heads, size.head_dim) == heads
    of_cfg = cfg.n_layers, cfg.d_model, cfg.d_mlp, cfg.n_ctx
    assert (size.layers, size.width, size.mlp_width, size.context) == of_cfg
    parameters = tiny_hf_model(architecture).parameters()
    assert size.parameters == sum(weight.numel() for weight in parameters)


@pytest.mark.weights
@pytest.mark.parametrize("name", ["smollm2-135m", "gemma-3-270m"])
def test_registered_architecture_is_that_of_the_data_file(name):
    file = models.cache_folder() / name / models.REGISTRY[name].file
    if name == "smollm2-135m":
        file = models.fetch_weights(name)
    elif not file.exists():
        pytest.skip(f"{file.name} is not on this machine")
    # Of its copy, which is that of the file bit for bit: to read the file takes half a minute.
    config = models.config_of(str(converted(file)))
    found = config.to_dict()
    registered = models.REGISTRY[name].config
    assert {key: found[key] for key in registered if key != "architectures"} == {
        key: value for key, value in registered.items() if key != "architectures"
    }
    assert size_with(str(file.parent), config) == plan.size_of(name)


# memory ------------------------------------------------------------------------------------------


class LiveMemory(TorchDispatchMode):
    """Counts the bytes of tensors that are alive, from the first operation on."""

    def __init__(self, model):
        super().__init__()
        weights = (weight.untyped_storage() for weight in model.original_model.parameters())
        self.known = {storage._cdata for storage in weights}
        self.now = self.peak = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor) and tensor.is_mkldnn:  # it hides its storage
                self.add(tensor, id(tensor), tensor.numel() * tensor.element_size())
            elif isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                self.add(storage, storage._cdata, storage.nbytes())
        return out

    def add(self, holder, key, size):
        if key not in self.known:
            self.known.add(key)
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(holder, self.remove, key, size)

    def remove(self, key, size):
        self.known.remove(key)
        self.now -= size


@pytest.mark.parametrize("linear", [True, False])
@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt2", "gpt_neox"])
def test_memory_is_a_fair_upper_estimate(architecture, linear, tiny_size):
    size, model = tiny_size(architecture), tiny_model(architecture)
    # One strength, so that the linear limit decides, or many, so that the metrics do.
    epsilons = (0.05,) if linear else tuple(0.01 * n for n in range(1, 21))
    settings = replace(FINITE, epsilons=epsilons, linear=linear)
    with LiveMemory(model) as memory:
        measure(model, settings)
    assert memory.peak < plan.working_bytes(size, settings, "cpu") < 4 * memory.peak


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_memory_does_not_grow_with_strengths_or_batch(architecture, tiny_size):
    size = tiny_size(architecture)
    few = replace(FINITE, t0=CONTEXT // 2, batch=4, epsilons=tuple(np.linspace(0.05, 1, 900)))
    many = replace(few, batch=64, epsilons=tuple(np.linspace(0.05, 1, 3000)))
    found = plan.working_bytes(size, few, "cpu")
    assert found == plan.working_bytes(size, many, "cpu")
    assert 0.9 * CHUNK_BYTES["cpu"] < found < 1.5 * CHUNK_BYTES["cpu"]
    larger = replace(few, sequences_per_chunk=4, epsilons=(0.05,))
    assert plan.working_bytes(size, larger, "cpu") > plan.working_bytes(
        size, replace(larger, sequences_per_chunk=1), "cpu"
    )


def test_memory_that_does_not_suffice_is_told(rate, monkeypatch):
    monkeypatch.setattr(PLAN, "free_bytes", lambda _: 10**10)
    assert plan.plan("gpt2-xl", Settings(device="cpu")).warning == ""
    found = plan.plan("gemma-2-2b", Settings(device="cpu")).warning
    assert "10.00 GB free on cpu" in found
    assert len(found.splitlines()) == 1


# time --------------------------------------------------------------------------------------------


def test_time_is_operations_over_speed(rate):
    found = plan.plan("smollm2-135m", replace(FINITE, device="cpu"))
    assert found.flops == plan.flops(plan.size_of("smollm2-135m"), FINITE)
    low, high = plan.MEASURED_FRACTION
    assert found.seconds == (found.flops / (1e11 * high), found.flops / (1e11 * low))
    assert "measured" in found.fraction_known


def test_an_assumed_fraction_is_said_to_be_assumed(rate):
    found = plan.plan("smollm2-135m", replace(FINITE, device="cpu", dtype="float64"))
    assert found.fraction == plan.ASSUMED_FRACTION
    known = {what: how for what, _, how in plan.rows(found)}
    assert "assumed" in known["fraction of that rate"]
    assert "assumed" in known["expected time"]
    assert found.weights_bytes == 8 * found.parameters


@pytest.mark.parametrize(("seconds_of_large", "edge"), [(0.1, 2048), (100.0, 256)])
def test_rate_is_operations_over_median_time(monkeypatch, seconds_of_large, edge):
    """A device whose products take a time proportional to the cube of the edge."""
    timed = []

    class Timer:
        def __init__(self, statement, globals, num_threads):
            assert statement == "a @ b"
            assert num_threads == torch.get_num_threads()
            assert {factor.dtype for factor in globals.values()} == {torch.bfloat16}
            timed.append(len(globals["a"]))
            self.took = SimpleNamespace(median=seconds_of_large * (timed[-1] / 2048) ** 3)

        def timeit(self, number):
            return self.took

        def blocked_autorange(self, min_run_time):
            return self.took

    monkeypatch.setattr("universal_response.measurement.plan.speed.Timer", Timer)
    found = plan.matrix_product_rate(torch.device("cpu"), "bfloat16")
    assert found == pytest.approx(2 * 2048**3 / seconds_of_large)
    assert timed[-1] == edge


def test_rate_of_this_machine():
    assert 1e8 < plan.matrix_product_rate(torch.device("cpu"), "float32") < 1e15


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.2, "below 1 s"),
        (89.0, "89 s"),
        (90.0, "1.5 min"),
        (600.0, "10 min"),
        (5399.0, "90 min"),
        (7300.0, "2.0 h"),
        (3e6, "35 days"),
    ],
)
def test_durations(seconds, said):
    assert measurement.in_time(seconds) == said


# what is refused ---------------------------------------------------------------------------------


def test_sequences_longer_than_the_context(rate):
    with pytest.raises(ValueError, match=one_line("t0=600: [^\n]*1024")):
        plan.plan("gpt2-xl", Settings(t0=600, device="cpu"))
    given = Settings.for_tokens(np.zeros((1, 1025), int), device="cpu")
    with pytest.raises(ValueError, match=one_line("tokens: [^\n]*1024")):
        plan.plan("gpt2-xl", given)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (None, "config.json"),
        ({"model_type": "foreign", "auto_map": {"AutoConfig": "code.Config"}}, "cannot be read"),
        (transformers.T5Config().to_dict(), "decoder-only"),
    ],
    ids=["none", "foreign code", "encoder and decoder"],
)
def test_folder_that_is_no_model(tmp_path, config, said):
    if config:
        (tmp_path / "config.json").write_text(json.dumps(config))
        (tmp_path / "code.py").write_text("raise SystemExit('code from the repository was run')")
    with pytest.raises(ValueError, match=one_line(f"model={tmp_path}: [^\n]*{said}")):
        plan.size_of(str(tmp_path))


def test_hub_that_cannot_be_reached(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(models.WeightsUnavailable, match=one_line("model=nobody/nothing: ")):
        plan.size_of("nobody/nothing")


# command line ------------------------------------------------------------------------------------


def run(monkeypatch, capsys, *arguments):
    """Exit code, stdout and stderr of `universal-response plan` with these arguments."""
    monkeypatch.setattr(sys, "argv", ["universal-response", "plan", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    captured = capsys.readouterr()
    return stopped.value.code, captured.out, captured.err


OF_TEXT = [name for name, model in models.REGISTRY.items() if model.task == "text"]


@pytest.mark.parametrize("name", OF_TEXT)
def test_plan_of_registered_models(name, monkeypatch, capsys, no_network, rate):
    model = models.REGISTRY[name]
    monkeypatch.setenv("UNIVERSAL_RESPONSE_CACHE", "/no/such/folder")
    monkeypatch.setattr(PLAN, "free_bytes", lambda _: 10**12)
    code, out, err = run(monkeypatch, capsys, "--model", name, "--device", "cpu")
    assert (code, err) == (0, "")
    first, access, *table = out.splitlines()
    assert model.title in first
    assert model.licence in first
    assert access.startswith("gated" if model.gated and not model.wheels else "open")
    if model.shipped:
        assert access == "open: shipped with the library"
    else:
        assert model.wheels or f"https://huggingface.co/{model.hub_id}" in access
    table = {line.split("  ")[0]: line for line in table}
    assert f"{PARAMETERS[name]:,}" in table["parameters"]
    download = float(table["download"].split()[1]) * (1e3 if " GB" in table["download"] else 1)
    assert math.isclose(download, model.download_mb, rel_tol=1e-3)
    assert f"{14 * 32 * 128 * 129 // 2:,}" in table["token-passes"]
    assert "100 GFLOP/s" in table["matrix-product rate"]
    assert ("shipped" if model.shipped else "published") in table["download"]
    assert "counted" in table["FLOPs"]
    assert "measured" in table["fraction of that rate"]
    assert "warning" not in out


def test_plan_warns_of_memory(monkeypatch, capsys, rate):
    monkeypatch.setattr(PLAN, "free_bytes", lambda _: 10**9)
    code, out, _ = run(monkeypatch, capsys, "--model", "gpt2-xl", "--device", "cpu")
    assert code == 0
    assert out.splitlines()[-1].startswith("warning: memory")


def test_plan_of_a_folder(monkeypatch, capsys, rate, tmp_path, no_network):
    write_config("qwen2", tmp_path)
    code, out, err = run(monkeypatch, capsys, "--model", tmp_path, "--t0", 4, "--device", "cpu")
    assert (code, err) == (0, "")
    assert "on this machine" in out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--model", "gpt-5"], "model"),
        (["--model", "./no/such/folder"], "model"),
        (["--t0", "100000"], "t0"),
        (["--epsilons", "small"], "epsilons"),
        (["--device", "toaster"], "device"),
        (["--dtype", "int8"], "dtype"),
    ],
)
def test_bad_input_is_named_in_one_line(monkeypatch, capsys, no_network, rate, arguments, named):
    code, out, err = run(monkeypatch, capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {named}")
    assert len(err.strip().splitlines()) == 1
