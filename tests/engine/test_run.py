"""The loop over passes: the same numbers however it is cut, killed, resumed or disturbed."""

import dataclasses
import errno
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from conceptseg.data.manifest import Sample
from conceptseg.data.reads import Reads
from conceptseg.engine import provenance, reading, run, start
from conceptseg.engine.known import Key, Known
from conceptseg.engine.out import check_out
from conceptseg.engine.shelf import Folder
from conceptseg.engine.store import FOLDER, DamagedError, Made, ShardStore
from conceptseg.errors import InputError
from conceptseg.result import folder
from conceptseg.result.folder import replace_folder
from conceptseg.study.shared.overlap import class_iou
from tests import toys

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _calls():
    toys.Calls.reset()


def by_hand(count=20, slope=1.0):
    """The toy study's numbers in plain numpy."""
    data = toys.manifest(count)
    images = [data.image(sample).astype(float) for sample in data.samples]
    mean = np.mean([image.mean() for image in images])
    weights = np.arange(6.0).reshape(2, 3) * slope
    square = high = 0.0
    for image in images[::2]:
        logits = np.einsum("kc,chw->khw", weights, image)
        square += (logits.mean() - mean) ** 2
        high += (image[0] > 0.5).sum()
    return {"mean": mean, "square": square, "high": high}


def numbers(result):
    return {row["name"]: row["value"] for row in result.tables["sums"].rows}


def saved(out):
    """The files of shards; what steps found out lies elsewhere."""
    files = (out / FOLDER).rglob("*.safetensors")
    return sorted(path for path in files if path.parent.name != "carry")


def test_some_steps_alone_find_out_what_they_find_in_a_run(tmp_path, monkeypatch):
    """And nothing is left in the working folder."""
    monkeypatch.chdir(tmp_path)
    study = toys.toy()
    known = run.known_after(study, toys.context(), toys.average)
    assert known[toys.MEAN] == pytest.approx(by_hand()["mean"], rel=1e-6)
    assert toys.SQUARE not in known and not list(tmp_path.iterdir())


def test_all_steps_up_to_the_last_are_taken_but_those_that_are_named():
    class Longer(toys.Toy):
        def plan(self):
            return (toys.Means(), toys.average, note, toys.Deviations(), toys.average)

    def note(study, context, known):
        return noted(True)

    noted, study = Key("noted", bool), Longer(**toys.toy().model_dump())
    whole = run.known_after(study, toys.context(), toys.Deviations)
    assert noted in whole and toys.SQUARE in whole
    part = run.known_after(study, toys.context(), toys.Deviations, but=(note,))
    assert noted not in part and part[toys.SQUARE].total() == whole[toys.SQUARE].total()
    with pytest.raises(ValueError, match="no step describe in the plan of Toy"):
        run.known_after(toys.toy(), toys.context(), toys.Deviations, but=(describe,))


def describe(study, context, known):
    raise AssertionError


def test_passes_give_what_plain_numpy_gives(tmp_path):
    result = run.run_study(toys.toy(), toys.context(), tmp_path)
    assert numbers(result) == pytest.approx(by_hand(), rel=1e-6)
    assert result.provenance["passes"] == [
        {"name": "means", "images": 20, "shards": 5},
        {"name": "deviations", "images": 10, "shards": 5},
    ]


def test_what_a_pass_opens_is_there_for_it_alone_and_is_closed(tmp_path, monkeypatch):
    seven, seen = Key("seven", int), []
    plain = toys.Means.map

    @contextmanager
    def opened(self, context, known):
        try:
            yield seven(7)
        finally:
            seen.append("closed")

    def mapped(self, context, batch, known):
        seen.append(known[seven])
        return plain(self, context, batch, known)

    def after(study, context, known):
        seen.append(seven in known)
        return toys.average(study, context, known)

    monkeypatch.setattr(toys.Means, "open", opened)
    monkeypatch.setattr(toys.Means, "map", mapped)
    monkeypatch.setattr(toys.Toy, "plan", lambda self: (toys.Means(), after, toys.Deviations()))
    run.run_study(toys.toy(), toys.context(20, 2), tmp_path / "a")
    assert seen == [7, "closed", False]
    seen.clear()
    toys.Calls.reset(at=2, error=RuntimeError("no more"))
    with pytest.raises(RuntimeError, match="no more"):
        run.run_study(toys.toy(), toys.context(2, 2), tmp_path / "b")
    assert seen == [7, 7, "closed"]


def test_a_state_is_known_to_functions_up_to_the_next_pass(tmp_path, monkeypatch):
    def first(study, context, known):
        assert toys.SUM in known
        return toys.average(study, context, known)

    def second(study, context, known):
        assert toys.SQUARE in known and toys.MEAN in known and toys.SUM not in known
        return Known()

    plan = (toys.Means(), first, toys.Deviations(), second)
    monkeypatch.setattr(toys.Toy, "plan", lambda self: plan)
    result = run.run_study(toys.toy(), toys.context(), tmp_path)
    assert numbers(result) == pytest.approx(by_hand(), rel=1e-6)
    assert set(result.timings["seconds"]) == {"means", "first", "deviations", "second", "finish"}
    assert [one["name"] for one in result.provenance["passes"]] == ["means", "deviations"]


def test_a_state_that_a_pass_keeps_is_known_to_all_later_steps(tmp_path, monkeypatch):
    class Kept(toys.Means):
        keeps = True

    def second(study, context, known):
        assert toys.SUM in known and toys.SQUARE in known
        return Known()

    plan = (Kept(), toys.average, toys.Deviations(), second)
    monkeypatch.setattr(toys.Toy, "plan", lambda self: plan)
    assert numbers(run.run_study(toys.toy(), toys.context(), tmp_path)) == pytest.approx(by_hand())


def test_what_a_study_refuses_is_refused_before_any_step(tmp_path, monkeypatch):
    def check(self, context):
        raise InputError("not this network")

    monkeypatch.setattr(toys.Toy, "check", check)
    with pytest.raises(InputError, match="not this network"):
        run.run_study(toys.toy(), toys.context(), tmp_path)
    assert toys.Calls.count == 0 and saved(tmp_path) == []


@pytest.mark.parametrize("batch_size", [1, 7, 32])
@pytest.mark.parametrize("shards", [None, 1, 4, 1000])
def test_cut_does_not_change_the_result(tmp_path, batch_size, shards):
    whole = run.run_study(toys.toy(), toys.context(20, 1), tmp_path / "whole")
    cut = run.run_study(toys.toy(), toys.context(batch_size, shards), tmp_path / "cut")
    assert numbers(cut) == pytest.approx(numbers(whole), rel=1e-6)


@pytest.mark.parametrize("batch_size", [1, 3, 5, 64])
def test_another_batch_size_goes_on_with_what_was_done(tmp_path, batch_size):
    """As out of memory asks for; no number of shards is named, and the parts stay as they were."""
    whole = run.run_study(toys.toy(), toys.context(4, 5), tmp_path / "whole")
    toys.Calls.reset(at=4, error=MemoryError())
    with pytest.raises(MemoryError):
        run.run_study(toys.toy(), toys.context(4, 5), tmp_path / "out")
    toys.Calls.reset()
    found = run.run_study(toys.toy(), toys.context(batch_size, None), tmp_path / "out")
    assert found.timings["resumed_shards"]["means"] == 3
    assert found.provenance["passes"][0]["shards"] == 5
    assert numbers(found) == pytest.approx(numbers(whole), rel=1e-6)


@pytest.mark.parametrize("shards", [1, 2, 3, 7, 23])
def test_cut_changes_not_a_bit(tmp_path, shards):
    """Of numbers whose sum depends on the order, in batches of one and of three images."""
    for batch_size in (1, 3):
        context = toys.context(batch_size, 1)
        whole = run.run_study(toys.toy(), context, tmp_path / f"a{batch_size}")
        context = toys.context(batch_size, shards)
        cut = run.run_study(toys.toy(), context, tmp_path / f"b{batch_size}")
        assert numbers(cut) == numbers(whole)


def test_same_seed_twice_is_the_same_but_for_timings(tmp_path):
    first = run.run_study(toys.toy(), toys.context(), tmp_path / "a", command="conceptseg toy")
    second = run.run_study(toys.toy(), toys.context(), tmp_path / "b", command="conceptseg toy")
    assert toys.content(first) == toys.content(second)


def test_crash_resumes_after_the_last_whole_shard(tmp_path):
    expected = toys.content(run.run_study(toys.toy(), toys.context(), tmp_path / "whole"))
    whole = 10 + 5  # two batches in each shard of 4 samples, then one in each of 2
    toys.Calls.reset(at=6, error=RuntimeError("power cut"))
    with pytest.raises(RuntimeError, match="power cut"):
        run.run_study(toys.toy(), toys.context(), tmp_path / "out")
    assert len(saved(tmp_path / "out")) == 2
    toys.Calls.reset()
    result = run.run_study(toys.toy(), toys.context(), tmp_path / "out")
    assert toys.Calls.count == whole - 4
    assert toys.content(result) == expected
    assert result.timings["resumed_shards"] == {"means": 2, "deviations": 0}


def program(out, stop_at):
    """The toy study in a process of its own, which kills itself at a batch (0: never)."""
    words = [sys.executable, "-m", "tests.toys", str(out), str(stop_at)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(words, cwd=CHECKOUT, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return program(tmp_path_factory.mktemp("whole"), 0).stdout


@pytest.mark.parametrize("at", [3, 12])
def test_kill_9_then_the_same_command_gives_the_same_result(tmp_path, at, uninterrupted):
    killed = program(tmp_path, at)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert saved(tmp_path)
    resumed = program(tmp_path, 0)
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout == uninterrupted


def mapped(out, study=None, **kinds):
    """How many batches a run had to map, given what lies saved in `out`."""
    toys.Calls.reset()
    run.run_study(study or toys.toy(), toys.context(**kinds), out)
    return toys.Calls.count


def test_saved_shards_fit_only_what_they_were_made_from(tmp_path):
    everything = mapped(tmp_path)
    assert mapped(tmp_path) == 0
    assert mapped(tmp_path, slope=1.0 + 1e-6) == everything  # another network
    assert mapped(tmp_path, seed=1) == everything  # other images
    assert mapped(tmp_path, toys.toy(power=2.0)) == everything  # another parameter
    assert mapped(tmp_path, batch_size=1) == 0  # shards are the same samples
    assert mapped(tmp_path, shards=2) == 0  # what is saved stays as it was cut


def test_key_depends_on_code_layer_and_arithmetic(monkeypatch):
    context = toys.context()

    def key(context):
        return run.base_key(toys.toy(), context, {"run": {}, "data": {}}, "weights")

    keys = {key(context)}
    keys.add(key(dataclasses.replace(context, layer="other")))
    half = context.run.model_copy(update={"dtype": "bfloat16"})
    keys.add(key(dataclasses.replace(context, run=half)))
    monkeypatch.setattr(provenance, "code_digest", lambda: "edited")
    keys.add(key(context))
    versions = provenance.installed(provenance.DECISIVE)
    for name in ("numpy", "scikit-learn", "torchvision", "pillow", "tifffile"):
        other = versions | {name: "0.0"}
        monkeypatch.setattr(provenance, "installed", lambda names, other=other: other)
        keys.add(key(context))
    monkeypatch.setattr(provenance, "installed", lambda names: versions)
    assert len(keys) == 9
    batch = context.run.model_copy(update={"batch_size": 99, "threads": 2})
    assert key(dataclasses.replace(context, run=batch)) in keys


def test_a_change_in_an_early_pass_reaches_the_later_ones(tmp_path):
    """The second pass sees the same samples, but the first one's past differs."""
    mapped(tmp_path, count=20)
    before = {path.parent.name for path in saved(tmp_path)}
    data = toys.manifest(21)
    context = dataclasses.replace(toys.context(), manifest=data)

    class Same(toys.Deviations):
        def samples(self, context, carry):
            return data.samples[:20:2]

    class Other(toys.Toy):
        def passes(self):
            return (toys.Means(), Same())

    run.run_study(Other(data=toys.toy().data, model=toys.toy().model), context, tmp_path)
    after = {path.parent.name for path in saved(tmp_path)}
    assert len(after - before) == 2


def test_fresh_ignores_saved_shards(tmp_path):
    everything = mapped(tmp_path)
    toys.Calls.reset()
    run.run_study(toys.toy(), toys.context(), tmp_path, fresh=True)
    assert toys.Calls.count == everything


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "header"])
def test_damaged_shard_is_computed_again_and_said(tmp_path, damage):
    expected = toys.content(run.run_study(toys.toy(), toys.context(), tmp_path))
    path = saved(tmp_path)[0]
    content = bytearray(path.read_bytes())
    if damage == "cut":
        del content[-3:]
    elif damage == "flip":
        content[-3] ^= 1
    elif damage == "empty":
        content.clear()
    else:
        content[20] ^= 1
    path.write_bytes(content)
    notes = []

    class Listening(run.Quiet):
        def note(self, text):
            notes.append(text)

    toys.Calls.reset()
    result = run.run_study(toys.toy(), toys.context(), tmp_path, Listening())
    assert 0 < toys.Calls.count <= 2
    assert toys.content(result) == expected
    told = [text for text in notes if "computed again" in text]
    assert len(told) == 1 and path.name in told[0]


def test_store_keeps_every_kind_of_array_exactly(tmp_path):
    sums = toys.Sum(("é", "b" * 40, ""), (0.1, float("nan"), -0.0))
    store = ShardStore(Folder(tmp_path), "pass", "k" * 64, frozenset({"tests"}))
    some, none = Key("some", toys.Sum), Key("none", toys.Sum)
    sample = Sample("é 1")
    reads = Reads()
    reads.record("image", sample, b"\1" * 32, "é.png")
    reads.record("masks.a/b", sample, bytes(range(32)), "b.png")
    store.save(0, 3, Made(some(sums) | none(toys.Sum()), reads))
    made = store.load(0, 3)
    assert made.reads == reads
    back = made.known
    assert back[none] == toys.Sum()
    assert back[some].ids == sums.ids
    assert np.array_equal(back[some].values, sums.values, equal_nan=True)
    assert np.signbit(back[some].values[2])
    assert store.load(3, 4) is None


def test_store_builds_no_foreign_class(tmp_path):
    ShardStore(Folder(tmp_path), "pass", "k" * 64, frozenset({"tests"})).save(
        0, 1, Made(Known({"a": toys.Sum()}), Reads())
    )
    with pytest.raises(DamagedError, match="not a statistic of this study"):
        ShardStore(Folder(tmp_path), "pass", "k" * 64, frozenset()).load(0, 1)


def test_save_writes_result_and_report_and_drops_the_shards(tmp_path):
    result = run.run_study(toys.toy(), toys.context(), tmp_path / "out")
    report = run.save(toys.Toy, result, tmp_path / "out")
    assert report == tmp_path / "out" / "report.html"
    assert "Images deviate" in report.read_text(encoding="utf-8")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"report.html", "result.json"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def labels_of(context, wish):
    found = list(reading.read(context, context.manifest.samples, wish))
    return {
        name: None if batch.labels is None else batch.labels[row].numpy()
        for batch in found
        for row, name in enumerate(batch.ids)
    }


def test_labels_come_as_a_pass_wants_them():
    whole = toys.context(count=6)
    data = whole.manifest
    expected = {sample.id: data.labels(sample) for sample in data.samples}
    assert set(labels_of(whole, "none").values()) == {None}
    for wish in ("optional", "required"):
        found = labels_of(whole, wish)
        assert all(np.array_equal(found[name], expected[name]) for name in expected)

    some = toys.context(count=6, unlabelled=("s00", "s01", "s03"))
    found = labels_of(some, "optional")
    assert found["s00"] is None and found["s01"] is None  # a batch without any
    assert (found["s03"] == -1).all()
    assert all(np.array_equal(found[name], expected[name]) for name in ("s02", "s04", "s05"))
    with pytest.raises(InputError, match="'s00' has no mask"):
        labels_of(some, "required")

    none = toys.context(count=2, unlabelled=("s00", "s01"))
    assert set(labels_of(none, "optional").values()) == {None}


def full_disk(*arguments, **named):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_disk_full_while_a_shard_is_saved(tmp_path, monkeypatch):
    monkeypatch.setattr(folder.os, "fsync", full_disk)
    with pytest.raises(InputError, match="No space left"):
        run.run_study(toys.toy(), toys.context(), tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_disk_full_while_the_result_is_saved_leaves_the_earlier_one(tmp_path, monkeypatch):
    out = tmp_path / "out"
    result = run.run_study(toys.toy(), toys.context(), out)
    run.save(toys.Toy, result, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    monkeypatch.setattr(folder.os, "fsync", full_disk)
    with pytest.raises(InputError, match="No space left"):
        run.save(toys.Toy, result, out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_device_that_is_not_there(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert start.resolve_device("auto") in ("cpu", "mps")
    with pytest.raises(InputError, match="cuda:7.*this machine"):
        start.resolve_device("cuda:7")


def test_provenance_names_no_folder_of_the_user(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    words = [
        "ace",
        "--config",
        str(tmp_path / "a.yaml"),
        "--out",
        "/somewhere",
        "--quiet",
        f"--data-root={tmp_path.parent}/data",
        "--out=/elsewhere",
    ]
    command = provenance.tidy_command(words)
    assert command == "conceptseg ace --config a.yaml --data-root=data"
    result = run.run_study(toys.toy(), toys.context(), tmp_path / "out", command=command)
    assert str(tmp_path) not in result.to_json()
    assert {"conceptseg", "python", "torch", "numpy", "scikit-learn"} <= set(
        result.provenance["versions"]
    )
    assert result.timings["peak_memory_bytes"] > 50_000_000


@pytest.mark.parametrize(
    ("word", "kept"),
    [
        ("/srv/alice/ace.yaml", "ace.yaml"),
        ("../alice/ace.yaml", "ace.yaml"),
        ("~/ace.yaml", "ace.yaml"),
        ("model.weights=/srv/alice/w.pt", "model.weights=w.pt"),
        (
            "model.arguments={file: /srv/alice/w.pt, size: 3}",
            "model.arguments={file: w.pt, size: 3}",
        ),
        ("model.name=factory:package.module:Class", "model.name=factory:package.module:Class"),
        ("studies/ace.yaml", "studies/ace.yaml"),
        ("layer=body/3", "layer=body/3"),
        ("data.classes=[a, b]", "data.classes=[a, b]"),
    ],
)
def test_a_command_keeps_no_place_outside_the_working_folder(word, kept):
    assert provenance.tidy_path(word) == kept


def test_a_saved_configuration_names_no_place_but_the_key_knows_it(tmp_path):
    places = [f"/srv/{user}/weights.pt" for user in ("alice", "bob")]
    keys = []
    for place in places:
        recorded = {
            "data": {"manifest": "sets/a.yaml", "root": "/srv/alice/camvid/"},
            "model": {"weights": place, "arguments": {"more": ["~/x.json", 3]}},
        }
        keys.append(run.base_key(toys.toy(), toys.context(), recorded, "weights"))
        result = run.run_study(toys.toy(), toys.context(), tmp_path / "out", recorded=recorded)
        assert result.config == {
            "data": {"manifest": "sets/a.yaml", "root": "camvid"},
            "model": {"weights": "weights.pt", "arguments": {"more": ["x.json", 3]}},
        }
    assert keys[0] != keys[1]


@pytest.mark.parametrize("up", [".", "..", "link"])
def test_the_working_folder_is_not_replaced(tmp_path, monkeypatch, up):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "link").symlink_to(tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(InputError, match="working folder.*--out"):
        check_out(Path(up))
    with pytest.raises(InputError, match="working folder.*--out"):
        replace_folder(Path(up), {"a": b""}, marker="a", own=["a"])
    assert Path.cwd() == tmp_path / "here"


PERMUTED = ("street", "HIGH!", "low")
"""The toy's classes low and high, as a network with one class more may list them."""


def permuted(context, classes=PERMUTED):
    context.model.classes, context.model.name = classes, "toy"
    return context


def test_labels_become_the_indices_of_the_networks_outputs():
    plain, other = toys.context(), permuted(toys.context())
    for wish in ("required", "optional"):
        one, two = (labels_of(context, wish) for context in (plain, other))
        assert one.keys() == two.keys()
        for key, labels in one.items():
            assert (two[key] == np.array([2, 1])[labels]).all()


def test_ignored_pixels_stay_ignored():
    context = permuted(toys.context(unlabelled=("s01",)))
    found = labels_of(context, "optional")
    assert (found["s01"] == -1).all() and set(np.unique(found["s00"])) == {1, 2}


def test_overlap_does_not_depend_on_the_order_of_the_networks_outputs():
    iou = {}
    for order in [(0, 1), (1, 0)]:
        names = tuple(("low", "high")[i] for i in order)
        context = permuted(toys.context(), names)
        noise = torch.Generator().manual_seed(0)
        logits = torch.rand(20, 2, 6, 6, generator=noise)[:, list(order)]
        labels = torch.from_numpy(np.stack(list(labels_of(context, "required").values())))
        found = class_iou(logits.argmax(1), labels, 2)
        iou[order] = found[:, [names.index("low"), names.index("high")]]
    assert torch.equal(iou[0, 1], iou[1, 0])


@pytest.mark.parametrize("how", ["by their values", "by the manifest", "but one"])
def test_masks_of_which_nothing_counts_are_refused_before_the_first_pass(
    tmp_path, monkeypatch, how
):
    context, ignored = toys.context(), np.full((6, 6), -1)
    if how == "by the manifest":  # the network lacks the one class that they hold
        block = dataclasses.replace(context.manifest.block, ignore=(1,))
        manifest = dataclasses.replace(context.manifest, block=block)
        context = dataclasses.replace(permuted(context, ("low", "x")), manifest=manifest)
        ignored = np.ones((6, 6), int)
    last = ignored.copy()
    last[-1, -1] = 0
    other = last if how == "but one" else ignored
    monkeypatch.setattr(
        toys.Drawn, "labels", lambda self, one: other if one.id == "s19" else ignored
    )
    if how == "but one":
        run.run_study(toys.toy(), context, tmp_path)
        return
    with pytest.raises(InputError, match="every pixel of its 20 masks is ignored"):
        run.run_study(toys.toy(), context, tmp_path)
    assert toys.Calls.count == 0


def test_a_class_of_the_masks_that_the_network_lacks():
    context = permuted(toys.context(), ("low", "hihg"))
    with pytest.raises(InputError, match="hold the class 'high'.*did you mean.*labels.remap"):
        labels_of(context, "required")
    assert labels_of(context, "none")["s00"] is None
    block = dataclasses.replace(context.manifest.block, ignore=(1,))
    ignoring = dataclasses.replace(context.manifest, block=block)
    assert reading.outputs_of_labels(ignoring, context.model) == (0, -1)


def test_background_is_called_as_the_network_calls_it():
    context = toys.context()
    block = dataclasses.replace(context.manifest.block, background="low")
    manifest = dataclasses.replace(context.manifest, block=block)
    for classes, name in [(("__LOW__", "high"), "__LOW__"), (("a", "b"), None)]:
        context.model.classes = classes
        assert start._with_model_background(manifest, context.model).background == name
