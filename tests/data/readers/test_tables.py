"""Tables in all their forms: one content, one list of samples; errors name the row."""

import csv
import io
import json
import math
import sys
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conceptseg.data.columns import Block
from conceptseg.data.manifest import Sample
from conceptseg.data.readers import _parquet, _text_tables
from conceptseg.data.readers._cells import check_paths
from conceptseg.data.readers._files import relative
from conceptseg.data.readers._folders import fill
from conceptseg.data.rows import Rows
from conceptseg.errors import InputError
from tests.data.test_columns import is_number
from tests.files import LABELS, manifest, write

PARTS = ("id", "image", "mask", "split", "group")


def as_csv(rows):
    names = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(names)
    for row in rows:
        cells = [row.get(name) for name in names]
        writer.writerow([";".join(one) if isinstance(one, list) else one for one in cells])
    return text.getvalue()


def as_jsonl(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def as_parquet(rows, **options):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    names = list(dict.fromkeys(key for row in rows for key in row))
    columns = {name: [row.get(name) for row in rows] for name in names}
    for name, cells in columns.items():
        if any(isinstance(cell, list) for cell in cells):
            columns[name] = [one if isinstance(one, list) else [one] for one in cells]
    data = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), data, **options)
    return data.getvalue()


FORMS = {"csv": as_csv, "jsonl": as_jsonl, "parquet": as_parquet}


def read(folder, form, rows, **keys):
    write(folder / f"list.{form}", FORMS[form](rows))
    table = {"file": f"list.{form}"} | keys
    return manifest(folder, labels=LABELS, table=table)


def by_hand(rows, **keys):
    """The samples of rows, one at a time, as the templates' definitions say."""
    names = list(dict.fromkeys(key for row in rows for key in row if key not in PARTS))
    cells = [{key: "" if row.get(key) is None else str(row[key]) for key in names} for row in rows]
    numeric = {name: all(is_number(c[name]) for c in cells if c[name]) for name in names}
    samples = []
    for row, words in zip(rows, cells, strict=True):
        words = words | {key: row.get(key) or "" for key in PARTS if key in rows[0]}

        def part(name, words=words):
            return fill(keys[name], words, "") if name in keys else words.get(name, "")

        images = part("image")
        images = images if isinstance(images, list) else [images]
        samples.append(
            Sample(
                id=part("id") or PurePosixPath(images[0]).stem,
                image=tuple(map(Path, images)),
                mask=Path(part("mask")) if part("mask") else None,
                split=part("split") or None,
                group=part("group"),
                metadata={
                    name: float(words[name]) if numeric[name] else words[name]
                    for name in names
                    if words[name]
                },
            )
        )
    return samples


ROWS = [
    {"id": "one", "image": "a/1.png", "mask": "m/1.png", "split": "train", "group": "p",
     "age": 31, "code": "0012", "site": "Oslo", "score": 0.1, "old": True},
    {"id": None, "image": "a/b.c/two.x.png", "mask": None, "split": "val", "group": None,
     "age": None, "code": "7", "site": "Ås; \"south\"", "score": 1e-7, "old": False},
    {"id": "tre", "image": "日本/..a.png", "mask": "m/3.png", "split": None, "group": "tre",
     "age": 4, "code": None, "site": "two\nlines", "score": None, "old": None},
]  # fmt: skip
NAMED = [{"set": "train", "name": f"n{i}", "k": i % 3, "x": i / 7} for i in range(9000)]
TEMPLATES = {"image": "{set}/{k}/{name}.png", "mask": "m/{name}_{k}.png", "split": "{set}"}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [1, 2, 1000])
def test_one_content_in_every_form(tmp_path, monkeypatch, form, size):
    monkeypatch.setattr(_text_tables, "ROWS", size)
    monkeypatch.setattr(_parquet, "ROWS", size)
    found = read(tmp_path, form, ROWS)
    assert isinstance(found.samples, Rows)
    assert list(found.samples) == by_hand(ROWS)
    assert found.samples[0].metadata == {
        "age": 31.0, "code": "0012", "site": "Oslo", "score": 0.1, "old": "True",
    }  # fmt: skip
    assert [one.id for one in found.labelled_samples()] == ["one", "tre"]
    assert found.metadata == ("age", "code", "site", "score", "old")


@pytest.mark.parametrize("form", FORMS)
def test_templates_over_many_rows(tmp_path, form):
    found = read(tmp_path, form, NAMED, **TEMPLATES)
    wanted = by_hand(NAMED, **TEMPLATES)
    assert list(found.samples) == wanted
    assert found.sample("n8999") == wanted[-1]
    grouped = manifest(
        tmp_path, labels=LABELS, group="(n.).*", table={"file": f"list.{form}"} | TEMPLATES
    )
    assert grouped.groups == [f"n{i}"[:2] for i in range(9000)]


@pytest.mark.parametrize("form", FORMS)
def test_several_images_of_a_row(tmp_path, form):
    rows = [{"id": "a", "image": ["a_0.png", "x/a_1.png"]}, {"id": "b", "image": ["b.png"]}]
    assert list(read(tmp_path, form, rows).samples) == by_hand(rows)
    for bad, says in [("", "no image"), ("../b", r"the path '\.\./b' leaves the root")]:
        broken = [*rows, {"id": "c", "image": ["c.png", bad]}]
        with pytest.raises(InputError, match=says) as caught:
            read(tmp_path, form, broken)
        assert f"list.{form}, {'row 3' if form == 'parquet' else 'line '}" in str(caught.value)


@pytest.mark.parametrize("form", FORMS)
def test_only_the_columns_to_keep(tmp_path, form):
    found = read(tmp_path, form, ROWS, metadata=["site", "age"], id="{code}_{id}", image="p.png")
    assert found.samples[0].metadata == {"age": 31.0, "site": "Oslo"}
    with pytest.raises(InputError, match=r"table\.metadata: no column 'sit'; did you mean 'site'"):
        read(tmp_path, form, ROWS, metadata=["sit", "site"])


@pytest.mark.parametrize("form", FORMS)
def test_a_row_that_lacks_a_word(tmp_path, form):
    with pytest.raises(InputError, match=r"nothing is called {sett}.*did you mean 'set'") as caught:
        read(tmp_path, form, NAMED[:3], **(TEMPLATES | {"split": "{sett}"}))
    place = {"csv": "line 2", "jsonl": "line 1", "parquet": "row 1"}[form]
    assert str(caught.value).startswith(f"{tmp_path / 'list'}.{form}, {place}: ")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [2, 1000])
@pytest.mark.parametrize("column", ["image", "mask"])
@pytest.mark.parametrize("path", ["../a.png", "/etc/a.png", "C:\\a.png", "a\x07.png", "a/..\\b"])
def test_no_path_leaves_the_root(tmp_path, monkeypatch, form, size, column, path):
    monkeypatch.setattr(_text_tables, "ROWS", size)
    monkeypatch.setattr(_parquet, "ROWS", size)
    rows = [{"id": f"s{i}", "image": f"i{i}", "mask": f"m{i}"} for i in range(7)]
    for bad in ({column: path}, {"id": path}):
        rows[5] = {"id": "s5", "image": "i5", "mask": "m5"} | bad
        templates = {"image": "{id}"} if "id" in bad else {}
        with pytest.raises(InputError, match="leaves the root|is not a path") as caught:
            read(tmp_path, form, rows, **templates)
        place = {"csv": "line 7", "jsonl": "line 6", "parquet": "row 6"}[form]
        assert f"list.{form}, {place}: " in str(caught.value)


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_what_parts_several_images_is_in_no_path(tmp_path, form):
    row = {"id": "a", "image": "a.png", "mask": "m.png"}
    for bad, keys in [
        ({"mask": "m\0n.png"}, {}),
        ({"image": "m\0n.png"}, {}),
        ({"image": ["m.png", "m\0n.png"]}, {}),
        ({"image": ["m.png", "n.png"]}, {"mask": "{image}"}),
        ({"name": "b\0c"}, {"image": "{name}.png"}),
    ]:
        with pytest.raises(InputError, match="1: .* is not a path"):
            read(tmp_path, form, [row | bad], **keys)


@given(texts=st.lists(st.text("a./\\: \x07é\u2028;C", max_size=5), min_size=1))
def test_paths_are_checked_in_bulk_as_one_by_one(texts):
    def refused(check):
        try:
            check()
        except InputError as error:
            return str(error)

    wanted = [refused(lambda text=text: relative(text, "")) for text in texts if text]
    found = refused(lambda: check_paths(Block.of(texts), lambda row: ""))
    assert (found is not None) == any(wanted)
    assert found is None or found == next(filter(None, wanted))


def test_lines_of_a_csv_are_counted_through_quotes_and_gaps(tmp_path, monkeypatch):
    text = 'id,image,note\na,a.png,"two\nlines"\n\n,,\nb,b.png,\n  ,,"\n"\nc,../c.png,\n'
    for size in (1, 2, 3, 100):
        monkeypatch.setattr(_text_tables, "ROWS", size)
        write(tmp_path / "list.csv", text)
        with pytest.raises(InputError, match=r"list\.csv, line 9: the path"):
            manifest(tmp_path, labels=LABELS, table={"file": "list.csv"})
        write(tmp_path / "list.csv", text.replace("../", "") + "d,d.png\n")
        with pytest.raises(InputError, match=r"list\.csv, line 10: 2 cells, but the header names"):
            manifest(tmp_path, labels=LABELS, table={"file": "list.csv"})
        write(tmp_path / "list.csv", text.replace("../", "").replace("\n", "\r\n"))
        found = manifest(tmp_path, labels=LABELS, table={"file": "list.csv"})
        assert found.ids == ["a", "b", "c"]
        assert found.samples[0].metadata == {"note": "two\nlines"}


def test_keys_that_come_late_in_a_jsonl(tmp_path, monkeypatch):
    rows = [{"image": f"{i}.png"} | ({"late": i} if i > 4 else {}) for i in range(7)]
    monkeypatch.setattr(_text_tables, "ROWS", 2)
    found = read(tmp_path, "jsonl", rows)
    assert [one.metadata for one in found.samples] == [{}] * 5 + [{"late": 5.0}, {"late": 6.0}]
    rows[6]["late"] = "no number"
    assert read(tmp_path, "jsonl", rows).samples[5].metadata == {"late": "5"}
    rows[6]["image"] = None
    with pytest.raises(InputError, match=r"list\.jsonl, line 7: no image"):
        read(tmp_path, "jsonl", rows)


def parquet(folder, columns, schema=None, **options):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as files

    table = pyarrow.table(columns, schema=schema)
    files.write_table(table, folder / "list.parquet", **options)
    return manifest(folder, labels=LABELS, table={"file": "list.parquet"})


def test_types_of_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    import datetime
    import decimal

    columns = {
        "image": pyarrow.array(["a.png", "b.png", "c.png"], pyarrow.large_string()),
        "group": pyarrow.array(["g", None, "g"]).dictionary_encode(),
        "int": pyarrow.array([1, None, 2**40], pyarrow.int64()),
        "byte": pyarrow.array([1, 2, 255], pyarrow.uint8()),
        "single": pyarrow.array([0.5, math.nan, None], pyarrow.float32()),
        "exact": pyarrow.array([decimal.Decimal("1.25"), None, decimal.Decimal("-2.50")]),
        "text": ["007", "", None],
        "digits": ["1", "2.5", None],
        "day": pyarrow.array([datetime.date(2024, 5, 1), None, None]),
        "nothing": pyarrow.nulls(3),
        "many": pyarrow.array([7, 7, 8]).dictionary_encode(),
    }
    found = parquet(tmp_path, columns, row_group_size=2)
    assert [one.group for one in found.samples] == ["g", "b", "g"]
    assert [one.metadata for one in found.samples] == [
        {"int": 1.0, "byte": 1.0, "single": 0.5, "exact": 1.25, "text": "007", "digits": 1.0,
         "day": "2024-05-01", "many": 7.0},
        {"byte": 2.0, "digits": 2.5, "many": 7.0},
        {"int": 2.0**40, "byte": 255.0, "exact": -2.5, "many": 8.0},
    ]  # fmt: skip


def test_what_parquet_cannot_hold(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    image = ["a.png", "b.png"]
    for columns, says in [
        ({"image": [1, 2]}, "the column 'image' holds int64; expected text, or a list of texts"),
        ({"image": image, "id": [1, 2]}, "the column 'id' holds int64; expected text"),
        ({"image": image, "v": [[1.0], [2.0]]}, "'v' holds list.*leave it out by table.metadata"),
        ({"image": image, "v": [b"1", b"2"]}, "the column 'v' holds binary; metadata must be"),
        ({"image": image, "v": [1.0, -math.inf]}, "row 2: column 'v' is -infinite"),
        ({"image": ["a.png", None]}, "row 2: no image"),
        ({"image": ["a.png", "b\0c"]}, "row 2: .* is not a path"),
        ({"file": image}, "no column 'image'"),
        ({"image": image, "masks": image}, "the column 'masks'; did you mean 'mask'"),
        ({"image": image, " ": image}, "a column's name is empty or repeated"),
        ({"image": pyarrow.array([], pyarrow.string())}, "the data set is empty"),
    ]:
        with pytest.raises(InputError, match=says) as caught:
            parquet(tmp_path, columns)
        assert "\n" not in str(caught.value)
    broken = [b"ok", b"a\xc3", b"\xa9b"]  # whole only where two cells meet
    for name in ("image", "note"):
        columns = {"image": ["a", "b", "c"], name: pyarrow.array(broken).view(pyarrow.string())}
        with pytest.raises(InputError, match=f"row 2: column '{name}' holds text that is not UTF"):
            parquet(tmp_path, columns)


def test_files_that_are_no_parquet(tmp_path):
    pytest.importorskip("pyarrow")
    data = as_parquet(NAMED)
    table = {"file": "list.parquet"} | TEMPLATES
    for bad in (b"", b"text", data[:-100], data[:2000] + b"x" * 4000 + data[6000:], data[100:]):
        write(tmp_path / "list.parquet", bad)
        with pytest.raises(InputError, match=r"list\.parquet: cannot be read as Parquet") as caught:
            manifest(tmp_path, labels=LABELS, table=table)
        assert "\n" not in str(caught.value)
    (tmp_path / "list.parquet").unlink()
    with pytest.raises(InputError, match=r"no such file, which .*table\.file names"):
        manifest(tmp_path, labels=LABELS, table=table)
    (tmp_path / "list.parquet").symlink_to("/etc/hostname")
    with pytest.raises(InputError, match="a link that leaves the root"):
        manifest(tmp_path, labels=LABELS, table=table)


def test_a_parquet_whose_cells_do_not_fit_their_checksum(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pyarrow.table({"image": ["a.png", "bbbb.png"]})
    options = {"compression": "none", "use_dictionary": False, "write_page_checksum": True}
    parquet.write_table(table, tmp_path / "t.parquet", write_statistics=False, **options)
    data = (tmp_path / "t.parquet").read_bytes()
    assert data.count(b"bbbb.png") == 1
    write(tmp_path / "t.parquet", data.replace(b"bbbb.png", b"bbbc.png"))
    with pytest.raises(InputError, match=r"t\.parquet: cannot be read as Parquet .*CRC"):
        manifest(tmp_path, labels=LABELS, table={"file": "t.parquet"})


def test_an_encrypted_file(tmp_path):
    pytest.importorskip("pyarrow")
    import datetime

    import pyarrow
    from pyarrow import parquet as files
    from pyarrow.parquet import encryption

    class Keys(encryption.KmsClient):
        def wrap_key(self, key, name):
            return key.hex()

        def unwrap_key(self, key, name):
            return bytes.fromhex(key)

    factory = encryption.CryptoFactory(lambda settings: Keys())
    keys = encryption.EncryptionConfiguration(
        footer_key="k", column_keys={"k": ["image"]}, cache_lifetime=datetime.timedelta(minutes=1)
    )
    table = pyarrow.table({"image": ["a.png"]})
    properties = factory.file_encryption_properties(encryption.KmsConnectionConfig(), keys)
    files.write_table(table, tmp_path / "list.parquet", encryption_properties=properties)
    with pytest.raises(InputError, match=r"list\.parquet: cannot be read as Parquet.*encrypted"):
        manifest(tmp_path, labels=LABELS, table={"file": "list.parquet"})


def test_without_pyarrow(tmp_path, monkeypatch):
    write(tmp_path / "list.parquet", b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"pip install 'conceptseg\[parquet\]'"):
        manifest(tmp_path, labels=LABELS, table={"file": "list.parquet"})


FREE = st.characters(exclude_characters="\0\r", exclude_categories=("Cs",))


@settings(deadline=None, max_examples=40)
@given(cells=st.lists(st.text(FREE, max_size=4).map(str.strip), min_size=1, max_size=6))
def test_free_texts_are_alike_in_every_form(tmp_path_factory, cells):
    rows = [{"image": f"{i}.png", "note": cell} for i, cell in enumerate(cells)]
    folder = tmp_path_factory.mktemp("free")
    wanted = by_hand(rows)
    for form in FORMS:
        assert list(read(folder, form, rows).samples) == wanted


@pytest.mark.parametrize("text", ["\ud800", "b\u202e", "\u2066c"])
@pytest.mark.parametrize("column", ["group", "split", "site"])
def test_texts_that_no_report_can_show(tmp_path, column, text):
    rows = [{"image": f"{i}.png", column: "größe"} for i in range(5)] + [{"image": "x.png"}]
    rows[3][column] = text
    write(tmp_path / "t.jsonl", as_jsonl(rows))
    with pytest.raises(InputError, match=f"a {column} .* half a character or a mark"):
        manifest(tmp_path, labels=LABELS, table={"file": "t.jsonl"})
    write(tmp_path / "t.jsonl", as_jsonl([{"image": "a.png", f"q{text}": 1}]))
    with pytest.raises(InputError, match="the column .* holds characters that do not print"):
        manifest(tmp_path, labels=LABELS, table={"file": "t.jsonl"})


@pytest.mark.parametrize("number", ["1" * 400, "-" + "9" * 309, "1e999"])
def test_numbers_without_bounds_stay_texts(tmp_path, number):
    write(tmp_path / "t.jsonl", f'{{"image": "a.png", "age": {number}}}\n')
    (found,) = manifest(tmp_path, labels=LABELS, table={"file": "t.jsonl"}).samples
    assert isinstance(found.metadata["age"], str)


def test_no_number_is_none_and_leaves_the_others_numbers(tmp_path):
    lines = ['{"image": "a.png", "age": 3}', '{"image": "b.png", "age": NaN}']
    write(tmp_path / "t.jsonl", "\n".join(lines))
    found = manifest(tmp_path, labels=LABELS, table={"file": "t.jsonl"}).samples
    assert [one.metadata.get("age") for one in found] == [3, None]


@pytest.mark.parametrize("name", ["\ufeffid", "id\0", "a\x1bb", "a\u200b"])
def test_columns_whose_names_do_not_print(tmp_path, name):
    """Such as a second mark of the byte order, behind which nobody would find the ids."""
    for form, text in {"csv": f"image,{name}\na.png,x\n",
                       "jsonl": json.dumps({name: "x", "image": "a.png"})}.items():  # fmt: skip
        write(tmp_path / f"t.{form}", text)
        with pytest.raises(InputError, match=r"the column '.*\\.*' holds characters that do not"):
            manifest(tmp_path, labels=LABELS, table={"file": f"t.{form}"})


def test_a_key_twice_in_a_row(tmp_path):
    write(tmp_path / "t.jsonl", '{"image": "a.png"}\n{"image": "b.png", "image": "c.png"}\n')
    with pytest.raises(InputError, match="line 2: not JSON .the key 'image' is given twice"):
        manifest(tmp_path, labels=LABELS, table={"file": "t.jsonl"})


def test_a_number_that_no_python_reads(tmp_path):
    write(tmp_path / "t.jsonl", f'{{"image": "a.png", "age": {"1" * 5000}}}\n')
    with pytest.raises(InputError, match="line 1: not JSON"):
        manifest(tmp_path, labels=LABELS, table={"file": "t.jsonl"})
