"""The copy of GGUF weights as safetensors: the same bits, made once, whole or made again."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import transformers
from universal_response import models
from universal_response.models import conversion, loading
from universal_response.models.conversion import converted
from universal_response.models.weights import sha256_of

TEXT = "Hello  world!\n\n def f(x):\n\treturn x<|im_start|> äöü 漢字 <bos> 123456 🙂"


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A file whose conversions are counted, not done."""
    path = tmp_path / "weights.gguf"
    path.write_bytes(b"weights")
    calls = []

    def convert(source, folder):
        calls.append(source)
        time.sleep(0.1)  # the others come meanwhile
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(source.read_bytes() * 2)
        digests = {"model.safetensors": sha256_of([folder / "model.safetensors"])}
        (folder / "sha256.json").write_text(json.dumps(digests))

    monkeypatch.setattr(conversion, "_convert", convert)
    return path, calls


def folders_beside(path):
    return [each.name for each in path.parent.iterdir() if each.is_dir()]


def test_a_file_is_converted_once(file):
    path, calls = file
    first = converted(path)
    assert (first / "model.safetensors").read_bytes() == b"weightsweights"
    assert converted(path) == first
    assert len(calls) == 1
    assert folders_beside(path) == [first.name]


@pytest.mark.parametrize("damage", ["flipped", "cut", "missing", "no digests", "bad digests"])
def test_what_is_damaged_is_converted_again(file, damage):
    path, calls = file
    weights = converted(path) / "model.safetensors"
    if damage == "missing":
        weights.unlink()
    elif damage == "no digests":
        (weights.parent / "sha256.json").unlink()
    elif damage == "bad digests":
        (weights.parent / "sha256.json").write_text('{"model.safe')
    else:
        weights.write_bytes({"flipped": b"weightsweighte", "cut": b"weights"}[damage])
    assert converted(path) == weights.parent
    assert weights.read_bytes() == b"weightsweights"
    assert len(calls) == 2


def test_other_versions_convert_again_and_leave_nothing(file, monkeypatch):
    path, calls = file
    first = converted(path)
    monkeypatch.setattr(conversion.importlib.metadata, "version", lambda name: "99")
    second = converted(path)
    assert second != first
    assert folders_beside(path) == [second.name]
    assert len(calls) == 2


def test_what_a_killed_conversion_left_is_removed(file):
    path, _ = file
    (path.parent / "converting").mkdir()
    (path.parent / "converting" / "model.safetensors").write_bytes(b"half")
    assert folders_beside(path) == ["converting"]
    copy = converted(path)
    assert folders_beside(path) == [copy.name]
    assert (copy / "model.safetensors").read_bytes() == b"weightsweights"


def test_a_failed_conversion_leaves_nothing(file, monkeypatch):
    path, _ = file

    def fail(source, folder):
        folder.mkdir()
        raise OSError("no space left")

    monkeypatch.setattr(conversion, "_convert", fail)
    with pytest.raises(OSError, match="no space left"):
        converted(path)
    assert folders_beside(path) == []


def test_two_at_once_convert_once(file):
    path, calls = file
    with ThreadPoolExecutor(4) as pool:
        assert len({*pool.map(converted, [path] * 4)}) == 1
    assert len(calls) == 1


@pytest.mark.weights
def test_bits_and_tokens_are_those_of_the_file():
    file = models.fetch_weights("smollm2-135m")
    named = {"gguf_file": file.name}
    copy = converted(file)
    load = transformers.AutoModelForCausalLM.from_pretrained
    expected, found = load(file.parent, dtype="float32", **named), load(copy, dtype="float32")
    for kind in ("named_parameters", "named_buffers"):
        theirs, ours = dict(getattr(expected, kind)()), dict(getattr(found, kind)())
        assert theirs.keys() == ours.keys()
        assert all(torch.equal(theirs[name], ours[name]) for name in theirs)
    unlike = {"_name_or_path", "architectures"}
    theirs, ours = (
        {name: value for name, value in each.config.to_dict().items() if name not in unlike}
        for each in (expected, found)
    )
    assert theirs == ours
    tokenizer = transformers.AutoTokenizer.from_pretrained(file.parent, **named)
    assert models.load_tokenizer("smollm2-135m")(TEXT) == tokenizer(TEXT)


@pytest.mark.weights
def test_registered_models_are_loaded_from_their_copy(monkeypatch):
    converted(models.fetch_weights("smollm2-135m"))
    monkeypatch.setattr(conversion, "_convert", pytest.fail)
    found = loading.load_model("smollm2-135m", tokenizer=False)
    assert found.provenance.weights_sha256 == models.REGISTRY["smollm2-135m"].sha256
    assert found.provenance.quantisation == "Q4_1"
