from __future__ import annotations

import csv
import errno
import io
import json
from datetime import date
from pathlib import Path

import pytest

from admf.containers.events import MARKET_EVENTS
from admf.containers.readers import load_market_data
from admf.engine.errors import ConfigError, StorageError
from admf.engine.events import ENGINE_EVENTS, EventRegistry
from admf.engine.registry import Registry
from admf.workflows.init_project import init_project
from admf.workflows.loading import load_experiment
from admf.workflows.schema import experiment_schema
from admf.workflows.vocabulary import vocabulary_of

FILES = [
    "data/DEMO.csv",
    "experiment.yaml",
    "schema.json",
    "strategies/__init__.py",
    "strategies/my_strategy.py",
]


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_project_is_written_into_a_new_folder(tmp_path: Path) -> None:
    written = init_project(tmp_path / "a" / "b")

    assert files_in(tmp_path / "a" / "b") == FILES
    assert sorted(written) == [tmp_path / "a" / "b" / name for name in FILES]


def test_a_project_is_the_same_each_time(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    init_project(first)
    init_project(str(second))

    for name in FILES:
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_other_files_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    init_project(tmp_path)

    assert files_in(tmp_path) == sorted([*FILES, "notes.txt"])
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_the_experiment_loads_without_a_warning(tmp_path: Path) -> None:
    init_project(tmp_path)
    registry = Registry()
    registry.load_entry_points()
    vocabulary = vocabulary_of(registry, EventRegistry((*ENGINE_EVENTS, *MARKET_EVENTS)))
    loaded = load_experiment(tmp_path / "experiment.yaml", vocabulary=vocabulary)

    assert loaded.warnings == ()
    assert loaded.experiment.strategy.type == "strategies.my_strategy:TrendFollower"
    assert load_market_data(loaded.experiment.data).steps == 780


def test_editors_find_the_schema_beside_the_experiment(tmp_path: Path) -> None:
    init_project(tmp_path)
    first_line = (tmp_path / "experiment.yaml").read_text().splitlines()[0]

    assert first_line == "# yaml-language-server: $schema=schema.json"
    assert json.loads((tmp_path / "schema.json").read_bytes()) == experiment_schema()


def test_the_data_holds_what_the_experiment_asks_for(tmp_path: Path) -> None:
    init_project(tmp_path)
    with (tmp_path / "data" / "DEMO.csv").open() as file:
        rows = list(csv.DictReader(file))

    days = [date.fromisoformat(row["timestamp"]) for row in rows]
    assert days == sorted(set(days))
    assert (days[0], days[-1]) == (date(2021, 1, 4), date(2023, 12, 29))
    for row in rows:
        low, high = float(row["low"]), float(row["high"])
        assert 0 < low <= min(float(row["open"]), float(row["close"]))
        assert high >= max(float(row["open"]), float(row["close"]))
        assert float(row["volume"]) > 0


def test_nothing_is_overwritten_and_every_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "DEMO.csv").write_text("mine")
    (tmp_path / "schema.json").symlink_to("nowhere")
    with pytest.raises(ConfigError) as caught:
        init_project(tmp_path)

    assert str(caught.value).splitlines() == [
        f"{tmp_path}/data/DEMO.csv: exists and is not overwritten",
        f"{tmp_path}/schema.json: exists and is not overwritten",
    ]
    assert files_in(tmp_path) == ["data/DEMO.csv"]
    assert (tmp_path / "data" / "DEMO.csv").read_text() == "mine"


def test_a_failure_half_way_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "strategies").write_text("a file where a folder is needed")
    with pytest.raises(StorageError, match="cannot write the project into"):
        init_project(tmp_path)

    assert files_in(tmp_path) == ["mine.txt", "strategies"]
    assert not (tmp_path / "data").exists()


class FullDisk(io.FileIO):
    def write(self, content: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", self.name)


def test_a_failure_while_a_file_is_written_removes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_open = Path.open

    def open_(path: Path, mode: str) -> object:
        return FullDisk(path, mode) if path.name == "my_strategy.py" else real_open(path, mode)

    monkeypatch.setattr(Path, "open", open_)
    with pytest.raises(StorageError, match="No space left on device"):
        init_project(tmp_path / "new")

    assert list(tmp_path.iterdir()) == []


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(StorageError, match="cannot write the project into"):
        init_project(tmp_path / "taken")
