"""DICOM files are written by pydicom, with pixels and headers that are known."""

import numpy as np
import pytest

from conceptseg.data.images import read_image, read_mask
from conceptseg.data.raster import Rules
from conceptseg.errors import InputError
from tests.files import manifest, png, write

pydicom = pytest.importorskip("pydicom")
RNG = np.random.default_rng(0)


def save(path, values, frames=False, **tags):
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    file = Dataset()
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.file_meta.MediaStorageSOPClassUID = file.SOPClassUID = CTImageStorage
    file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID = "1.2.3"
    colours = values.ndim == 3 and not frames
    file.Rows, file.Columns = values.shape[1:3] if frames else values.shape[:2]
    file.SamplesPerPixel = 3 if colours else 1
    file.PhotometricInterpretation = "RGB" if colours else "MONOCHROME2"
    if frames:
        file.NumberOfFrames = len(values)
    file.PlanarConfiguration = 0
    file.BitsAllocated = file.BitsStored = 8 * values.dtype.itemsize
    file.HighBit = file.BitsStored - 1
    file.PixelRepresentation = int(values.dtype.kind == "i")
    file.PixelData = values.tobytes() + b"\0" * (values.nbytes % 2)
    for tag, value in tags.items():
        setattr(file, tag, value)
    path.parent.mkdir(exist_ok=True)
    file.save_as(path, enforce_file_format=True)
    return path


def test_hounsfield_units_in_a_window(tmp_path):
    stored = RNG.integers(0, 2000, (6, 8)).astype(np.int16)
    save(tmp_path / "p/a.dcm", stored, RescaleSlope=2, RescaleIntercept=-1024, PatientID="Ann")
    write(tmp_path / "m/a.png", png(np.uint8(stored > 500)))
    whole = manifest(
        tmp_path,
        format="dicom",
        channels=1,
        window=[40, 400],
        labels={"names": ["a", "b"]},
        folders=[{"images": "p/{id}.dcm", "masks": "m/{id}.png"}],
    )
    image, labels = whole.pair(whole.samples[0])
    units = stored * 2.0 - 1024
    np.testing.assert_allclose(image[0], np.clip((units + 160) / 400, 0, 1), atol=1e-6)
    assert np.array_equal(labels, stored > 500)


def test_groups_are_patients_and_do_not_tell_their_names(tmp_path):
    blank = np.zeros((4, 4), np.uint8)
    for name, who in {"IM1": "Ann", "IM2": "Ann", "1.2.840": "Bob"}.items():
        save(tmp_path / "p" / name, blank, PatientID=who, InstanceNumber=len(name))
    keys = {"format": "dicom", "channels": 1, "labels": {"names": ["a", "b"]}}
    whole = manifest(tmp_path, **keys, folders=[{"images": "p/{id}"}])
    by_id = {sample.id: sample for sample in whole.samples}
    assert by_id["IM1"].group == by_id["IM2"].group != by_id["1.2.840"].group
    assert not {"Ann", "Bob"} & set("".join(whole.groups).split())
    assert by_id["1.2.840"].metadata["slice"] == 7
    assert whole.image(by_id["1.2.840"]).shape == (1, 4, 4)
    told = manifest(tmp_path, **keys, folders=[{"images": "p/{id}", "group": "all"}])
    assert set(told.groups) == {"all"}
    save(tmp_path / "p/IM3", blank)
    with pytest.raises(InputError, match="IM3: no PatientID; say what the groups are"):
        manifest(tmp_path, **keys, folders=[{"images": "p/{id}"}])


def test_depth_inverted_grey_and_colours(tmp_path):
    stored = RNG.integers(0, 4096, (6, 8)).astype(np.uint16)
    path = save(tmp_path / "p/a.dcm", stored, BitsStored=12, HighBit=11)
    np.testing.assert_allclose(read_image([path], Rules(1))[0], stored / 4095, atol=1e-6)
    kind = "MONOCHROME1"
    path = save(
        tmp_path / "p/b.dcm", stored, BitsStored=12, HighBit=11, PhotometricInterpretation=kind
    )
    np.testing.assert_allclose(read_image([path], Rules(1))[0], 1 - stored / 4095, atol=1e-6)
    assert np.array_equal(read_mask(path), stored)
    colours = RNG.integers(0, 256, (6, 8, 3), np.uint8)
    path = save(tmp_path / "p/c.dcm", colours)
    np.testing.assert_allclose(
        read_image([path], Rules(3)), colours.transpose(2, 0, 1) / 255, atol=1e-6
    )


def test_refusals(tmp_path):
    values = np.zeros((2, 4), np.uint8)
    with pytest.raises(InputError, match=r"t\.dcm: not a DICOM file"):
        read_image([write(tmp_path / "t.dcm", "text")], Rules(1))
    path = save(tmp_path / "f.dcm", np.zeros((3, 2, 4), np.uint8), frames=True)
    with pytest.raises(InputError, match="of 3 frames; read it with format: dicom"):
        read_image([path], Rules(1))
    path = save(tmp_path / "s.dcm", values, SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4")
    with pytest.raises(InputError, match="a DICOM segmentation object"):
        read_image([path], Rules(1))
    path = save(tmp_path / "i.dcm", np.full((2, 4), -5, np.int16))
    with pytest.raises(InputError, match=r"values of int16.* give the manifest range"):
        read_image([path], Rules(1))


KEYS = {
    "format": "dicom",
    "channels": 1,
    "labels": {"names": ["a", "b"]},
    "folders": [{"images": "p/{id}.dcm", "masks": "m/{id}.dcm"}],
}


def test_frames_are_samples_and_carry_their_number(tmp_path):
    stored = RNG.integers(0, 2000, (12, 6, 8)).astype(np.int16)
    masks = np.uint8(stored > 900)
    save(tmp_path / "p/a.dcm", stored, True, RescaleSlope=2, RescaleIntercept=-1024, PatientID="A")
    save(tmp_path / "m/a.dcm", masks, True)
    single = save(tmp_path / "p/b.dcm", stored[0], PatientID="B", InstanceNumber=7,
                  PixelSpacing=[0.7, 0.5])  # fmt: skip
    save(tmp_path / "m/b.dcm", masks[0])
    whole = manifest(tmp_path, window=[40, 400], **KEYS)
    assert [one.id for one in whole.samples] == [*(f"a_{k:02d}" for k in range(1, 13)), "b"]
    assert (
        len(set(whole.groups)) == 2
        and len({str(whole.source.stamp(one)) for one in whole.samples}) == 13
    )
    for k, sample in enumerate(whole.samples[:12]):
        image, labels = whole.pair(sample)
        units = stored[k] * 2.0 - 1024
        np.testing.assert_allclose(image[0], np.clip((units + 160) / 400, 0, 1), atol=1e-6)
        assert np.array_equal(labels, masks[k]) and sample.metadata["slice"] == k + 1
        assert np.array_equal(whole.labels(sample), labels) and whole.size(sample) == (6, 8)
    assert np.array_equal(whole.labels(whole.samples[12]), masks[0])
    assert whole.samples[12].metadata["slice"] == 7 and single.exists()
    assert whole.source.spacing(whole.samples[12]) == (0.7, 0.5)
    assert whole.source.spacing(whole.samples[0]) is None


def test_each_frame_is_in_its_own_units(tmp_path):
    from pydicom.dataset import Dataset

    def group(slope, intercept):
        inner, outer = Dataset(), Dataset()
        inner.RescaleSlope, inner.RescaleIntercept = slope, intercept
        outer.PixelValueTransformationSequence = [inner]
        return outer

    stored = RNG.integers(0, 100, (2, 6, 8)).astype(np.int16)
    per_frame = [group(2, 1), group(5, -3)]
    save(tmp_path / "p/a.dcm", stored, True, PatientID="A",
         SharedFunctionalGroupsSequence=[group(9, 9)],
         PerFrameFunctionalGroupsSequence=per_frame)  # fmt: skip
    save(tmp_path / "p/b.dcm", stored, True, PatientID="A",
         SharedFunctionalGroupsSequence=[group(3, 0)])  # fmt: skip
    keys = {**KEYS, "folders": [{"images": "p/{id}.dcm"}]}
    whole = manifest(tmp_path, range=[-10, 990], **keys)
    wanted = [stored[0] * 2 + 1, stored[1] * 5 - 3, stored[0] * 3, stored[1] * 3]
    for sample, units in zip(whole.samples, wanted, strict=True):
        np.testing.assert_allclose(whole.image(sample)[0], (units + 10) / 1000, atol=1e-6)


def test_masks_of_frames_are_frames_of_as_many(tmp_path):
    stored = np.zeros((3, 2, 4), np.uint8)
    save(tmp_path / "p/a.dcm", stored, True, PatientID="A")
    save(tmp_path / "m/a.dcm", stored[:2], True)
    with pytest.raises(InputError, match=r"m/a.dcm: 2 frames, but .*p/a.dcm, of the same"):
        manifest(tmp_path, **KEYS)
    write(tmp_path / "n/a.png", png(stored[0]))
    keys = {**KEYS, "folders": [{"images": "p/{id}.dcm", "masks": "n/{id}.png"}]}
    with pytest.raises(InputError, match=r"of 3 frames, to which a.png belongs, which must be"):
        manifest(tmp_path, **keys)


def test_frames_that_a_header_only_announces(tmp_path):
    values = RNG.integers(0, 200, (2, 4, 4)).astype(np.uint8)
    save(tmp_path / "p/a.dcm", values, frames=True, PatientID="Ann", NumberOfFrames=10**9)
    keys = {"format": "dicom", "channels": 1, "labels": {"names": ["a"]}}
    with pytest.raises(InputError, match=r"a\.dcm: damaged: 1000000000 frames in \d+ bytes"):
        manifest(tmp_path, **keys, folders=[{"images": "p/{id}.dcm"}])


def test_a_file_that_is_packed_as_a_whole_is_refused_unread(tmp_path):
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    path = save(tmp_path / "p/a.dcm", np.zeros((900, 900), np.uint16))
    file = pydicom.dcmread(path)
    file.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    file.save_as(path)
    assert path.stat().st_size < 20_000
    with pytest.raises(InputError, match="DICOM that is deflated as a whole; save it"):
        read_image([path], Rules(1))
