"""Laws of reading labelled images: every layout of one set gives the same classes and images."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from tests.helpers.patience import PATIENCE_S
from tests.helpers.rights import without_rights

from georgia.catalog.folders import split_of_name
from georgia.catalog.read import read_catalog, relative_name
from georgia.errors import InputError
from georgia.files import write_text
from georgia.progress import Quiet
from georgia.records import SPLITS, Failure
from georgia.text import format_csv


def save(path: Path, grey: int = 90) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (4, 3), grey).save(path)


def make_set(root: Path, *names: str) -> Path:
    for index, name in enumerate(names):
        save(root / name, index)
    return root


def names_of(catalog) -> list[tuple[str, str, str]]:
    return [(relative_name(item.path, catalog.root), item.class_name, item.split) for item in catalog.records]


# --- folder per class --------------------------------------------------------------------------


def test_folders_give_classes(tmp_path):
    make_set(tmp_path, "PG/PG (10).png", "PG/PG (2).png", "CEX/CEX (1).png", "CEX/run 3/deep/CEX (2).tif")
    catalog = read_catalog(tmp_path)
    assert catalog.labels.names == ("CEX", "PG")
    assert names_of(catalog) == [
        ("CEX/CEX (1).png", "CEX", ""),
        ("CEX/run 3/deep/CEX (2).tif", "CEX", ""),
        ("PG/PG (2).png", "PG", ""),
        ("PG/PG (10).png", "PG", ""),
    ]
    assert catalog.count_by_class() == {"CEX": 2, "PG": 2}
    assert catalog.root == tmp_path
    assert catalog.failures == ()


@pytest.mark.parametrize("folders", [("cex", "PG"), ("CEX", "pg"), ("Cex", "Pg")])
def test_folder_case_changes_no_order(tmp_path, folders):
    make_set(tmp_path, *(f"{folder}/a.png" for folder in folders))
    assert read_catalog(tmp_path).labels.names == folders


def test_folder_numbers_are_ordered(tmp_path):
    make_set(tmp_path, *(f"{index}/a.png" for index in (10, 2, 0, 1)))
    assert read_catalog(tmp_path).labels.names == ("0", "1", "2", "10")


def test_class_names_follow_folder_order(tmp_path):
    make_set(tmp_path, "0/a.png", "1/b.png")
    catalog = read_catalog(tmp_path, class_names={"0": "ZZZ", "1": "AAA"})
    assert catalog.labels.names == ("ZZZ", "AAA")
    assert names_of(catalog) == [("0/a.png", "ZZZ", ""), ("1/b.png", "AAA", "")]


def test_class_names_merge_folders(tmp_path):
    make_set(tmp_path, "0/a.png", "1/b.png", "2/c.png")
    catalog = read_catalog(tmp_path, class_names={"0": "CEX", "2": "CEX"})
    assert catalog.count_by_class() == {"CEX": 2, "1": 1}


def test_system_files_are_ignored(tmp_path):
    make_set(tmp_path, "CEX/a.png", "PG/b.png", "PG/.hidden.png", ".git/x.png", "__MACOSX/CEX/a.png")
    for name in ("Thumbs.db", "desktop.ini", ".DS_Store", "PG/Thumbs.db", "PG/.DS_Store"):
        (tmp_path / name).write_bytes(b"x")
    catalog = read_catalog(tmp_path)
    assert len(catalog.records) == 2
    assert catalog.failures == ()


def read_told(source):
    told: list[str] = []
    listener = Quiet()
    listener.say = told.append
    return read_catalog(source, progress=listener), told


def test_sidecars_of_images_are_no_failures(tmp_path):
    make_set(tmp_path, "CEX/a.png", "PG/b.png")
    sidecars = ("PG/b.json", "PG/b.png.xmp")
    for name in ("truth.csv", "README.md", "PG/notes.txt", *sidecars, "PG/film.gif", "PG/scan.dcm"):
        (tmp_path / name).write_text("x")
    catalog, told = read_told(tmp_path)
    assert catalog.failures == (
        Failure(tmp_path / "PG/film.gif", "not an image file (suffix '.gif')"),
        Failure(tmp_path / "PG/notes.txt", "not an image file (suffix '.txt')"),
        Failure(tmp_path / "PG/scan.dcm", "not an image file (suffix '.dcm')"),
    )
    assert told[1:] == ["note: passed over 2 sidecar files (such as annotations) of images in class folders"]


def test_other_formats_beside_classes_are_told(tmp_path):
    make_set(tmp_path, "train/CEX/a.png", "train/PG/b.png")
    make_set(tmp_path, "test/CEX/c.png", "test/PG/d.png")
    for name in ("truth.csv", "1.dcm", "2.dcm", "test/film.mp4", "test/README"):
        (tmp_path / name).write_text("x")
    catalog, told = read_told(tmp_path)
    assert catalog.failures == ()
    assert told[1:] == [
        "note: passed over 3 files of other kinds (.dcm 2, .mp4 1) beside class folders: "
        "they belong to no class"
    ]


def test_folders_of_other_formats_tell_what_they_hold(tmp_path):
    for name in ("A/1.dcm", "A/2.dcm", "B/3.dcm"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    with pytest.raises(InputError, match=r"no images that are read, but 3 files such as '1\.dcm': not an"):
        read_catalog(tmp_path)
    with pytest.raises(InputError, match=r"'A' holds 2 files of other kinds .* and no class folders"):
        read_catalog(tmp_path / "A")


@pytest.mark.slow
def test_closed_class_folder_is_named(tmp_path):
    make_set(tmp_path, "CEX/a.png", "PG/b.png")
    code = "import sys; from georgia.catalog.read import read_catalog; read_catalog(sys.argv[1])"
    (tmp_path / "PG").chmod(0)
    try:
        command = [*without_rights(), sys.executable, "-c", code, str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    finally:
        (tmp_path / "PG").chmod(0o755)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("georgia.errors.InputError: Cannot list folder"), done.stderr
    assert "PG" in last


def test_image_under_other_suffix_is_told(tmp_path):
    make_set(tmp_path, "CEX/a.png", "PG/b.png")
    for name in ("b.heic", "c", "d.dat"):
        shutil.copy(tmp_path / "PG/b.png", tmp_path / "PG" / name)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "PG/pipe.txt")
    told = [failure.error for failure in read_catalog(tmp_path).failures]
    assert told[0] == (
        "its suffix '.heic' is none of an image that is read, though its content is PNG; rename it"
    )
    assert [error.startswith("its suffix") for error in told] == [True, True, True, False][: len(told)]


def test_lone_folder_is_entered(tmp_path):
    make_set(tmp_path, "archive/cropped/cropped/cex/a.png", "archive/cropped/cropped/pg/b.png")
    catalog = read_catalog(tmp_path)
    assert catalog.labels.names == ("cex", "pg")
    assert catalog.records[0].path == tmp_path / "archive/cropped/cropped/cex/a.png"
    assert read_catalog(tmp_path / "archive", class_names={"cex": "CEX"}).labels.names == ("CEX", "pg")


# --- split folders -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "folders",
    [
        ("train", "valid", "test"),
        ("Training", "Validation", "Testing"),
        ("train", "val", "test"),
        ("GAtrainBinary", "GAvalidBinary", "GAtestBinary"),
        ("run_7_trainBinary", "run_7_validBinary", "run_7_testBinary"),
    ],
)
def test_split_folders_of_every_spelling_are_read(tmp_path, folders):
    make_set(
        tmp_path, *(f"{folder}/{name}/{index}.png" for index, folder in enumerate(folders) for name in "01")
    )
    catalog = read_catalog(tmp_path, class_names={"0": "CEX", "1": "PG"})
    assert catalog.labels.names == ("CEX", "PG")
    for folder, split in zip(folders, SPLITS, strict=True):
        assert [record.path.parent.parent.name for record in catalog.subset(split)] == [folder] * 2
        assert [record.class_name for record in catalog.subset(split)] == ["CEX", "PG"]


def test_split_folders_may_be_missing(tmp_path):
    make_set(tmp_path, "train/CEX/a.png", "train/PG/b.png", "test/PG/c.png")
    catalog = read_catalog(tmp_path)
    assert [len(catalog.subset(split)) for split in SPLITS] == [2, 0, 1]


def test_class_may_be_called_test(tmp_path):
    make_set(tmp_path, "test/a.png", "control/b.png")
    catalog = read_catalog(tmp_path)
    assert catalog.labels.names == ("control", "test")
    assert {record.split for record in catalog.records} == {""}


@pytest.mark.parametrize("name", ["strain", "latest", "constrain", "CEX", "0", "trainees", "Binary"])
def test_split_of_name_ignores_other_names(name):
    assert split_of_name(name) == ""


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (
            ["train/CEX/a.png", "train/PG/b.png", "extra/c.png"],
            "'extra' stands beside split folders but is none",
        ),
        (["val/A/a.png", "valid/B/b.png"], "folders 'val', 'valid' all mean the valid split"),
        (["train/A/a.png", "train/B/a.png", "train/b.png"], "1 images such as 'b.png' stand in 'train'"),
    ],
)
def test_split_folder_faults_are_named(tmp_path, files, reason):
    make_set(tmp_path, *files)
    with pytest.raises(InputError, match=reason):
        read_catalog(tmp_path)


# --- CSV ---------------------------------------------------------------------------------------


def write_csv(root: Path, text: str, encoding: str = "utf-8") -> Path:
    file = root / "list.csv"
    file.write_bytes(text.encode(encoding))
    return file


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_csv_of_every_spelling_is_read(tmp_path, delimiter, encoding, end):
    make_set(tmp_path, "a/µm 1.png", "b.png")
    rows = [["Path", "Class", "group", "time", "note"], ["b.png", "PG", "", "", ""], []]
    rows += [["a/µm 1.png", "CEX", "crystal 7", "2024-01-02 03:04", "x"]]
    file = write_csv(tmp_path, end.join(delimiter.join(row) for row in rows), encoding)
    catalog = read_catalog(file)
    assert catalog.root == tmp_path
    assert catalog.labels.names == ("CEX", "PG")
    first, second = catalog.records
    assert (first.path, first.group, first.time) == (tmp_path / "a/µm 1.png", "crystal 7", "2024-01-02 03:04")
    assert (second.class_name, second.group, second.time) == ("PG", "", "")


def test_csv_and_folders_agree(tmp_path):
    make_set(tmp_path, "CEX/a.png", "CEX/a10.png", "CEX/a9.png", "PG/b.png")
    rows = ["PG/b.png,PG", "CEX/a10.png,CEX", "CEX/a.png,CEX", "CEX\\a9.png,CEX"]
    file = write_csv(tmp_path, "\n".join(["path,class", *rows]))
    assert read_catalog(file).records == read_catalog(tmp_path).records


@pytest.mark.parametrize("column", ["part", "split"])
def test_csv_gives_splits_and_names(tmp_path, column):
    make_set(tmp_path, "a.png", "b.png", "c.png")
    rows = "a.png,0,train\nb.png,1,train\nc.png,1,Validation\n"
    file = write_csv(tmp_path, f"path,class,{column}\n{rows}")
    catalog = read_catalog(file, class_names={"0": "CEX"})
    assert names_of(catalog) == [("a.png", "CEX", "train"), ("b.png", "1", "train"), ("c.png", "1", "valid")]


def test_csv_faults_are_reported_together(tmp_path):
    make_set(tmp_path, "a.png", "b.png")
    rows = ["a.png,CEX", "none.png,CEX", "b.png,", "a.png,PG", ",PG", *(f"{i}.png,PG" for i in range(9))]
    file = write_csv(tmp_path, "\n".join(["path,class", *rows]))
    match = r"line 3 names 'none\.png', which is no file \(looked for in .*\) · line 4 has no class · "
    match += r"line 5 names 'a\.png' again after line 2 · line 6 has no path · .* · and 8 more"
    with pytest.raises(InputError, match=match):
        read_catalog(file)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "path and class missing; got an empty file"),
        ("file,kind\na.png,CEX\n", "class missing; got 'file', 'kind'"),
        ("path,class\n", "holds no images"),
        ("path,class,part\na.png,CEX,side\n", "line 2 has split 'side'"),
        ("path,class\na.png,CEX\n", "two classes or more are needed; got only 'CEX'"),
        ("path,class\na.png,unknown\n", "no class may be called 'unknown'"),
        ("path,class\na.png,Unknown\n", "no class may be called 'Unknown'"),
        ("path,class,Class\na.png,CEX,PG\n", "each column must stand once; got 'class' twice"),
        ("path,class,part,split\na.png,CEX,train,test\n", "line 2 has part 'train' and split 'test'"),
        ("path,class\n.,CEX\n", "names '.', which is no file"),
        ("path,class\na\0.png,CEX\n", "it must be a text"),
    ],
)
def test_csv_faults_are_named(tmp_path, text, reason):
    make_set(tmp_path, "a.png")
    with pytest.raises(InputError, match=reason):
        read_catalog(write_csv(tmp_path, text))


@pytest.mark.parametrize("more", ["probability", "truth,probability"])
def test_predictions_are_no_ground_truth(tmp_path, more):
    make_set(tmp_path, "a.png", "b.png")
    cells = ",".join("1" for _ in more.split(","))
    rows = f"label,{more}\na.png,CEX,{cells}\nb.png,PG,{cells}\n"
    with pytest.raises(InputError, match=r"a table of predictions .*rename the column 'label' to 'class'"):
        read_catalog(write_csv(tmp_path, f"file,{rows}"))
    renamed = read_catalog(write_csv(tmp_path, f"file,{rows.replace('label', 'class')}"))
    assert renamed.count_by_class() == {"CEX": 1, "PG": 1}


def test_two_columns_of_one_meaning_are_told(tmp_path):
    make_set(tmp_path, "a.png", "b.png")
    text = "file,label,class,part,split\na.png,0,CEX,,train\nb.png,1,PG,TRAIN,train\n"
    told: list[str] = []
    listener = Quiet()
    listener.say = told.append
    catalog = read_catalog(write_csv(tmp_path, text), progress=listener)
    assert [(record.class_name, record.split) for record in catalog.records] == [
        ("CEX", "train"),
        ("PG", "train"),
    ]
    assert told[1:] == ["note: class is read from column 'class', not from 'label'"]


# --- unreadable images and other faults ------------------------------------------------------


def test_unreadable_images_become_failures(tmp_path):
    make_set(tmp_path, "CEX/a.png", "CEX/c.png", "PG/b.png")
    (tmp_path / "CEX/b.png").write_text("text")
    (tmp_path / "PG/a.png").write_bytes(b"")
    (tmp_path / "PG/c.tif").write_bytes((tmp_path / "PG/b.png").read_bytes()[:50])
    catalog = read_catalog(tmp_path)
    assert [record.path.name for record in catalog.records] == ["a.png", "c.png", "b.png"]
    assert [(failure.path.name, failure.error) for failure in catalog.failures] == [
        ("b.png", "not a PNG, JPEG, TIFF, BMP or WebP image"),
        ("a.png", "the file is empty"),
        ("c.tif", "the file is truncated"),
    ]
    assert len(read_catalog(tmp_path, verify=False).records) == 6


def test_class_without_readable_image_is_rejected(tmp_path):
    make_set(tmp_path, "CEX/a.png")
    (tmp_path / "PG").mkdir()
    (tmp_path / "PG/b.png").write_text("text")
    with pytest.raises(InputError, match=r"class 'PG' holds no image .* 1 files .* 'b\.png': not a PNG"):
        read_catalog(tmp_path)


@pytest.mark.parametrize(
    ("files", "folders", "reason"),
    [
        ([], [], "it holds no images"),
        (["a.png"], [], "holds 1 images and no class folders"),
        (["CEX/a.png"], [], "two classes or more are needed; got only 'CEX'"),
        (["CEX/a.png", "PG/b.png"], ["empty"], "class 'empty' holds no image"),
        (
            ["CEX/a.png", "PG/b.png", "c.png"],
            [],
            r"1 images such as 'c\.png' stand in .* belong to no class",
        ),
        (["CEX/a.png", "unknown/b.png"], [], "no class may be called 'unknown'"),
    ],
)
def test_folder_faults_are_named(tmp_path, files, folders, reason):
    make_set(tmp_path, *files)
    for folder in folders:
        (tmp_path / folder).mkdir()
    with pytest.raises(InputError, match=reason):
        read_catalog(tmp_path)


def test_folders_differing_by_case_are_rejected(tmp_path):
    make_set(tmp_path, "CEX/a.png", "cex/a.png")
    if len(list(tmp_path.iterdir())) == 1:
        pytest.skip("this file system does not tell CEX from cex")
    with pytest.raises(InputError, match="class 'CEX' differs from another by case only"):
        read_catalog(tmp_path)
    make_set(tmp_path, "PG/b.png")
    both = {"CEX": "CEX", "cex": "CEX"}
    assert read_catalog(tmp_path, class_names=both).count_by_class() == {"CEX": 2, "PG": 1}


def test_missing_source_is_named(tmp_path):
    with pytest.raises(InputError, match=r"Cannot read data '.*none': it must exist; got nothing\. Give one"):
        read_catalog(tmp_path / "none")


def test_class_name_of_missing_folder_is_rejected(tmp_path):
    make_set(tmp_path, "CEX/a.png", "PG/b.png")
    with pytest.raises(InputError, match=r"mention 'CEXX', which is not there\. Did you mean 'CEX'\?"):
        read_catalog(tmp_path, class_names={"CEXX": "c", "PG": "p"})
    with pytest.raises(InputError, match="the name of 'PG' may be neither empty"):
        read_catalog(tmp_path, class_names={"PG": " "})


def test_real_crystals_are_read(shared_data):
    catalog = read_catalog(shared_data / "crystals")
    assert catalog.count_by_class() == {"CEX": 5, "PG": 6}
    assert catalog.failures == ()


# --- tables of other programs, and of ours -----------------------------------------------------


@pytest.mark.parametrize("mark", ["sep=;\r\n", "SEP=;\n", '"sep=;"\r\n', "\ufeffsep=;\r\n"])
def test_separator_line_of_excel_is_read(tmp_path, mark):
    make_set(tmp_path, "a, b.png", "c.png")
    file = write_csv(tmp_path, f"{mark}path;class;note\na, b.png;CEX;x,y,z\nc.png;PG;\n")
    assert names_of(read_catalog(file)) == [("a, b.png", "CEX", ""), ("c.png", "PG", "")]
    file = write_csv(tmp_path, f"{mark}path;class\na, b.png;CEX\nc.png;\n")
    with pytest.raises(InputError, match="line 4 has no class"):
        read_catalog(file)


@pytest.mark.parametrize("n_empty", [1, 3])
def test_row_without_split_is_named(tmp_path, n_empty):
    make_set(tmp_path, *(f"{index}.png" for index in range(8)))
    splits = ["train", "train", "valid", "test", "train", "train", "valid", "test"]
    splits[1 : 1 + n_empty] = [""] * n_empty
    rows = [f"{index}.png,{('CEX', 'PG')[index // 4]},{split}" for index, split in enumerate(splits)]
    file = write_csv(tmp_path, "\n".join(["path,class,part", *rows]))
    with pytest.raises(InputError, match=r"line 3 has no split \(column part\), though other lines have one"):
        read_catalog(file)


def test_file_named_by_two_paths_is_rejected(tmp_path):
    make_set(tmp_path, "csv/a.png", "csv/b.png")
    (tmp_path / "link").symlink_to("csv")
    for other in ("../csv/a.png", "./a.png", "../link/a.png", str(tmp_path / "csv/a.png")):
        file = write_csv(tmp_path / "csv", f"path,class\na.png,CEX\nb.png,PG\n{other},CEX\n")
        with pytest.raises(InputError, match="line 4 names .*again after line 2"):
            read_catalog(file)


def test_cell_of_any_length_is_read(tmp_path):
    make_set(tmp_path, "a.png", "b.png")
    before = csv.field_size_limit()
    file = write_csv(tmp_path, f"path,class,note\na.png,CEX,{'x' * 300_000}\nb.png,PG,\n")
    assert len(read_catalog(file).records) == 2
    assert csv.field_size_limit() == before


def test_quote_that_never_ends_is_rejected(tmp_path):
    make_set(tmp_path, "a.png", "b.png", "c.png")
    file = write_csv(tmp_path, 'path,class,note\na.png,CEX,\nb.png,PG,"half\nc.png,PG,\n')
    with pytest.raises(InputError, match="never ends, and holds all that follows it"):
        read_catalog(file)


def test_moved_images_are_told_with_their_root(tmp_path):
    make_set(tmp_path, "list.csv.d/a.png")
    file = write_csv(tmp_path, "path,class\na.png,CEX\nb.png,PG\n")
    with pytest.raises(InputError, match=r"line 2 names 'a.png', which is no file \(looked for in '.*'\) ·"):
        read_catalog(file)
    (tmp_path / "list.json").write_text('{"root": "/gone/away"}', encoding="utf-8")
    match = r"looked for in '/gone/away', the root that list\.json names; where the images have moved"
    with pytest.raises(InputError, match=match):
        read_catalog(file)


@pytest.mark.skipif(os.name == "nt", reason="names there are text")
@pytest.mark.parametrize(
    "name", [b"\xb5m.png", b"a\nb.png", b"a\rb.png", "a\u2028b\x0c.png".encode(), b" a.png "]
)
def test_table_of_any_file_name_is_read_back(tmp_path, name):
    make_set(tmp_path, f"CEX/{os.fsdecode(name).strip()}", "PG/b.png")
    (tmp_path / "CEX" / os.fsdecode(name).strip()).rename(tmp_path / "CEX" / os.fsdecode(name + b".png"))
    records = read_catalog(tmp_path).records
    rows = [(relative_name(record.path, tmp_path), record.class_name) for record in records]
    write_text(tmp_path / "own.csv", format_csv([("path", "class"), *rows]))
    assert read_catalog(tmp_path / "own.csv").records == records


def test_windows_1252_and_raw_names_are_told_apart(tmp_path):
    make_set(tmp_path, "K\u00fchl.png", "b.png")
    text = "path,class,group\nK\u00fchl.png,CEX,\u00fc\nb.png,K\u00e4lte,\n"
    first, second = read_catalog(write_csv(tmp_path, text, "cp1252")).records[::-1]
    assert (first.path.name, first.group, second.class_name) == ("K\u00fchl.png", "\u00fc", "K\u00e4lte")
    make_set(tmp_path, os.fsdecode(b"K\xfchl.png"))
    assert read_catalog(tmp_path / "list.csv").records[1].path.name == os.fsdecode(b"K\xfchl.png")


def test_class_of_several_lines_is_rejected(tmp_path):
    make_set(tmp_path, "a.png", "b.png")
    file = write_csv(tmp_path, 'path,class\na.png,"CEX\nwet"\nb.png,PG\n')
    with pytest.raises(InputError, match=r"class 'CEX\\nwet' may hold no comma, bar or control sign"):
        read_catalog(file)


def test_empty_source_is_rejected():
    with pytest.raises(InputError, match="a folder or a CSV file is needed; got an empty name"):
        read_catalog("")


class _Notes(Quiet):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.mark.parametrize("column", ["subset", "set", "Data split", "fold"])
def test_csv_column_of_splits_is_never_dropped(tmp_path, column):
    """Whatever it is called: trained at random, the given test images would be trained on."""
    splits = ("train", "TEST", "val", "Training")
    make_set(tmp_path, *(f"{at}.png" for at in range(8)))
    rows = [f"{at}.png,{'AB'[at % 2]},{splits[at // 2]},{at}" for at in range(8)]
    listener = _Notes()
    catalog = read_catalog(
        write_csv(tmp_path, "\n".join([f"path,class,{column},note", *rows])), progress=listener
    )
    known = [split_of_name(splits[int(record.path.stem) // 2]) for record in catalog.records]
    assert [record.split for record in catalog.records] == known
    note = f"the split is read from column {column!r}, whose cells are train, valid, test"
    assert any(note in text for text in listener.said), listener.said
    two = "\n".join([f"path,class,{column},other", *(f"{row[:-2]},{row.split(',')[2]}" for row in rows)])
    with pytest.raises(InputError, match=f"columns {column!r} and 'other' hold splits"):
        read_catalog(write_csv(tmp_path, two))
    gap = "\n".join([f"path,class,{column}", *(row[:-2] for row in rows[:-1]), "7.png,B,"])
    with pytest.raises(InputError, match="line 9 has no split"):
        read_catalog(write_csv(tmp_path, gap))


@pytest.mark.parametrize("cells", [("dev", "test"), ("train", "train"), ("train", "later"), ("0", "1")])
def test_csv_column_of_other_cells_is_no_split(tmp_path, cells):
    make_set(tmp_path, "0.png", "1.png")
    rows = [f"{at}.png,{'AB'[at]},{cell}" for at, cell in enumerate(cells)]
    catalog = read_catalog(write_csv(tmp_path, "\n".join(["path,class,phase", *rows])))
    assert {record.split for record in catalog.records} == {""}


def test_csv_of_pandas_has_empty_cells(tmp_path):
    make_set(tmp_path, "0.png", "1.png", "2.png")
    text = "path,class,group,time\n0.png,A,nan,nan\n1.png,B,<NA>,NaN\n"
    records = read_catalog(write_csv(tmp_path, text)).records
    assert [(record.group, record.time) for record in records] == [("", ""), ("", "")]
    with pytest.raises(InputError, match="line 4 has no class"):
        read_catalog(write_csv(tmp_path, f"{text}2.png,NaN,,\n"))
