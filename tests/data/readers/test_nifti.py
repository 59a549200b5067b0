"""Volumes are written with known affines; where things lie is told in the patient's own terms."""

import gzip
import json

import numpy as np
import pytest

from conceptseg.data.manifest import check_files
from conceptseg.data.stamps import rows_digest
from conceptseg.errors import InputError
from tests.files import manifest, write

nibabel = pytest.importorskip("nibabel")
RNG = np.random.default_rng(0)
SHAPE = (6, 8, 5)  # to the right, to the front, upwards
LABELS = {"names": ["air", "liver", "lesion"], "background": "air"}
VOLUMES = [{"images": "i/{id}.nii.gz", "masks": "m/{id}.nii.gz", "split": "test"}]


def body():
    """Hounsfield units with the patient's right dark, front middling, top bright; and labels."""
    values = np.full(SHAPE, -100, np.int16)
    values[3:] += 50
    values[:, 4:] += 100
    values[:, :, 3:] += 200
    labels = np.zeros(SHAPE, np.uint8)
    labels[4:, 6:, 4:] = 1
    labels[0, 0, 0] = 2
    return values, labels


def save(path, values, codes="RAS"):
    """The volume, whose axes run as RAS+ says, stored with axes that run as `codes` say."""
    path.parent.mkdir(exist_ok=True)
    image = nibabel.Nifti1Image(values, np.diag([2.0, 2.0, 3.0, 1.0]))
    wanted = nibabel.orientations.axcodes2ornt(tuple(codes))
    image.as_reoriented(
        nibabel.orientations.ornt_transform(nibabel.io_orientation(image.affine), wanted)
    ).to_filename(path)


def patient(folder, codes="RAS", name="p1"):
    values, labels = body()
    save(folder / f"i/{name}.nii.gz", values, codes)
    save(folder / f"m/{name}.nii.gz", labels, codes)
    return values, labels


UPRIGHT = {
    # What row and column 0 are: [h, w] of a plane from values that run right, front, up.
    "axial": lambda v, k: v[::-1, ::-1, k].T,
    "coronal": lambda v, k: v[::-1, k, ::-1].T,
    "sagittal": lambda v, k: v[k, ::-1, ::-1].T,
}


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "SAL"])
@pytest.mark.parametrize("plane", UPRIGHT)
def test_a_plane_is_upright_however_the_volume_is_stored(tmp_path, codes, plane):
    values, labels = patient(tmp_path, codes)
    whole = manifest(
        tmp_path, format="nifti", labels=LABELS, volumes=VOLUMES, plane=plane, window=[50, 400]
    )
    axis = ("sagittal", "coronal", "axial").index(plane)
    assert len(whole.samples) == SHAPE[axis]
    assert set(whole.groups) == {"p1"} and whole.splits == ("test",)
    for k, sample in enumerate(whole.samples):
        image, found = whole.pair(sample)
        wanted = np.clip((UPRIGHT[plane](values, k) + 150.0) / 400, 0, 1)
        np.testing.assert_allclose(image, wanted[None], atol=1e-6)
        assert np.array_equal(found, UPRIGHT[plane](labels, k))
        assert whole.size(sample) == found.shape
        assert sample.metadata["slice"] == k
    assert check_files(whole) == []
    height = 2.0 if plane == "axial" else 3.0
    assert whole.source.spacing(whole.samples[0]) == pytest.approx((height, 2.0))


def test_an_axis_as_stored_has_the_later_axis_as_rows(tmp_path):
    values, labels = patient(tmp_path, "LPS")
    whole = manifest(
        tmp_path, format="nifti", labels=LABELS, volumes=VOLUMES, plane=2, range=[-100, 250]
    )
    image, found = whole.pair(whole.samples[1])
    wanted = values[::-1, ::-1, 1].T
    np.testing.assert_allclose(image[0], (wanted + 100) / 350, atol=1e-6)
    assert np.array_equal(found, labels[::-1, ::-1, 1].T)


def test_modalities_a_fourth_dimension_every_and_labelled(tmp_path):
    values, _ = patient(tmp_path)
    save(tmp_path / "j/p1.nii.gz", np.int16(values + 7))
    stacked = [VOLUMES[0] | {"images": ["i/{id}.nii.gz", "j/{id}.nii.gz"]}]
    keys = {"format": "nifti", "labels": LABELS, "channels": 2, "range": [-100, 300]}
    whole = manifest(tmp_path, volumes=stacked, **keys, every=2)
    assert [sample.id for sample in whole.samples] == ["p1_0", "p1_2", "p1_4"]
    image = whole.image(whole.samples[1])
    np.testing.assert_allclose(image[1] - image[0], 7 / 400, atol=1e-6)
    last = whole.image(whole.samples[2])
    four = nibabel.Nifti1Image(np.stack([values, values + 7], 3), np.diag([2.0, 2.0, 3.0, 1.0]))
    four.to_filename(tmp_path / "i/p1.nii.gz")
    again = manifest(tmp_path, volumes=VOLUMES, **keys, slices="labelled")
    assert [sample.id for sample in again.samples] == ["p1_0", "p1_4"]
    np.testing.assert_allclose(again.image(again.samples[1]), last)


def test_float_labels_and_rows(tmp_path):
    _, labels = patient(tmp_path)
    keys = {"format": "nifti", "labels": LABELS, "volumes": VOLUMES, "window": [50, 400]}
    first = manifest(tmp_path, **keys)
    before = rows_digest(first)
    stamps = {json.dumps(first.source.stamp(sample)) for sample in first.samples}
    assert len(stamps) == len(first.samples)
    save(tmp_path / "m/p1.nii.gz", labels.astype(np.float32))
    whole = manifest(tmp_path, **keys)
    assert np.array_equal(whole.labels(whole.samples[4]), UPRIGHT["axial"](labels, 4))
    assert rows_digest(whole) != before
    assert rows_digest(manifest(tmp_path, **keys, plane="coronal")) != rows_digest(whole)


def test_refusals(tmp_path):
    patient(tmp_path)
    keys = {"format": "nifti", "labels": LABELS, "volumes": VOLUMES}
    whole = manifest(tmp_path, **keys)
    with pytest.raises(InputError, match=r"values of int16.* give the manifest range"):
        whole.image(whole.samples[0])
    with pytest.raises(InputError, match="range and window both"):
        manifest(tmp_path, **keys, range=[0, 1], window=[0, 1])
    with pytest.raises(InputError, match="plane"):
        manifest(tmp_path, **keys, plane="oblique")
    moved = nibabel.Nifti1Image(body()[1], np.diag([2.0, 2.0, 4.0, 1.0]))
    moved.to_filename(tmp_path / "m/p1.nii.gz")
    with pytest.raises(InputError, match=r"m/p1\.nii\.gz: lies on another grid"):
        manifest(tmp_path, **keys)
    write(tmp_path / "m/p1.nii.gz", "text")
    with pytest.raises(InputError, match=r"m/p1\.nii\.gz: (not a NIfTI|damaged)"):
        manifest(tmp_path, **keys)
    (tmp_path / "m/p1.nii.gz").unlink()
    with pytest.raises(InputError, match=r"m/p1\.nii\.gz: no such file"):
        manifest(tmp_path, **keys)


@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
def test_a_header_that_promises_more_than_there_is(tmp_path, suffix):
    """30,000 slices would otherwise each be found damaged, one after the other."""
    values = np.zeros(SHAPE, np.int16)
    image = nibabel.Nifti1Image(values, np.eye(4))
    (tmp_path / "i").mkdir()
    image.to_filename(tmp_path / "a.nii")
    data = bytearray((tmp_path / "a.nii").read_bytes())
    data[46:48] = (30_000).to_bytes(2, "little")  # dim[3]
    content = bytes(data) if suffix == "nii" else gzip.compress(bytes(data))
    write(tmp_path / f"i/a.{suffix}", content)
    volumes = [{"images": f"i/{{id}}.{suffix}"}]
    with pytest.raises(InputError, match="damaged: 832 of the 2880352 bytes that its header prom"):
        manifest(tmp_path, format="nifti", labels=LABELS, volumes=volumes)


def test_a_gzip_file_of_several_parts(tmp_path):
    values, _ = patient(tmp_path)
    path = tmp_path / "i/p1.nii.gz"
    data = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(data[:500]) + gzip.compress(data[500:]))
    whole = manifest(
        tmp_path, format="nifti", labels=LABELS, volumes=VOLUMES, plane=2, range=[-100, 250]
    )
    wanted = (values[:, :, 1].T + 100) / 350
    np.testing.assert_allclose(whole.image(whole.samples[1])[0], wanted, atol=1e-6)


def test_a_gzip_file_whose_values_do_not_fit_their_checksum(tmp_path):
    path = tmp_path / "i/p1.nii.gz"
    path.parent.mkdir()
    values = np.arange(30**3, dtype=np.int16).reshape(30, 30, 30)
    nibabel.Nifti1Image(values, np.eye(4)).to_filename(path)
    data = gzip.decompress(path.read_bytes())
    stored = bytearray(gzip.compress(data, 0))  # not packed, so that a bit is one of the values
    stored[-20] ^= 1
    path.write_bytes(stored)
    keys = {"format": "nifti", "labels": LABELS, "plane": 2, "range": [0, 30**3]}
    whole = manifest(tmp_path, **keys, volumes=[{"images": "i/{id}.nii.gz"}])
    with pytest.raises(InputError, match=r"p1\.nii\.gz: damaged.*CRC check failed"):
        whole.image(whole.samples[0])


def test_a_header_that_promises_a_whole_disk(tmp_path):
    """The header alone says how much a small packed file would unpack to."""
    header = nibabel.Nifti1Header()
    header.set_data_shape((20, 20, 300))
    header.set_data_dtype(np.uint8)
    header["magic"], header["vox_offset"] = b"n+1", 352
    path = tmp_path / "i/p1.nii.gz"
    path.parent.mkdir()
    path.write_bytes(gzip.compress(header.binaryblock + bytes(500)))
    keys = {"format": "nifti", "labels": LABELS, "volumes": [{"images": "i/{id}.nii.gz"}]}
    with pytest.raises(InputError, match=r"voxels are more than 16 times max_pixels; cut it"):
        manifest(tmp_path, **keys, max_pixels=6000)
    with pytest.raises(InputError, match=r"is more than max_pixels \(5999\)"):
        manifest(tmp_path, **keys, max_pixels=5999)
    header["vox_offset"] = 2**40
    path.write_bytes(gzip.compress(header.binaryblock + bytes(500)))
    with pytest.raises(InputError, match="damaged: its values would begin at byte 1099511627776"):
        manifest(tmp_path, **keys)


def test_values_in_a_further_file_are_not_read(tmp_path):
    """Of a pair of files only one is named, and hashed."""
    values, _ = body()
    (tmp_path / "i").mkdir()
    nibabel.Nifti1Pair(values, np.eye(4)).to_filename(tmp_path / "i/p1.img")
    with pytest.raises(InputError, match=r"p1\.img: Nifti1Pair, not a NIfTI volume in one file"):
        manifest(tmp_path, format="nifti", labels=LABELS, volumes=[{"images": "i/{id}.img"}])
