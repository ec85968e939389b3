"""What is said where a package or a model is not there."""

from pathlib import Path

import attrs
import pytest

from trio_bridge.nodes.asr import settings_from
from trio_bridge.nodes.local_model import LocalModel, ModelMissing, model_threads
from trio_bridge.nodes.piper_engine import MODEL as VOICE
from trio_bridge.nodes.recognition import FUNASR_MODEL, WHISPER_MODEL
from trio_bridge.nodes.variables import Variable

MODEL = LocalModel(
    setting="EAR=tin",
    package="json",
    extra="tin",
    variable=Variable.ASR_MODEL,
    files=("model.bin", "words.*"),
    example="tinsmiths/ear",
    download="hf download {model} --local-dir {folder}",
    names="big|small",
    named="tinsmiths/ear-{name}",
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
    said = complaint({"ASR_MODEL": "models/ear"})
    assert "ASR_MODEL=models/ear is not the absolute path of a folder." in said
    assert said.endswith(HOW)


def test_a_model_s_name_is_no_folder_and_tells_what_was_meant() -> None:
    """As people write who let libraries download."""
    assert complaint({"ASR_MODEL": "small"}).endswith(
        "It can be downloaded with: hf download tinsmiths/ear-small --local-dir "
        "~/models/ear-small and set ASR_MODEL=~/models/ear-small"
    )


@pytest.mark.parametrize(
    ("model", "name", "command"),
    [
        (WHISPER_MODEL, "base", "hf download Systran/faster-whisper-base "),
        (WHISPER_MODEL, "large-v3", "hf download Systran/faster-whisper-large-v3 "),
        (WHISPER_MODEL, "enormous", "for example Systran/faster-whisper-base, with: "),
        (VOICE, "de_DE-thorsten-low", "piper.download_voices de_DE-thorsten-low "),
        (FUNASR_MODEL, "paraformer-zh", "hf download "),
    ],
)
def test_names_that_users_know(model: LocalModel, name: str, command: str) -> None:
    with pytest.raises(ModelMissing) as caught:
        model.find({model.variable: name})
    assert command in str(caught.value)


def test_what_to_install_and_what_to_download_is_told_at_once() -> None:
    """Not the second only after the first."""
    model = attrs.evolve(MODEL, package="no_such_package")
    with pytest.raises(ModelMissing) as caught:
        model.find({})
    assert str(caught.value).startswith(
        "EAR=tin needs a package that is not installed. Install it with: pip install "
        "'trio_bridge[tin]'. And EAR=tin has no model: ASR_MODEL is not set."
    )
    assert str(caught.value).endswith(HOW)


def test_a_whole_model_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("model.bin", "words.txt"):
        (tmp_path / name).touch()
    assert MODEL.find({"ASR_MODEL": str(tmp_path)}) == tmp_path
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    assert MODEL.find({"ASR_MODEL": f"~/{tmp_path.name}"}) == tmp_path


@pytest.mark.parametrize("engine", ["faster-whisper", "funasr"])
def test_an_engine_without_its_package_or_model_says_how_to_get_it(engine: str) -> None:
    """Whether the extra is installed here or not, the next step is told."""
    with pytest.raises(ModelMissing, match=r"hf download \w+/\w+"):
        settings_from({"ASR_ENGINE": engine})


@pytest.mark.parametrize("given", [None, "", "0", "many", "-1"])
def test_threads_that_are_not_set_are_counted(given: str | None) -> None:
    assert 1 <= model_threads(given) <= 4
    assert model_threads("7") == 7
