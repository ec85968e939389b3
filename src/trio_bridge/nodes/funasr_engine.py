"""FunASR's models SenseVoice and Paraformer as recognisers, from a folder on this machine."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any, Final

import yaml
from attrs import define

from trio_bridge.nodes.gently import import_gently
from trio_bridge.nodes.local_model import ModelMissing, model_threads
from trio_bridge.nodes.recognition import FUNASR_MODEL, Heard
from trio_bridge.nodes.variables import Variable
from trio_bridge.nodes.whole_utterance import Float32, WholeUtterance, language_of

if TYPE_CHECKING:
    from funasr import AutoModel

MODELS: Final = frozenset(
    {
        "SenseVoiceSmall",
        "Paraformer",
        "BiCifParaformer",
        "ContextualParaformer",
        "SeacoParaformer",
    }
)
"""Those that hear a whole utterance in one step with the files of one folder. The others are
for streams or for other tasks, or fetch a language model."""

LANGUAGES: Final = frozenset({"zh", "en", "yue", "ja", "ko"})
"""Those that SenseVoice takes by name; it finds out by itself for all others. Paraformer has
the languages that it was trained on, and ignores the name."""

COMPLAINTS: Final = ("Warning", "error")
"""How a line begins that belongs into the log, such as of a weight that the file lacks."""

_TAG: Final = re.compile(r"<\|[^|>]*\|>")
"""What SenseVoice says beside the words: language, mood, kind of sound, form."""


@define(eq=False)
class FunAsr:
    """A `WholeModel`.

    Args:
        model: The loaded model.
        environment: The node's settings: `ASR_LANGUAGE`.
    """

    model: AutoModel
    environment: Mapping[str, str]

    def decode(self, samples: Float32, settings: Mapping[str, Any], *, draft: bool) -> Heard:
        """See `WholeModel.decode`. All words are found in one step: a draft is like a final.

        The session's prompt is not for these models. Their hot words may name a file or an
        address, which the library then reads: nothing of a client's may get there.
        """
        del draft
        language = language_of(settings, self.environment)
        found = self.model.generate(
            input=samples,
            language=language if language in LANGUAGES else "auto",
            use_itn=True,
            disable_pbar=True,
        )
        text = " ".join(str(each.get("text", "")) for each in found)
        return Heard(_TAG.sub("", text).strip())


def open_engine(environment: Mapping[str, str]) -> WholeUtterance:
    """Load the model that `ASR_MODEL` names.

    Raises:
        ModelMissing: It is not there, broken or of a kind that is not supported.
    """
    folder = FUNASR_MODEL.find(environment)
    kind = _kind(folder)
    if kind not in MODELS:
        raise ModelMissing(
            f"{FUNASR_MODEL.setting}: the model in {folder} is a {kind}; supported are "
            f"{', '.join(sorted(MODELS))}"
        )
    # Before the import, which reads them: hubs are never asked, whatever a file may lack, and
    # threads that wait for work do not spin on processors that others need.
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    told = StringIO()
    with redirect_stdout(told):
        model = _load(folder, environment)
    # It also recommends programs that are of no use here.
    for line in told.getvalue().splitlines():
        if line.startswith(COMPLAINTS):
            print(line, file=sys.stderr)  # noqa: T201
    return WholeUtterance(FunAsr(model, environment))


def _load(folder: Path, environment: Mapping[str, str]) -> AutoModel:
    import_gently(("funasr",))
    from funasr import AutoModel

    logging.disable(logging.WARNING)
    try:
        # Not gently: PyTorch may start the threads that will compute.
        return AutoModel(
            model=str(folder),
            # Else a description that names no file leaves the weights at random.
            init_param=str(folder / "model.pt"),
            device=environment.get(Variable.ASR_DEVICE) or "cpu",
            ncpu=model_threads(environment.get(Variable.ASR_THREADS)),
            # A model's own configuration can ask for each of these.
            trust_remote_code=False,
            vad_model=None,
            punc_model=None,
            spk_model=None,
            # Weights that do not fit would be left out, and the model hear nothing right.
            ignore_init_mismatch=False,
            disable_update=True,
            disable_pbar=True,
        )
    except UnpicklingError as exc:
        # Its own message is how to run whatever code may be in the file.
        raise ModelMissing(f"{folder / 'model.pt'} is not a file of weights") from exc


def _kind(folder: Path) -> str | None:
    config = yaml.safe_load((folder / "config.yaml").read_text())
    return str(config.get("model")) if isinstance(config, dict) else None
