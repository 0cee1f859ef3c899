"""Laws of layouts: outer folders are never classes by accident, and what is ambiguous is asked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from georgia.catalog.layout import parse_parts, split_of_name
from georgia.catalog.read import read_catalog
from georgia.errors import InputError
from georgia.progress import Quiet


class Listener(Quiet):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def make_set(root: Path, *folders: str, n: int = 2) -> Path:
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
        for index in range(n):
            Image.new("L", (4, 3), 10 * index).save(root / folder / f"{index}.png")
    return root


def cross(outer: str, inner: str = "CEX PG") -> list[str]:
    return [f"{first}/{second}" for first in outer.split() for second in inner.split()]


def read(root: Path, parts: str | None = None):
    return read_catalog(root, parts=parse_parts(parts) if parts else None, verify=False)


def splits_of(catalog) -> dict[str, int]:
    return {
        split: len(catalog.subset(split)) for split in ("train", "valid", "test") if catalog.subset(split)
    }


@pytest.mark.parametrize(
    "pair",
    [
        *("train_set test_set", "01_train 02_test", "x_train x_test", "trainset testset", "TrainSet TestSet"),
        *("training_data test_data", "train-1 test-1", "set_train set_test", "trainA testA", "TRAIN TEST"),
        *("Train_images Holdout", "train hold-out", "learning held_out", "Training-Images Testing-Images"),
    ],
)
def test_usual_split_names_are_read(tmp_path, pair):
    catalog = read(make_set(tmp_path, *cross(pair)))
    assert catalog.labels.names == ("CEX", "PG")
    assert splits_of(catalog) == {"train": 4, "test": 4}


@pytest.mark.parametrize("name", ["Val", "dev", "development", "validation_set", "02_valid", "val2"])
def test_usual_validation_names_are_read(tmp_path, name):
    catalog = read(make_set(tmp_path, *cross(f"train,{name}".replace(",", " "))))
    assert splits_of(catalog) == {"train": 4, "valid": 4}


@pytest.mark.parametrize("name", ["train ", "test\u00a0"])
def test_blanks_around_split_names_are_ignored(tmp_path, name):
    make_set(tmp_path, f"{name}/CEX", f"{name}/PG")
    assert list(splits_of(read(tmp_path))) == [name[:-1].strip()]


@pytest.mark.parametrize(
    "outer", ["fold1 fold2", "run1 run2", "2021 2022", "images masks", "alpha beta gamma", "batch-1 batch-2"]
)
def test_same_subfolders_raise_one_question(tmp_path, outer):
    make_set(tmp_path, *cross(outer))
    match = r"Cannot tell which folders are the classes: .* hold the same folders 'CEX', 'PG'\. Which are"
    with pytest.raises(InputError, match=match) as error:
        read(tmp_path)
    assert str(error.value).count("?") == 1
    first, *_, last = outer.split()
    assert f"--parts train={first},test={last}" in str(error.value)
    assert splits_of(read(tmp_path, ",".join(f"test={name}" for name in outer.split()))) == {
        "test": 4 * len(outer.split())
    }
    assert set(read(tmp_path, "none").labels.names) == set(outer.split())
    inner = read(tmp_path, "inner")
    assert inner.labels.names == ("CEX", "PG")
    assert splits_of(inner) == {}


def test_fold_without_a_class_raises_question(tmp_path):
    make_set(tmp_path, "fold1/CEX", "fold1/PG", "fold2/CEX", "fold2/PG", "fold3/CEX")
    with pytest.raises(InputError, match="Which are 'fold1', 'fold2', 'fold3'"):
        read(tmp_path)


def test_split_folders_in_classes_are_read(tmp_path):
    catalog = read(make_set(tmp_path, *cross("CEX PG", "train val test")))
    assert catalog.labels.names == ("CEX", "PG")
    assert splits_of(catalog) == {"train": 4, "valid": 4, "test": 4}


@pytest.mark.parametrize("stray", ["PG", "PG/run 7"])
def test_splits_in_some_classes_raise_question(tmp_path, stray):
    make_set(tmp_path, "CEX/train", "CEX/test", stray)
    with pytest.raises(InputError, match=r"Cannot tell which images are of which split: .*--parts none\)\?"):
        read(tmp_path)
    assert splits_of(read(tmp_path, "none")) == {}


@pytest.mark.parametrize("runs", [("run1", "run2"), ("day 1", "Day-2"), ("2021-03-04", "2021-03-05_night")])
def test_runs_in_classes_are_no_classes(tmp_path, runs):
    make_set(tmp_path, *(f"{name}/{run}" for name in ("CEX", "PG") for run in runs))
    assert read(tmp_path).labels.names == ("CEX", "PG")


@pytest.mark.parametrize(
    "folders",
    [
        [
            f"{split}/{batch}/{name}"
            for split in ("train", "test")
            for batch in "ab"
            for name in ("CEX", "PG")
        ],
        [
            f"{batch}/{split}/{name}"
            for split in ("train", "test")
            for batch in "ab"
            for name in ("CEX", "PG")
        ],
    ],
)
def test_third_folder_level_raises_question(tmp_path, folders):
    make_set(tmp_path, *folders)
    with pytest.raises(InputError, match=r"hold the same folders .*Give|hold the same folders .*\?"):
        read(tmp_path)
    assert read(tmp_path, "train=train,test=test").labels.names == ("a", "b")


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ("train=trai_set", "--parts mentions 'trai_set', which is not there"),
        ("train=one", "folder 'two' is not in --parts"),
    ],
)
def test_parts_that_do_not_fit_are_named(tmp_path, parts, reason):
    make_set(tmp_path, *cross("one two"))
    with pytest.raises(InputError, match=reason):
        read(tmp_path, parts)


@pytest.mark.parametrize("text", ["train", "train=a,test=a", "sometimes=a", "train=", "=a"])
def test_parts_without_meaning_are_rejected(text):
    with pytest.raises(InputError, match="Cannot use --parts: split=folder pairs are needed"):
        parse_parts(text)


def test_parts_are_for_folders_only(tmp_path):
    make_set(tmp_path, "CEX", "PG")
    (tmp_path / "set.csv").write_text("path,class\nCEX/0.png,CEX\nPG/0.png,PG\n", encoding="utf-8")
    with pytest.raises(InputError, match="--parts is for folders"):
        read(tmp_path / "set.csv", "train=a")


def test_folder_beside_splits_says_how_to_name_it(tmp_path):
    make_set(tmp_path, *cross("train dev eval"))
    with pytest.raises(InputError, match=r"folder 'eval' stands beside .*--parts train=…,test=…"):
        read(tmp_path)
    assert splits_of(read(tmp_path, "train=train,valid=dev,test=eval")) == {"train": 4, "valid": 4, "test": 4}


def test_two_folders_of_one_split_say_how_to_join_them(tmp_path):
    make_set(tmp_path, *cross("train_1 train_2 test"))
    with pytest.raises(InputError, match=r"--parts test=test,train=train_1,train=train_2") as error:
        read(tmp_path)
    told = str(error.value).partition("--parts ")[2].partition(")")[0]
    assert splits_of(read(tmp_path, told)) == {"train": 8, "test": 4}


@pytest.mark.parametrize(
    "name", ["latest", "strain", "test strip", "trainees", "Binary", "eval", "x", "set 1"]
)
def test_other_names_are_no_splits(name):
    assert split_of_name(name) == ""


def test_class_only_in_test_is_rejected(tmp_path):
    make_set(tmp_path, "train/CEX", "train/PG", "valid/CEX", "valid/PG", "test/CEX", "test/P_G")
    match = r"class 'P_G' has no image in train, only in test\. Did you mean 'PG'\?"
    with pytest.raises(InputError, match=match):
        read(tmp_path)
    assert read_catalog(tmp_path, class_names={"P_G": "PG"}).labels.names == ("CEX", "PG")


# --- what is passed over, and said ---------------------------------------------------------------


@pytest.mark.parametrize(
    "marker", ["bundle.json", "explain.json", "evaluation.json", "cluster.json", "split.json"]
)
@pytest.mark.parametrize("place", ["why", "CEX/why"])
def test_results_of_georgia_are_no_images(tmp_path, marker, place):
    make_set(tmp_path, "CEX", "PG", place)
    for name in (marker, "split.csv"):
        (tmp_path / place / name).write_text("{}", encoding="utf-8")
    listener = Listener()
    catalog = read_catalog(tmp_path, progress=listener)
    assert catalog.count_by_class() == {"CEX": 2, "PG": 2}
    assert f"passed over a folder that holds results of Georgia: 'why/{marker}'" in listener.lines[1]


@pytest.mark.parametrize("name", ["study.csv", "split.json", "audit.json", "split.csv"])
def test_files_of_similar_names_hide_no_class(tmp_path, name):
    make_set(tmp_path, "CEX", "PG", "wet")
    (tmp_path / "wet" / name).write_text("x", encoding="utf-8")
    assert read(tmp_path).count_by_class() == {"CEX": 2, "PG": 2, "wet": 2}


def test_folders_of_systems_are_no_classes(tmp_path):
    names = ("lost+found", "System Volume Information", "#recycle", "$RECYCLE.BIN", "@Recycle", "#snapshot")
    catalog = read(make_set(tmp_path, "CEX", "PG", *names, *(f"CEX/{name}" for name in names)))
    assert catalog.count_by_class() == {"CEX": 2, "PG": 2}


def test_linked_folders_are_read_once(tmp_path):
    root, other = make_set(tmp_path / "set", "CEX", "PG"), make_set(tmp_path / "other", "more", n=5)
    for link, target in {"run2": other / "more", "up": "..", "far_up": "../..", "again": other}.items():
        (root / "CEX" / link).symlink_to(target)
    (root / "PG" / "twin").symlink_to(root / "CEX")
    listener = Listener()
    catalog = read_catalog(root, progress=listener)
    assert catalog.count_by_class() == {"CEX": 7, "PG": 2}
    assert "passed over 4 linked folders" in listener.lines[1]


def test_class_that_links_to_another_is_rejected(tmp_path):
    make_set(tmp_path, "CEX", "PG")
    (tmp_path / "AAA").symlink_to("CEX")
    with pytest.raises(InputError, match="folder 'AAA' is a link to a folder that is read anyway"):
        read(tmp_path)


def test_linked_class_folders_are_read(tmp_path):
    make_set(tmp_path / "far", "CEX", "PG")
    (tmp_path / "set").mkdir()
    for name in ("CEX", "PG"):
        (tmp_path / "set" / name).symlink_to(tmp_path / "far" / name)
    assert read(tmp_path / "set").count_by_class() == {"CEX": 2, "PG": 2}


@pytest.mark.parametrize("form", ["{name}_{split}", "{split} {name}", "{name} - {split}", "{split}.{name}"])
def test_splits_in_names_of_classes_are_read(tmp_path, form):
    folders = [form.format(name=name, split=split) for name in ("CEX", "P_G") for split in ("train", "Test")]
    catalog = read_catalog(make_set(tmp_path, *folders))
    assert catalog.count_by_class() == {"CEX": 4, "P_G": 4}
    assert [len(catalog.subset(split)) for split in ("train", "valid", "test")] == [4, 0, 4]
    assert len(read_catalog(tmp_path, parts="none").labels.names) == 4


@pytest.mark.parametrize(
    "names", [("CEX_train", "PG"), ("train a", "test a"), ("strain_a", "strain_b"), ("test_a", "test_b")]
)
def test_names_that_are_no_grid_are_classes(tmp_path, names):
    catalog = read_catalog(make_set(tmp_path, *names))
    assert set(catalog.labels.names) == set(names)
    assert not any(record.split for record in catalog.records)


def test_doubtful_class_names_are_told(tmp_path):
    for number, (names, told) in enumerate(
        (
            (("CEX", "PG", "unsorted"), "'unsorted' read as a class"),
            (("CEX", "CEX - Copy", "PG", "PG (2)"), "'CEX - Copy', 'PG (2)' read as classes"),
            (("Form 1", "Form 2"), ""),
        )
    ):
        listener = Listener()
        read_catalog(make_set(tmp_path / str(number), *names), progress=listener)
        assert [told in line for line in listener.lines[1:2]] == [True] * bool(told), names


def test_first_line_says_what_was_understood(tmp_path):
    listener = Listener()
    read_catalog(make_set(tmp_path, *cross("train test")), progress=listener, verify=False)
    assert listener.lines == ["data: 8 images, 2 classes: CEX 4, PG 4; train 4, valid 0, test 4"]


# --- names that look alike, or are no text -------------------------------------------------------


def test_unicode_forms_are_one_class(tmp_path):
    make_set(tmp_path, "train/\u00e1gua", "train/PG", "test/a\u0301gua", "test/PG")
    if len(list((tmp_path / "test").iterdir())) != 2:
        pytest.skip("this file system stores one form only")
    listener = Listener()
    catalog = read_catalog(tmp_path, progress=listener)
    assert catalog.count_by_class() == {"PG": 4, "\u00e1gua": 4}
    assert "one class, though spelt in two Unicode forms" in listener.lines[1]
    assert read_catalog(tmp_path, class_names={"a\u0301gua": "W"}).labels.names == ("PG", "W")


@pytest.mark.parametrize("twin", ["PG\u200b", "PG ", "\u0420G", "P\u00adG", "\uff30G"])
def test_classes_that_appear_alike_are_rejected(tmp_path, twin):
    make_set(tmp_path, "CEX", "PG", twin)
    with pytest.raises(
        InputError, match=r"class 'PG' differs from another by signs that do not show: 'PG', '"
    ):
        read(tmp_path)


@pytest.mark.parametrize("name", ["CEX, wet", "CEX\nwet", "CEX|wet"])
def test_class_with_separator_says_how_to_name_it(tmp_path, name):
    make_set(tmp_path, name, "PG")
    # What nobody can type on a command line is not offered there.
    hint = "rename it\\." if "\n" in name else "rename it, or name it by"
    with pytest.raises(InputError, match=f"may hold no comma, bar or control sign; {hint}"):
        read(tmp_path)
    assert read_catalog(tmp_path, class_names={name: "WET"}).labels.names == ("WET", "PG")


@pytest.mark.skipif(os.name == "nt", reason="names there are text")
def test_class_that_is_not_utf8_is_rejected(tmp_path):
    make_set(tmp_path, "CEX", "PG", os.fsdecode(b"K\xfchl"))
    with pytest.raises(InputError, match="is not UTF-8; rename the folder, or name it by --class-names"):
        read(tmp_path)
    names = {os.fsdecode(b"K\xfchl"): "cold"}
    assert read_catalog(tmp_path, class_names=names).labels.names == ("CEX", "cold", "PG")
