"""DICOM files are written by pydicom, with pixels and headers that are known."""

import numpy as np
import pytest

from conceptseg.data.images import read_image, read_mask
from conceptseg.data.raster import Rules
from conceptseg.errors import InputError
from tests.files import manifest, png, write

pydicom = pytest.importorskip("pydicom")
RNG = np.random.default_rng(0)


def save(path, values, **tags):
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    file = Dataset()
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.file_meta.MediaStorageSOPClassUID = file.SOPClassUID = CTImageStorage
    file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID = "1.2.3"
    file.Rows, file.Columns = values.shape[:2]
    file.SamplesPerPixel = 1 if values.ndim == 2 else 3
    file.PhotometricInterpretation = "MONOCHROME2" if values.ndim == 2 else "RGB"
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
    path = save(tmp_path / "f.dcm", np.zeros((2, 4), np.uint8), NumberOfFrames=3)
    with pytest.raises(InputError, match="of 3 frames; save one frame a file"):
        read_image([path], Rules(1))
    path = save(tmp_path / "s.dcm", values, SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4")
    with pytest.raises(InputError, match="a DICOM segmentation object"):
        read_image([path], Rules(1))
    path = save(tmp_path / "i.dcm", np.full((2, 4), -5, np.int16))
    with pytest.raises(InputError, match=r"values of int16.* give the manifest range"):
        read_image([path], Rules(1))
