"""The split keeps ears together, both stages share it, and a contaminated one never trains (OT4, OT18, ME3)."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from schemas.errors import UserError
from triton_models._otoscopy.collection import (
    FOLDS,
    KINDS,
    PATHOLOGIES,
    check_isolation,
    divide,
    part_of,
    read_index,
)
from triton_models._otoscopy.twins import groups, thumbnails

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
HEADER = "path,label,near_dup_cluster,licence\n"


def picture(seed: int) -> np.ndarray:
    """Coarse random colours: no two seeds look alike."""
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((120, 110), Image.Resampling.BICUBIC))


def collection(folder: Path, ears: int = 40) -> Path:
    """`ears` of each kind, two photographs an ear that differ by a little noise."""
    rows, rng = [], np.random.default_rng(4)
    for number, kind in enumerate(KINDS):
        (folder / "reviewed" / kind).mkdir(parents=True)
        for ear in range(ears):
            base = picture(1000 * number + ear)
            for view in range(2):
                noise = rng.integers(-3, 4, base.shape)
                name = f"reviewed/{kind}/{ear}_{view}.png"
                Image.fromarray(np.clip(base + noise, 0, 255).astype(np.uint8)).save(folder / name)
                rows.append(f"{name},{kind},{kind}{ear},CC0\n")
    (folder / "otoscope.csv").write_text(HEADER + "".join(rows), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return collection(tmp_path_factory.mktemp("ears"))


def test_no_ear_is_in_two_parts(folder: Path) -> None:
    division = divide(folder)
    parts = [{one.group for one in part} for part in (*division.folds, division.test)]
    assert len(parts) == FOLDS + 1
    assert sum(len(part) for part in parts) == len(set.union(*parts)) == 160
    for fold in range(FOLDS):
        trained = {one.group for one in division.without(fold)}
        assert not trained & parts[fold]
        assert not trained & parts[-1]


def test_what_one_stage_holds_back_the_other_holds_back(folder: Path) -> None:
    """OT4: a photograph that the diagnosis is judged by was never shown to the screening, and the other way round."""
    first, second = divide(folder), divide(folder).only(PATHOLOGIES)
    assert {one.digest for one in second.test} < {one.digest for one in first.test}
    learned = {one.digest for one in second.pooled()}
    assert learned < {one.digest for one in first.pooled()}
    assert {one.kind for one in second.pooled()} == set(PATHOLOGIES)
    assert first.data_hash == second.data_hash


def test_new_ears_move_nobody() -> None:
    parts = [part_of(f"normal:{number}") for number in range(1000)]
    assert 130 < parts.count(-1) < 230
    assert all(150 < parts.count(fold) < 260 for fold in range(FOLDS))


@pytest.mark.parametrize("what", ["group", "file", "near-equal photograph"])
def test_a_contaminated_split_stops_before_training(folder: Path, what: str) -> None:
    """OT4: each kind of contamination is seen by itself and named."""
    found = read_index(folder)
    first, second = found[:2], [one for one in found if one.kind == "earwax_plug"][:2]
    spoiled: dict[str, Callable[[], object]] = {
        "group": lambda: [type(second[0])(second[0].path, second[0].kind, "reviewed", first[0].group, "x")],
        "file": lambda: [type(second[0])(second[0].path, second[0].kind, "reviewed", "other", first[0].digest)],
        "near-equal photograph": lambda: [type(first[1])(first[1].path, first[1].kind, "reviewed", "other", "x")],
    }
    train = [*first[:1], *found[20:40]]  # near-equal is said of what lies beside other pictures
    check_isolation({"train": train, "test": second})
    with pytest.raises(UserError, match=f"contaminated: they share 1 .*{what.split()[0]}.*nothing was trained"):
        check_isolation({"train": train, "test": spoiled[what]()})  # type: ignore[dict-item]


def test_a_file_listed_under_two_clusters_is_one_photograph_whose_clusters_are_not_believed(tmp_path: Path) -> None:
    """Of two files with one name the second overwrote the first: what the index says of them is void."""
    (tmp_path / "reviewed").mkdir()
    for name, seed in (("a", 1), ("b", 2), ("c", 3)):
        Image.fromarray(picture(seed)).save(tmp_path / f"reviewed/{name}.png")
    listed = [("a", "1"), ("a", "2"), ("b", "1"), ("c", "2"), ("c", "2")]
    rows = "".join(f"reviewed/{name}.png,normal,{cluster},CC0\n" for name, cluster in listed)
    (tmp_path / "otoscope.csv").write_text(HEADER + rows, encoding="utf-8")
    found = read_index(tmp_path)
    assert [one.path.stem for one in found] == ["a", "b", "c"]
    assert len({one.group for one in found}) == 3


def test_clusters_equal_files_and_near_equal_photographs_are_joined() -> None:
    shown = [picture(seed) for seed in (1, 1, 2, 3, 4)]
    found = groups(["", "", "7", "7", ""], ["a", "b", "c", "d", "a"], thumbnails(shown))
    assert found[0] == found[1] == found[4]
    assert found[2] == found[3] != found[0]


def test_refusals_say_what_to_do(tmp_path: Path) -> None:
    index = tmp_path / "otoscope.csv"
    with pytest.raises(UserError, match=r"otoscope.csv is missing: point --data"):
        divide(tmp_path)
    index.write_text(HEADER + "reviewed/x.png,normal,1,CC0\n")
    with pytest.raises(UserError, match=r"x.png is listed"):
        divide(tmp_path)
    index.write_text(HEADER + "reviewed/x.png,furuncle,1,CC0\n")
    with pytest.raises(UserError, match="unknown label furuncle"):
        divide(tmp_path)
    index.write_text(HEADER + "elsewhere/x.png,normal,1,CC0\n")
    with pytest.raises(UserError, match="elsewhere has no declared role"):
        divide(tmp_path)


def test_too_few_ears_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="lacks"):
        divide(collection(tmp_path, 2))


@pytest.mark.skipif(not (SHARED / "otoscope.csv").is_file(), reason=f"the shared otoscope set is not at {SHARED}")
def test_the_real_collection_holds_493_photographs_and_splits_clean() -> None:
    """Its 616 rows name 532 files, of which 39 are copies."""
    division = divide(SHARED)
    digests = [one.digest for one in (*division.pooled(), *division.test)]
    assert len(digests) == len(set(digests)) == 493
    assert {kind: sum(one.kind == kind for one in division.test) for kind in KINDS} == {
        "normal": 20,
        "chronic_otitis_media": 29,
        "earwax_plug": 19,
        "myringosclerosis": 31,
    }
