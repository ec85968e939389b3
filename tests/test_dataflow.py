import json
import re
import socket
import ssl
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import trustme
import yaml

from tests.support.hub_nodes import write_dataflow
from trio_bridge.__main__ import main
from trio_bridge.dora.descriptors.dataflow_file import find_dataflow


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    monkeypatch.delenv("TRIO_BRIDGE_DORA_DATAFLOW", raising=False)
    monkeypatch.delenv("TRIO_BRIDGE_MODELS", raising=False)
    # Where no server is, whatever runs on this machine.
    monkeypatch.setenv("TRIO_BRIDGE_SERVER_PORT", "1")


def test_what_a_sound_dataflow_offers(capsys, tmp_path):
    """Its contract, nodes and ports; status 0."""
    assert main(["dataflow", "check", "echo"]) == 0
    out = capsys.readouterr().out
    assert "contract   native" in out
    assert "offers     answers of its own accord only" in out
    assert "output   listen -> echo/listen" in out
    assert "input    answer <- echo/answer" in out
    assert "no problem was found" in out
    assert main(["dataflow", "check", str(write_dataflow(tmp_path))]) == 0
    assert "contract   hub, 1 session an instance" in capsys.readouterr().out


def test_every_problem_is_a_line(capsys, tmp_path):
    """All of them at once, not the first; status 1."""
    path = tmp_path / "flow.yml"
    path.write_text(
        """
nodes:
  - id: bridge
    path: dynamic
    inputs: {answer: own/answers}
    outputs: [listen, shout]
  - id: own
    path: gone.py
    inptus: {}
    inputs: {listen: {source: bridge/listen, queue_size: 1}, text: nobody/text}
    outputs: [answer]
"""
    )
    assert main(["dataflow", "check", str(path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    problems = [line for line in lines if line.startswith("problem")]
    for words in (
        "'inptus' is not known (did you mean 'inputs'?)",
        "there is no file",
        "queue_size must be 10000 or more",
        "there is no node 'nobody'",
        "no output 'answers' (did you mean 'answer'?)",
        "no port 'shout'",
        "must be an input 'ack-own'",
    ):
        assert sum(words in line for line in problems) == 1, words
    assert "no problem was found" not in lines


def test_a_node_of_the_hub_that_is_not_installed_is_a_problem(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["dataflow", "check", "primespeech"]) == 1
    out = capsys.readouterr().out
    assert "node 'maas-client': there is no file" in out
    assert "and no such program is installed" in out


def test_a_dataflow_that_is_not_there_is_one_line(capsys):
    assert main(["dataflow", "check", "ehco"]) == 1
    assert "there is no dataflow 'ehco'" in capsys.readouterr().err


def test_what_is_configured_is_listed(capsys, tmp_path):
    """A dataflow for each model, and what is wrong with it in short."""
    config = tmp_path / "bridge.toml"
    config.write_text('[dora]\ndataflow = "echo"\n[models]\n"loop-*" = "ehco"\n')
    assert main(["dataflow", "list", "--config", str(config)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("model loop-*: there is no dataflow 'ehco'")
    assert lines[1].startswith("model (every other): echo (")
    assert "native contract): sound; sessions 200, warm 1, max_instances 4," in lines[1]
    assert lines[2:] == [
        "running: no server answers at http://127.0.0.1:1: [Errno 111] Connection refused; "
        "--url asks another one"
    ]


def test_values_of_the_session_are_told_and_must_be_listed(capsys, tmp_path):
    text = find_dataflow("echo").read_text()
    flow = tmp_path / "flow.yml"
    flow.write_text(text + '\n    env: {SPOKEN: "{{ session.language }}"}\n')
    assert main(["dataflow", "check", str(flow)]) == 0
    assert "started by the session's language" in capsys.readouterr().out
    config = tmp_path / "bridge.toml"
    config.write_text(f'[dora]\ndataflow = "{flow}"\n')
    assert main(["dataflow", "list", "--config", str(config)]) == 1
    assert f"1 problem (`dataflow check {flow}`)" in capsys.readouterr().out
    config.write_text(f'[dora]\ndataflow = "{flow}"\n[session_values]\nlanguage = ["en"]\n')
    assert main(["dataflow", "list", "--config", str(config)]) == 0


def test_what_holds_for_each_dataflow_is_listed(capsys, tmp_path):
    """Its own numbers, the general ones, and what its contract has to say."""
    config = tmp_path / "bridge.toml"
    config.write_text(
        "[dora]\nwarm = 2\n"
        '[models]\n"loop" = "echo"\n'
        "[dataflows.voice]\nsessions = 20\nidle_stop = 5\n"
        "[dataflows.echo]\nwarm = 6\n"
    )
    assert main(["dataflow", "list", "--config", str(config)]) == 0
    loop, every_other, _ = capsys.readouterr().out.splitlines()
    assert loop.endswith("sound; sessions 200, warm 6, max_instances 6, idle_stop 60")
    assert every_other.endswith("sound; sessions 20, warm 2, max_instances 4, idle_stop 5")


def test_a_server_that_does_not_answer_is_one_line(capsys):
    assert main(["dataflow", "list", "--url", "http://127.0.0.1:1"]) == 1
    assert "no server answers at http://127.0.0.1:1" in capsys.readouterr().err


def test_what_speaks_no_http_is_no_server(capsys):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer():
            peer, _ = listener.accept()
            with peer:
                peer.recv(4096)
                peer.sendall(b"SSH-2.0-x\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert main(["dataflow", "list", "--url", url]) == 1
        thread.join()
    assert f"what answers at {url} is no trio_bridge" in capsys.readouterr().err


class Health(BaseHTTPRequestHandler):
    """What a server says of itself."""

    def do_GET(self):
        told = {"name": "x-1", "dataflow": "echo", "state": "warm", "sessions": 2}
        body = json.dumps({"dataflows": [{**told, "lostMessages": 0}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """To nobody."""


@contextmanager
def serving(tls=None):
    with HTTPServer(("127.0.0.1", 0), Health) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def server():
    with serving() as port:
        yield port


def test_what_runs_is_listed_where_the_settings_have_a_server(capsys, monkeypatch, server):
    """And where `--url` says, whatever the settings are."""
    monkeypatch.setenv("TRIO_BRIDGE_DORA_DATAFLOW", "echo")
    told = "running x-1: echo, warm, 2 sessions, 0 messages lost"
    assert main(["dataflow", "list", "--url", f"http://127.0.0.1:{server}"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == told
    monkeypatch.setenv("TRIO_BRIDGE_SERVER_PORT", str(server))
    monkeypatch.setenv("TRIO_BRIDGE_SERVER_HOST", "0.0.0.0")  # noqa: S104
    assert main(["dataflow", "list"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == told
    monkeypatch.setenv("TRIO_BRIDGE_SERVER_PORT", "0")
    assert main(["dataflow", "list"]) == 0
    assert "these settings take any free port" in capsys.readouterr().out


def test_what_runs_behind_tls_is_listed(capsys, monkeypatch, tmp_path):
    """Its certificate is the one of the settings, whoever has signed it for whatever name."""
    monkeypatch.setenv("TRIO_BRIDGE_DORA_DATAFLOW", "echo")
    issued = trustme.CA().issue_cert("voice.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued.configure_cert(context)
    with serving(context) as port:
        monkeypatch.setenv("TRIO_BRIDGE_SERVER_PORT", str(port))
        for certificate, told in (
            (issued, "running x-1: echo"),
            (
                trustme.CA().issue_cert("voice.example"),
                "running: no server answers at https://",
            ),
        ):
            file = tmp_path / "certificate.pem"
            certificate.private_key_and_cert_chain_pem.write_to_path(file)
            monkeypatch.setenv("TRIO_BRIDGE_SERVER_TLS_CERT", str(file))
            assert main(["dataflow", "list"]) == 0
            assert capsys.readouterr().out.splitlines()[-1].startswith(told)
    monkeypatch.setenv("TRIO_BRIDGE_SERVER_TLS_CERT", str(tmp_path / "none.pem"))
    assert main(["dataflow", "list"]) == 0
    assert "none.pem is no certificate" in capsys.readouterr().out


def test_what_dora_refuses_is_a_problem(capsys, monkeypatch, tmp_path):
    """As it is when a server starts; with the node and the key of the file."""
    document = yaml.safe_load(find_dataflow("echo").read_text())
    document["nodes"][1]["cpu_affinity"] = "x"
    flow = tmp_path / "flow.yml"
    flow.write_text(yaml.safe_dump(document))
    assert main(["dataflow", "check", str(flow)]) == 1
    out = capsys.readouterr().out
    assert "problem    dora does not accept the dataflow: node 'echo', cpu_affinity: " in out
    assert not re.search("line [0-9]", out)
    assert "no problem was found" not in out


def test_a_bridge_that_dora_starts(capsys, monkeypatch, tmp_path):
    """It can be checked, its settings as well; a server cannot have it."""
    assert main(["dataflow", "check", "as_node"]) == 0
    assert "bridge     bridge, started by Dora: for `dora start`" in capsys.readouterr().out
    text = find_dataflow("as_node").read_text()
    flow = tmp_path / "flow.yml"
    wrong = "--port 8080\n    env: {TRIO_BRIDGE_SERVER_PROT: 1}"
    flow.write_text(text.replace("--port 8080", wrong, 1))
    assert main(["dataflow", "check", str(flow)]) == 1
    assert "node 'bridge': environment: TRIO_BRIDGE_SERVER_PROT" in capsys.readouterr().out
    flow.write_text("env: {TRIO_BRIDGE_SERVER_PROT: 1}\n" + text)
    assert main(["dataflow", "check", str(flow)]) == 1
    assert "node 'bridge': environment: TRIO_BRIDGE_SERVER_PROT" in capsys.readouterr().out
    monkeypatch.setenv("TRIO_BRIDGE_DORA_DATAFLOW", "as_node")
    assert main(["dataflow", "list"]) == 1
    assert "1 problem (" in capsys.readouterr().out


def test_nodes_beside_the_bridge_and_doubts_are_told(capsys, tmp_path):
    """Neither is a problem."""
    document = yaml.safe_load(find_dataflow("echo").read_text())
    document["nodes"][1]["env"] = {"LLM_URL": "x"}
    document["nodes"].append({"id": "camera", "path": "python", "args": "-c pass"})
    flow = tmp_path / "flow.yml"
    flow.write_text(yaml.safe_dump(document))
    assert main(["dataflow", "check", str(flow)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "beside     camera: on no way from or to the bridge" in lines
    (doubt,) = (line for line in lines if line.startswith("doubt"))
    assert "LLM_URL may be misspelt (did you mean TRIO_BRIDGE_LLM_URL?)" in doubt
