"""The study of heads, on a circuit set by hand whose answer is known."""

import copy
import dataclasses

import hand_wired
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from tiny_models import tiny_model
from universal_response import figures, heads, load_results, save_results
from universal_response.heads import CLASSES, summaries
from universal_response.heads.study import study
from universal_response.measurement import recorded

pytestmark = pytest.mark.slow

SMALL = heads.HeadSettings(
    t0=16, chosen_on=4, means_of=4, evaluated_on=4, mapped_on=2, patched_on=2, perturbed_on=2,
    sources=2, draws=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def wired():
    return hand_wired.llama_through_keys()


@pytest.fixture(scope="module")
def found(wired):
    return heads.study_heads(wired.bridge, SMALL)


@pytest.fixture(scope="module")
def exact(wired):
    """In float64, where sums are not off by what rounding leaves of each part."""
    return heads.study_heads(copy.deepcopy(wired.bridge).double(), SMALL)


def at(head):
    return dict(zip(("layer", "head"), head, strict=True))


def test_heads_are_called_by_their_roles(found, wired):
    names = {"induction": "induction", "previous": "previous_token", "duplicate": "duplicate_token"}
    for head, role in wired.roles.items():
        assert found.head_class.isel(at(head)).item() == names.get(role, ""), head


def test_nulls_have_no_induction_head(found):
    score = found.attention_score.sel(score="induction")
    assert score.sel(input="unrepeated").max() < 0.1
    assert score.sel(input="shuffled weights").max() < 0.2


def test_a_gap_is_no_hindrance(found, wired):
    gapped = found.prefix_matching_gapped
    assert gapped.isel(at(wired.receiver)) > 0.9
    assert gapped.where(gapped < gapped.max()).max() < 0.1


def test_the_edge_to_keys_is_the_one_that_matters(found, wired):
    (receiver,) = found.receiver.values
    assert receiver == "{}.{}".format(*wired.receiver)
    for name, lost, small in (("edge_effect", -8, 1), ("edge_score", -0.5, 0.05)):
        effect = found[name].sel(receiver=receiver)
        keys = effect.sel(through="keys").isel(at(wired.sender))
        assert keys < lost
        assert abs(effect.sel(through="queries").isel(at(wired.sender))) < 0.1 * small
        others = effect.sel(through="keys").where(effect.sel(through="keys") > keys)
        assert abs(others).max() < small
    for name in ("k_composition", "key_score"):
        one = found[name].sel(receiver=receiver)
        assert divmod(int(one.fillna(-1).argmax()), one.sizes["head"]) == wired.sender


def test_both_heads_are_needed_and_one_acts_directly(found, wired):
    total, direct = (found[name] for name in ("ablation_effect", "direct_effect"))
    for head in (wired.sender, wired.receiver):
        assert total.isel(at(head)) < -8
    np.testing.assert_allclose(
        direct.isel(at(wired.receiver)), total.isel(at(wired.receiver)), atol=0.3
    )
    assert abs(direct.isel(at(wired.sender))) < 2


def test_the_induction_head_carries_the_response(found, wired):
    share = found.share.sel(compared=SMALL.t0 - 1).isel(position=-1)
    assert (abs(share.isel(at(wired.receiver)) - 1) < 0.05).all()
    parts = found.share_by_part.sel(compared=SMALL.t0 - 1, strength="limit").isel(
        at(wired.receiver)
    )
    assert parts.sel(part="both") == 0
    np.testing.assert_allclose(
        parts.sum("part"), share.sel(strength="limit").isel(at(wired.receiver)), atol=1e-5
    )


def test_shares_are_one(exact):
    """To what is left when a dozen shares are stored in float32."""
    assert exact.attrs["dtype"] == "float64"
    total = exact.share.sum(("layer", "head")) + exact.share_mlps.sum("layer")
    np.testing.assert_allclose(total.isel(position=slice(1, None)), 1, atol=1e-6)
    of_groups = summaries.shares_of_classes(exact)["mean"].sum("group")
    np.testing.assert_allclose(of_groups.isel(position=slice(1, None)), 1, atol=1e-6)


def test_what_heads_carry_is_the_response(found):
    """At the last position, for every distance."""
    total = found.carried_last.sum(("layer", "head", "part")) + found.carried_last_mlps.sum("layer")
    np.testing.assert_allclose(total, found.response.isel(position=-1), rtol=1e-5)


def test_edited_models_lose_the_peak(found, wired):
    change = summaries.edited_change(found)["mean"].sel(strength="limit")
    sender = "{}.{}".format(*wired.sender)
    for condition in (
        "induction ablated",
        "previous_token ablated",
        f"{sender} to keys of layer 1",
    ):
        assert change.sel(condition=condition) < -1.5
    for condition in (
        "none",
        "duplicate_token ablated",
        f"{sender} to queries of layer 1",
        summaries.RANDOM,
    ):
        assert abs(change.sel(condition=condition)) < 0.05
    lead = summaries.edited_lead(found)["mean"].sel(strength="limit")
    assert lead.sel(condition="none") > 0.5
    assert lead.sel(condition="induction ablated") < 0


def test_nothing_steps_in_for_the_only_induction_head(found, wired):
    """It stops to write what it wrote; the others go on as before."""
    gain = found.backup_gain.sel(ablated_layer=1)
    at = dict(zip(("layer", "head"), wired.receiver, strict=True))
    attribution = float(found.attribution.isel(at))
    assert float(gain.isel(at)) < -0.9 * attribution
    others = gain.where(found.head_class != "induction")
    assert float(abs(others).max()) < 0.01 * attribution


def test_edits_are_tabled_as_they_were_measured(found):
    table, t0 = summaries.table_of_edits(found), SMALL.t0
    logs = found.edited_log_response / np.log(10)
    ablated, whole = (
        logs.sel(condition=name, strength="limit") for name in ("induction ablated", "none")
    )
    fall = float((ablated - whole).sel(distance=t0 - 1).mean())
    assert table.loc["induction ablated", "limit"] == pytest.approx(fall, rel=1e-5)
    lead = float((whole.sel(distance=t0 - 1) - whole.sel(distance=t0)).mean())
    assert table.loc["none", "lead"] == pytest.approx(lead, rel=1e-5)


def test_two_heads_are_a_faithful_circuit_and_random_ones_are_not(found):
    share = summaries.faithfulness_by_size(found)["mean"]
    assert share.sel(ranking="by effect", circuit_size=2) > 0.9
    assert share.sel(ranking="random 0", circuit_size=2) < 0.2
    needed = found.minimality.sortby(found.minimality, ascending=False)
    assert set(needed.circuit_head.values[:2]) == {"0.2", "1.1"}
    assert needed[2] < 0.1 * needed[1]


def test_probes_find_what_heads_have_written(found):
    accuracy = found.probe_accuracy
    assert accuracy.sel(probed="previous")[0] < 0.3
    assert accuracy.sel(probed="previous")[1] > 0.9
    assert accuracy.sel(probed="next")[2] < 0.3
    assert accuracy.sel(probed="next")[-1] > 0.9
    assert found.probe_shuffled.max() < 0.35


def test_a_study_goes_on_where_it_was_killed(wired, tmp_path, monkeypatch):
    """Finished parts are read; of other settings, or damaged, they are measured again."""
    few = dict(list(study.PARTS.items())[:3])
    measured = []
    monkeypatch.setattr(
        study, "PARTS", {n: lambda m, n=n, f=f: measured.append(n) or f(m) for n, f in few.items()}
    )
    whole = heads.study_heads(wired.bridge, SMALL, folder=tmp_path)
    (tmp_path / "profiles.nc").write_bytes(b"damaged")
    again = heads.study_heads(wired.bridge, SMALL, folder=tmp_path)
    assert measured == [*few, "profiles"]
    # The time of parts that are read counts as well.
    others = [load_results(tmp_path / f"{name}.nc", kind="heads").attrs["seconds"] for name in few]
    assert again.attrs["wall_time_s"] == pytest.approx(sum(others), abs=0.1)
    assert min(others) > 0
    drop = ("created", "wall_time_s")
    for one in (whole, again):
        one.attrs = {k: v for k, v in one.attrs.items() if k not in drop}
    xr.testing.assert_identical(whole, again)
    heads.study_heads(wired.bridge, dataclasses.replace(SMALL, seed=1), folder=tmp_path)
    assert measured[len(few) + 1 :] == list(few)


def test_verified_by_a_witness(found, wired, tmp_path):
    stored = load_results(save_results(found, tmp_path / "heads.nc"), kind="heads")
    assert recorded(heads.HeadSettings, stored.attrs) == SMALL
    outcome = heads.verify_heads(stored, wired.bridge)
    assert outcome.agrees
    assert outcome.worst < 0.01
    changed = stored.copy(deep=True)
    changed.witness_share[0, 5] += 0.01
    assert not heads.verify_heads(changed, wired.bridge).agrees
    changed = stored.copy(deep=True)
    changed.tokens[0, 0] += 1
    with pytest.raises(ValueError, match=r"\Atokens: [^\n]*\Z"):
        heads.verify_heads(changed, wired.bridge)


def test_a_model_without_induction_heads_is_studied_too(monkeypatch):
    asking = ("scores", "composition", "edges", "class_ablation", "backup", "interventions")
    monkeypatch.setattr(study, "PARTS", {name: study.PARTS[name] for name in asking})
    found = heads.study_heads(tiny_model("gemma3"), SMALL)
    assert not (found.head_class == "induction").any()
    assert found.sizes["receiver"] == 0


@pytest.mark.parametrize(
    ("changed", "named"),
    [({"t0": 7}, "t0"), ({"evaluated_on": 1}, "evaluated_on"), ({"mapped_on": 5}, "mapped_on"),
     ({"sources": 17}, "sources"), ({"draws": 1}, "draws"), ({"epsilon": 0.0}, "epsilon"),
     ({"least_score": 1.0}, "least_score"), ({"seed": -1}, "seed")],
)  # fmt: skip
def test_bad_settings_are_named_in_a_line(changed, named):
    with pytest.raises(ValueError, match=rf"\A{named}=[^\n]*use[^\n]*\Z"):
        dataclasses.replace(SMALL, **changed)


def test_attention_of_its_own_is_refused():
    with pytest.raises(ValueError, match=r"\Aobserve=pattern: [^\n]*\Z"):
        heads.study_heads(tiny_model("gptj"), SMALL)


# figures ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def drawn(found):
    """What every figure of a study draws, by its name."""
    before = mpl.get_backend()
    plt.switch_backend("agg")
    try:
        names = ("heads", "wiring", "causes", "carried", "circuit")
        return {name: figures.drawn_values(getattr(figures, name)(found)) for name in names}
    finally:
        plt.close("all")
        plt.switch_backend(before)


def _where_added(carried):
    """Of both layers; an attention-only model has positions of no MLP."""
    at = ["attention", "block"]
    rows = [
        carried.isel(layer=layer).where(
            (carried.position_layer == layer) & carried.sublayer.isin(at), drop=True
        )
        for layer in range(2)
    ]
    return np.stack([row.transpose("position", "head").values[0] for row in rows])


def image(drawn, panel, shape):
    values = drawn[(drawn.panel == panel) & (drawn.kind == "image")]
    return values.sort_values(["y", "x"]).value.to_numpy().reshape(shape)


@pytest.mark.parametrize(
    ("figure", "panel", "shown"),
    [
        ("heads", "a", lambda d: d.attention_score.sel(input="repeated", score="previous_token")),
        ("heads", "b", lambda d: d.attention_score.sel(input="repeated", score="duplicate_token")),
        ("heads", "c", lambda d: d.attention_score.sel(input="repeated", score="induction")),
        ("heads", "d", lambda d: d.prefix_matching_gapped),
        ("heads", "e", lambda d: _where_added(d.carried.sel(strength="limit", compared=15))),
        ("causes", "a", lambda d: d.ablation_effect),
        ("causes", "d", lambda d: d.denoising),
    ],
)
def test_maps_show_every_head(drawn, found, figure, panel, shown):
    expected = shown(found)
    np.testing.assert_allclose(image(drawn[figure], panel, expected.shape), expected, rtol=1e-6)


def test_wiring_shows_scores_with_edges_cut(drawn, found, wired):
    one = found.isel(receiver=0).edge_score
    senders = one.sel(through="keys")[:1]  # of the first layer
    np.testing.assert_allclose(image(drawn["wiring"], "a", (1, 4)), senders, rtol=1e-6)
    bars = drawn["wiring"][(drawn["wiring"].panel == "b") & (drawn["wiring"].kind == "bar")]
    expected = one.isel(layer=0).values.ravel()
    np.testing.assert_allclose(np.sort(bars.x), np.sort(expected), atol=1e-6)


def test_replaced_sets_are_drawn_as_changes_of_the_loss(drawn, found):
    loss = found.set_loss.values.mean(-1)  # (set, replacement)
    names = found.head_set.values.tolist()
    change = loss - loss[names.index("none")]
    is_random = np.array([name.startswith("random") for name in names])
    classes = [change[names.index(name)] for name in CLASSES]
    expected = np.stack([*classes, change[is_random].mean(0)])
    bars = drawn["causes"][(drawn["causes"].panel == "f") & (drawn["causes"].kind == "bar")]
    np.testing.assert_allclose(np.sort(bars.x), np.sort(expected, None), atol=1e-5)


def test_wiring_of_nothing_is_refused(found):
    with pytest.raises(ValueError, match=r"\Astudy: no induction head [^\n]*\Z"):
        figures.wiring(found.isel(receiver=slice(0)))


def test_shares_drawn_are_one_together(drawn):
    for panel in "abc":
        curves = drawn["carried"][
            (drawn["carried"].panel == panel) & (drawn["carried"].series != "")
        ]
        lines = curves[curves.kind == "line"].groupby("x").value.size()
        total = curves[curves.kind == "line"].groupby("x").y.sum()
        assert set(lines) == {5}
        np.testing.assert_allclose(total, 1, atol=1e-5)


def test_faithfulness_is_drawn_as_computed(drawn, found):
    expected = summaries.faithfulness_by_size(found)["mean"].values.ravel()
    points = drawn["circuit"][(drawn["circuit"].panel == "a") & (drawn["circuit"].kind == "line")]
    assert np.abs(points.y.to_numpy()[:, None] - expected).min(0).max() < 1e-6


def test_edited_models_are_drawn_along_l(drawn, found):
    """Mean over sequences of the logarithm of a ratio, from numbers as they are kept."""
    along = found.edited_along.sel(compared=15, strength="limit")
    names = along.condition.values.tolist()
    edited, whole = (
        along.values[names.index(name)] for name in ("induction ablated", "none")
    )  # (position, sequence)
    expected = np.log10(edited[1:] / whole[1:]).mean(1)
    panel = drawn["carried"][(drawn["carried"].panel == "g") & (drawn["carried"].kind == "line")]
    shown = panel[panel.series == "induction ablated"].sort_values("x").y.to_numpy()
    np.testing.assert_allclose(shown[-len(expected) :], expected, rtol=1e-5)
    np.testing.assert_allclose(found.edited_along.isel(position=-1), _last(found), rtol=1e-6)


def _last(found):
    return found.edited_response.sel(distance=found.compared.values).rename(distance="compared")


def test_heads_that_step_in_are_others_than_those_ablated(found, wired):
    table = summaries.table_of_backups(found, heads=8)
    assert len(table) == 7
    assert "{}.{}".format(*wired.receiver) not in table["head"].tolist()
    assert table.gain.is_monotonic_decreasing
