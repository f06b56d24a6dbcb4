"""Files of volumes as scanners and others write them: what is read, told, refused and written."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from distvae.config import DataConfig
from distvae.data.sources.raw import Notes
from distvae.data.sources.scans import Scan
from distvae.data.sources.volume_files import scans_in
from distvae.data.sources.volumes import read_volumes
from distvae.domains.volume_files import Grid, write_volume
from distvae.errors import DistvaeError

SHAPE = (5, 6, 7)


def values(kind: str = "int16", low: int = -300, high: int = 2000) -> NDArray[Any]:
    return np.random.default_rng(0).integers(low, high, SHAPE).astype(kind)


def read(path: Path) -> Scan:
    (found,) = scans_in(path, [])
    return found.read()


def series(folder: Path, planes: NDArray[Any], uid: str = "1.2", **changes: Any) -> Path:
    """Slices 2.5 mm apart whose names are in the reverse order of their places.

    A value that is a list is one for each slice; None leaves a tag out.
    """
    pydicom = pytest.importorskip("pydicom")
    folder.mkdir(parents=True, exist_ok=True)
    for number, plane in enumerate(planes):
        file = pydicom.Dataset()
        file.file_meta = pydicom.dataset.FileMetaDataset()
        file.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        file.SOPClassUID, file.SOPInstanceUID = pydicom.uid.MRImageStorage, f"1.3.{number}"
        tags: dict[str, Any] = {
            "SeriesInstanceUID": uid,
            "Rows": plane.shape[0],
            "Columns": plane.shape[1],
            "BitsAllocated": 16,
            "BitsStored": 16,
            "HighBit": 15,
            "PixelRepresentation": int(plane.dtype.kind == "i"),
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            "PixelSpacing": [0.5, 0.75],
            "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
            "ImagePositionPatient": [0, 0, 10 + 2.5 * number],
            "SliceThickness": 3,
            "PixelData": plane.tobytes(),
            **{k: v[number] if isinstance(v, list) else v for k, v in changes.items()},
        }
        for tag, value in tags.items():
            if value is not None:
                setattr(file, tag, value)
        name = f"{uid}-{len(planes) - number:02}.dcm"
        file.save_as(folder / name, enforce_file_format=True)
    return folder


def test_slices_of_dicom_are_ordered_by_their_place(tmp_path: Path) -> None:
    planes = values()
    scan = read(series(tmp_path / "a", planes))
    assert np.array_equal(scan.values, planes)
    assert (scan.values.dtype, scan.spacing) == (np.dtype("int16"), (2.5, 0.5, 0.75))
    by_number: dict[str, Any] = {"ImagePositionPatient": None, "InstanceNumber": [1, 2, 3, 4, 5]}
    scan = read(series(tmp_path / "b", planes, **by_number))
    assert np.array_equal(scan.values, planes)
    assert scan.spacing == (3.0, 0.5, 0.75)
    bare: dict[str, Any] = dict.fromkeys(
        (*by_number, "PixelSpacing", "SliceThickness", "SeriesInstanceUID")
    )
    for name in ("c", "d"):
        series(tmp_path / "bare" / name, planes, **bare)
    one, other = scans_in(tmp_path / "bare", [])  # nothing says what belongs together but folders
    scan = one.read()
    assert np.array_equal(scan.values, planes[::-1])  # by name
    assert scan.spacing == (1.0, 1.0, 1.0)
    assert other.name == "d (5 slices)"


def test_dicom_is_scaled_as_it_says(tmp_path: Path) -> None:
    planes = values("uint16", 0, 4096)
    scan = read(series(tmp_path / "a", planes, RescaleSlope=1, RescaleIntercept=-1024))
    assert scan.values.dtype == np.int16
    assert np.array_equal(scan.values, planes.astype(int) - 1024)
    slopes = [0.5, 1.5, 2.5, 3.5, 4.5]  # as of PET: each slice has its own
    scan = read(series(tmp_path / "b", planes, RescaleSlope=slopes, RescaleIntercept=0))
    assert scan.values.dtype == np.float32
    assert np.allclose(scan.values, planes * np.array(slopes)[:, None, None])
    large = values("uint16", 0, 65536)
    scan = read(series(tmp_path / "c", large, RescaleSlope=2, RescaleIntercept=None))
    assert scan.values.dtype == np.int32
    assert np.array_equal(scan.values, 2 * large.astype(int))


def test_series_in_one_folder_are_volumes_of_their_own(tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    planes = values()
    series(tmp_path / "a", planes, "1.2")
    series(tmp_path / "a", planes + 1, "1.3")
    (tmp_path / "a" / "notes.txt").write_text("of the study")
    report = pydicom.Dataset()
    report.file_meta = pydicom.dataset.FileMetaDataset()
    report.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    report.SOPClassUID, report.SOPInstanceUID = pydicom.uid.BasicTextSRStorage, "1.4"
    report.save_as(tmp_path / "a" / "report", enforce_file_format=True)  # known by its content
    notes: Notes = []
    one, other = scans_in(tmp_path, notes)
    assert [one.name, other.name] == ["a, series 1 (5 slices)", "a, series 2 (5 slices)"]
    assert np.array_equal(other.read().values, one.read().values + 1)
    assert notes == ["skipped: 1 DICOM file without pixels", "skipped: 1 .txt file"]
    series(tmp_path / "b", planes, "1.3")
    notes.clear()
    assert len(scans_in(tmp_path, notes)) == 3
    assert "1 series in several folders: a volume of each folder" in notes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"ImagePositionPatient": [[0, 0, z] for z in (0, 1, 1, 2, 3)]},
            r"two slices at one place",
        ),
        ({"ImagePositionPatient": [[0, 0, z] for z in (0, 1, 3, 4, 5)]}, r"1 to 2 mm apart"),
        ({"PixelSpacing": [[1, 1], [1, 1], [2, 2], [1, 1], [1, 1]]}, r"differ in size or spacing"),
        ({"SamplesPerPixel": 3}, r"colours"),
        ({"PixelData": b"\0\0"}, r"cannot read .*dcm"),
    ],
)
def test_slices_that_make_no_volume_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    folder = series(tmp_path / "a", values(), **changes)
    with pytest.raises(DistvaeError, match=message):
        read(folder)


def test_other_files_called_dicom_are_named(tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    (tmp_path / "a.dcm").write_bytes(b"no slice")
    with pytest.raises(DistvaeError, match=r"cannot read .*a\.dcm"):
        scans_in(tmp_path, [])


def test_niftis_are_turned_scaled_and_measured_as_they_say(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    known, path = values(), tmp_path / "a.nii.gz"
    across = known.transpose(2, 1, 0)  # right, front, up
    # written with left, down and back as axes, and obliquely
    turn = np.eye(4)
    turn[:3, :3] = [[-0.99, 0.0, 0.1], [-0.1, 0.0, -0.99], [0.0, -1.0, 0.0]]
    affine = turn @ np.diag([0.5, 2.5, 0.75, 1.0])
    stored = across[::-1, ::-1, ::-1].transpose(0, 2, 1)
    for endian in "<>":
        header = nibabel.Nifti1Header(endianness=endian)
        header.set_data_dtype(np.int16)
        image = nibabel.Nifti1Image(stored, affine, header)
        image.header.set_xyzt_units("micron")
        image.to_filename(path)
        scan = read(path)
        assert np.array_equal(scan.values, known)
        assert scan.values.dtype.name == "int16"
        assert np.allclose(scan.spacing, [2.5e-3, 0.75e-3, 0.5e-3], rtol=1e-2)
        # the voxel that is first now lies where its file has it
        assert scan.affine is not None
        place = image.affine @ [SHAPE[2] - 1, SHAPE[0] - 1, SHAPE[1] - 1, 1]
        assert np.allclose(scan.affine[:3, 3], 1e-3 * place[:3], atol=1e-6)
    for kind, slope, inter, expected in (
        ("float32", 0.5, 10.0, 0.5 * known + 10.0),
        ("int16", 2.0, -3.0, 2 * known.astype(int) - 3),
    ):
        raw = nibabel.Nifti1Image(across, np.eye(4))
        raw.header.set_data_dtype(np.int16)
        content = bytearray(raw.to_bytes())
        content[112:120] = np.array([slope, inter], "<f4").tobytes()  # scl_slope, scl_inter
        (tmp_path / "b.nii").write_bytes(content)
        scan = read(tmp_path / "b.nii")
        assert scan.values.dtype == np.dtype(kind)
        assert np.allclose(scan.values, expected)


@pytest.mark.parametrize(
    ("shape", "kind", "message"),
    [
        ((7, 6, 5, 2), "int16", r"4 axes.*expected 3"),
        ((7, 6, 1), "int16", r"1 x 6 x 7 voxels.*Single slices are images"),
        ((7, 6, 0), "int16", r"0 x 6 x 7 voxels"),
        ((7, 6, 5), "complex64", r"complex64.*one number"),
        ((7, 6, 5), "nan", r"not finite"),
    ],
)
def test_niftis_that_are_no_volume_are_refused(
    tmp_path: Path, shape: tuple[int, ...], kind: str, message: str
) -> None:
    nibabel = pytest.importorskip("nibabel")
    array = np.full(shape, np.nan) if kind == "nan" else np.zeros(shape, kind)
    nibabel.Nifti1Image(array, np.eye(4)).to_filename(tmp_path / "a.nii")
    with pytest.raises(DistvaeError, match=message):
        read_volumes(tmp_path, DataConfig(data="x"))


def test_damaged_niftis_are_named(tmp_path: Path) -> None:
    pytest.importorskip("nibabel")
    write_volume(tmp_path / "a.nii.gz", values(), Grid(0.0, 1.0, "int16", (1.0, 1.0, 1.0)))
    whole = (tmp_path / "a.nii.gz").read_bytes()
    plain = gzip.decompress(whole)
    for damaged in (whole[: len(whole) // 2], b"no file", gzip.compress(plain[:400]), b""):
        (tmp_path / "a.nii.gz").write_bytes(damaged)
        with pytest.raises(DistvaeError, match=r"cannot read .*a\.nii\.gz"):
            read(tmp_path)


@pytest.mark.parametrize(
    "kind", ["uint8", "int16", "uint16", "int32", "int64", "float32", "float64"]
)
def test_types_and_spacings_are_kept_in_what_is_written(tmp_path: Path, kind: str) -> None:
    pytest.importorskip("nibabel")
    known, spacing = values(kind, 0, 250), (2.5, 0.5, 0.75)
    write_volume(tmp_path / "a.nii.gz", known, Grid(0.0, 1.0, kind, spacing))
    scan = read(tmp_path / "a.nii.gz")
    assert scan.values.dtype == np.dtype(kind)
    assert np.array_equal(scan.values, known)
    assert np.allclose(scan.spacing, spacing)


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32"])
def test_pages_of_a_tiff_are_slices(tmp_path: Path, kind: str) -> None:
    known = values(kind, 0, 250)
    first, *others = [Image.fromarray(page) for page in known]
    first.save(tmp_path / "a.tif", save_all=True, append_images=others)
    scan = read(tmp_path / "a.tif")
    assert scan.values.dtype == np.dtype(kind)
    assert np.array_equal(scan.values, known)
    content = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(content[: len(content) // 2])
    with pytest.raises(DistvaeError, match=r"cannot read .*a\.tif"):
        read(tmp_path / "a.tif")


def test_pages_that_make_no_volume_are_refused(tmp_path: Path) -> None:
    grey = [Image.new("L", (7, 6 + (number == 2))) for number in range(5)]
    grey[0].save(tmp_path / "a.tif", save_all=True, append_images=grey[1:])
    with pytest.raises(DistvaeError, match=r"cannot read .*a\.tif"):
        read(tmp_path / "a.tif")
    colour = [Image.new("RGB", (7, 6))] * 5
    colour[0].save(tmp_path / "a.tif", save_all=True, append_images=colour[1:])
    with pytest.raises(DistvaeError, match=r"pages are RGB, and grey"):
        read(tmp_path / "a.tif")


def test_types_of_several_files_are_joined(tmp_path: Path) -> None:
    for number, kind in enumerate(("uint8", "int16", "bool")):
        np.save(tmp_path / f"{number}.npy", values(kind, 0, 2 if kind == "bool" else 200))
    raw = read_volumes(tmp_path, DataConfig(data="x"))
    assert raw.facts["kind"] == "int16"


def test_all_levels_of_16_bits_come_back(tmp_path: Path) -> None:
    pytest.importorskip("nibabel")
    known = np.random.default_rng(0).permutation(2**16).astype(np.uint16).reshape(32, 32, 64)
    path = tmp_path / "a.nii.gz"
    write_volume(path, known, Grid(0.0, 1.0, "uint16", (1.0, 1.0, 1.0)))
    raw = read_volumes(path, DataConfig(data=str(path)))
    grid = Grid(*(raw.facts[name] for name in Grid._fields))
    assert raw.facts["levels"] == 2**16
    stored = [split.fetch(split.rows)[0][0] for split in (raw.train, raw.test)]
    assert np.array_equal(np.concatenate([grid.values(each) for each in stored], 2), known)
