"""Rows of a table against the same samples as objects."""

import dataclasses
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conceptseg.data import rows as module
from conceptseg.data.columns import Gathered
from conceptseg.data.labels import LabelBlock
from conceptseg.data.manifest import Manifest, Sample
from conceptseg.data.part import part
from conceptseg.data.raster import Rules
from conceptseg.data.readers._files import FileSource
from conceptseg.data.rows import SEVERAL, Columns, Filled, Rows
from conceptseg.data.stamps import rows_digest
from conceptseg.errors import InputError

SPLITS = ("train", "", "val")


def texts(values):
    gathered = Gathered()
    gathered.add(list(values))
    return gathered.texts()


def both(count, ids=None):
    """So many rows, and the same samples one by one."""
    ids = ids or [f"s{i}" for i in range(count)]
    names = texts(ids)
    groups = [f"g{i // 3}" for i in range(count)]
    ages, numbers = [float(i) if i % 4 else None for i in range(count)], Gathered()
    numbers.add(np.array([np.nan if age is None else age for age in ages]))
    site = ["" if i < 2 else "Tromsø" for i in range(count)]
    rows = Rows(
        Columns(
            ids=names,
            images=(texts(SEVERAL.join([f"i/{one}.png", "b.png"]) for one in ids),),
            mask=texts(f"m/{i}.png" if i % 3 == 0 else "" for i in range(count)),
            masks=(("tree", Filled((texts("t/" if i % 3 == 1 else "" for i in range(count)),))),),
            splits=texts(SPLITS[i % 3] for i in range(count)),
            groups=texts(groups),
            metadata={"age": numbers.column(), "site": texts(site), "none": texts([""] * count)},
            labelled=np.arange(count) % 3 < 2,
        )
    )
    samples = tuple(
        Sample(
            id=ids[i],
            image=(Path(f"i/{ids[i]}.png"), Path("b.png")),
            mask=Path(f"m/{i}.png") if i % 3 == 0 else None,
            masks=(("tree", Path("t/")),) if i % 3 == 1 else (),
            split=SPLITS[i % 3] or None,
            group=groups[i],
            metadata=({} if ages[i] is None else {"age": ages[i]})
            | ({"site": site[i]} if site[i] else {}),
        )
        for i in range(count)
    )
    return rows, samples


def manifests(count, **keys):
    block, rules = LabelBlock(("a", "b")), Rules(3, "refuse", None, False, 100, "apply", "file")
    source = FileSource(Path("."), rules, block)
    return [Manifest("m", block, 3, one, source, where="m.yaml") for one in both(count, **keys)]


def test_rows_are_their_samples():
    rows, samples = both(40)
    assert len(rows) == 40 and tuple(rows) == samples and rows[-1] == samples[-1]
    assert tuple(rows[3:20:2]) == samples[3:20:2] and tuple(rows[5:][:3][1:]) == samples[6:8]
    assert rows[7] in rows and list(reversed(rows)) == list(reversed(samples))
    with pytest.raises(IndexError):
        rows[40]


@settings(deadline=None)
@given(
    count=st.integers(1, 40),
    split=st.sampled_from([None, "train", "val"]),
    limit=st.none() | st.integers(1, 30),
    seed=st.integers(0, 3),
    some=st.none() | st.sets(st.integers(0, 39)),
)
def test_a_selection_of_rows_is_that_of_samples(count, split, limit, seed, some):
    table, objects = manifests(count)
    ids = None if some is None else [f"s{i}" for i in some if i < count]
    found = []
    for one in (table, objects):
        try:
            found.append(one.select(split=split, limit=limit, seed=seed, ids=ids))
        except InputError as error:
            found.append(str(error))
    if isinstance(found[0], str):
        assert found[0] == found[1]
        return
    table, objects = found
    assert isinstance(table.samples, Rows) and tuple(table.samples) == objects.samples
    assert table.ids == objects.ids and table.groups == objects.groups
    assert table.splits == objects.splits and table.metadata == objects.metadata
    assert tuple(table.labelled_samples()) == objects.labelled_samples()
    assert table.any_labelled == objects.any_labelled
    wanted = ["s3", "none", "s2", "s2"]
    assert tuple(table.named(wanted)) == objects.named(wanted)
    for name in (f"s{i}" for i in range(count)):
        if name in objects.ids:
            assert table.sample(name) == objects.sample(name)
            continue
        with pytest.raises(InputError) as caught:
            objects.sample(name)
        with pytest.raises(InputError, match=r"m\.yaml: no sample 's\d+'") as same:
            table.sample(name)
        assert str(same.value) == str(caught.value)


def test_ids_are_unique_and_can_be_files_names():
    for ids, says in [
        (
            ["a", "b", "c", "b", "a", "d"],
            r"m\.yaml: two samples have the id 'a' \(and 1 more ids\)",
        ),
        (["a", "b", "c", "b"], "two samples have the id 'b'; ids must"),
        (["a", "", "c"], "the id '' cannot be a file's name"),
        (["a", ".b", "c"], "the id '.b' cannot"),
        (["a", "b ", "c"], "the id 'b ' cannot"),
        (["a", " b", "c"], "the id ' b' cannot"),
        (["a", "x/b"], "the id 'x/b' cannot"),
        (["a", "b\n"], r"the id 'b\\n' cannot"),
        (["ä", "b\u2028"], r"the id 'b\\u2028' cannot"),
        (["a", "b" * 129], "the id 'bbb"),
    ]:
        with pytest.raises(InputError, match=says) as caught:
            manifests(len(ids), ids=ids)
        block = LabelBlock(("a",))
        with pytest.raises(InputError) as same:
            Manifest("m", block, 3, both(len(ids), ids=ids)[1], None, where="m.yaml")
        assert str(same.value) == str(caught.value)
    for good in ("ö" * 128, "a.b", "a b", "日本"):
        assert manifests(2, ids=[good, "b"])[0].sample(good).id == good


def test_ids_of_one_hash_are_told_apart(monkeypatch):
    monkeypatch.setattr(module, "hash", lambda text: len(text), raising=False)
    table, objects = manifests(30)
    assert [table.sample(one.id) for one in objects.samples] == list(objects.samples)
    with pytest.raises(InputError, match="no sample 'zz'"):
        table.sample("zz")
    with pytest.raises(InputError, match="two samples have the id 'a'"):
        manifests(3, ids=["a", "b", "a"])


def test_ids_are_checked_once(monkeypatch):
    (table, objects), calls = manifests(30), []
    monkeypatch.setattr(Rows, "check", lambda self, where: calls.append(where))
    table.select(split="train", limit=3)
    dataclasses.replace(table, where="other")
    assert not calls
    dataclasses.replace(table, samples=table.samples[:5])
    assert calls == ["m.yaml"]
    with pytest.raises(InputError, match="two samples"):
        dataclasses.replace(objects, samples=objects.samples[:2] * 2)


def test_what_leaves_the_process_holds_no_other_rows():
    rows, samples = both(30_000)
    for few in (rows[20:25], rows.take(np.array([3, 29_999]))):
        held = pickle.dumps(few)
        assert len(held) < 5000
        assert list(pickle.loads(held)) == list(few)
    assert len(pickle.dumps(rows)) > 100_000
    table, _ = manifests(9)
    again = pickle.loads(pickle.dumps(table))
    assert tuple(again.samples) == tuple(table.samples)
    assert again.sample("s4") == samples[4]


def test_the_maker_of_a_part_sees_no_other_rows():
    table, _ = manifests(9)
    own = part(table, table.samples[2:4])
    assert own.sample("s3") == table.samples[3]
    with pytest.raises(InputError, match="no sample 's5'"):
        own.sample("s5")
    for ask in (
        lambda: own.ids, lambda: own.groups, lambda: own.select(limit=1), lambda: own.named(["s3"]),
        lambda: own.any_labelled, lambda: own.labelled_samples(), lambda: own.metadata,
    ):  # fmt: skip
        with pytest.raises(RuntimeError, match="may not look at the others"):
            ask()


def test_the_digest_of_rows_is_that_of_the_samples(tmp_path):
    found = []
    for name in ("b.png", "t"):
        (tmp_path / name).write_bytes(b"x")
    for folder in ("i", "m"):
        (tmp_path / folder).mkdir(exist_ok=True)
        for i in range(6):
            name = f"s{i}.png" if folder == "i" else f"{i}.png"
            (tmp_path / folder / name).write_bytes(bytes([i]))
    for one in manifests(6):
        source = dataclasses.replace(one.source, root=tmp_path)
        found.append(rows_digest(dataclasses.replace(one, source=source)))
    assert found[0] == found[1]
