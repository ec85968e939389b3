"""Stand-ins for nodes of the Dora ecosystem, whose models are not at hand: they speak the hub
contract to the letter, its oddities included. What they are told decides what they do."""

from __future__ import annotations

from pathlib import Path

import yaml

PROGRAMS = {
    "dora-speechmonitor": "speech_monitor.py",
    "dora-asr": "asr.py",
    "dora-maas-client": "maas_client.py",
    "dora-text-segmenter": "text_segmenter.py",
    "dora-primespeech": "primespeech.py",
}
"""What `primespeech.yml` starts → what is started in its place."""

DATAFLOW = Path(__file__).parents[3] / "dataflows" / "primespeech.yml"


def write_dataflow(folder: Path) -> Path:
    """Write the dataflow as it ships, with other programs."""
    document = yaml.safe_load(DATAFLOW.read_text())
    for node in document["nodes"]:
        if node["path"] != "dynamic":
            node["path"] = str(Path(__file__).parent / PROGRAMS[node["path"]])
    path = folder / DATAFLOW.name
    path.write_text(yaml.safe_dump(document, allow_unicode=True))
    return path
