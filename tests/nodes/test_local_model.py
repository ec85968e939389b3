"""What is said where a package or a model is not there."""

from pathlib import Path

import attrs
import pytest

from trio_bridge.nodes.asr import settings_from
from trio_bridge.nodes.local_model import LocalModel, ModelMissing, model_threads
from trio_bridge.nodes.variables import Variable

MODEL = LocalModel(
    setting="EAR=tin",
    package="json",
    extra="tin",
    variable=Variable.ASR_MODEL,
    files=("model.bin", "words.*"),
    example="tinsmiths/ear",
    download="hf download tinsmiths/ear --local-dir {folder}",
)
HOW = "hf download tinsmiths/ear --local-dir ~/models/ear and set ASR_MODEL=~/models/ear"


def complaint(environment: dict[str, str]) -> str:
    with pytest.raises(ModelMissing) as caught:
        MODEL.find(environment)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_setting_that_is_missing_is_told_with_what_to_download() -> None:
    said = complaint({})
    assert said.startswith("EAR=tin has no model: ASR_MODEL is not set. Download one")
    assert said.endswith(HOW)


def test_a_folder_that_is_missing_is_told(tmp_path: Path) -> None:
    said = complaint({"ASR_MODEL": str(tmp_path / "none")})
    assert f"there is no folder {tmp_path}/none." in said
    assert said.endswith(HOW)


def test_files_that_are_missing_are_told(tmp_path: Path) -> None:
    assert "has no model.bin and no words.*." in complaint({"ASR_MODEL": str(tmp_path)})
    (tmp_path / "model.bin").touch()
    assert "has no words.*." in complaint({"ASR_MODEL": str(tmp_path)})


def test_one_of_several_files_is_enough(tmp_path: Path) -> None:
    model = attrs.evolve(MODEL, files=("tokens.json or *.bpe",))
    with pytest.raises(ModelMissing, match=r"has no tokens\.json or \*\.bpe\."):
        model.find({"ASR_MODEL": str(tmp_path)})
    (tmp_path / "made.bpe").touch()
    assert model.find({"ASR_MODEL": str(tmp_path)}) == tmp_path


def test_a_relative_folder_is_refused() -> None:
    """It would be looked for wherever the node happens to run."""
    assert "not an absolute path" in complaint({"ASR_MODEL": "models/ear"})


def test_a_whole_model_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("model.bin", "words.txt"):
        (tmp_path / name).touch()
    assert MODEL.find({"ASR_MODEL": str(tmp_path)}) == tmp_path
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    assert MODEL.find({"ASR_MODEL": f"~/{tmp_path.name}"}) == tmp_path


@pytest.mark.parametrize("engine", ["faster-whisper", "funasr"])
def test_an_engine_without_its_package_or_model_says_how_to_get_it(engine: str) -> None:
    """Whether the extra is installed here or not, the next step is told."""
    with pytest.raises(ModelMissing, match=r"pip install 'trio_bridge\[|hf download \w+/\w+"):
        settings_from({"ASR_ENGINE": engine})


@pytest.mark.parametrize("given", [None, "", "0", "many", "-1"])
def test_threads_that_are_not_set_are_counted(given: str | None) -> None:
    assert 1 <= model_threads(given) <= 4
    assert model_threads("7") == 7
