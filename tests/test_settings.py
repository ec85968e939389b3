import math

import pytest

from trio_bridge.errors import SettingsError
from trio_bridge.nodes.variables import Variable
from trio_bridge.settings import Settings
from trio_bridge.settings_layers import MAX_FILE_BYTES, load_settings


@pytest.fixture
def config(tmp_path):
    def write(text):
        path = tmp_path / "bridge.toml"
        path.write_text(text)
        return path

    return write


def test_defaults():
    """With nothing set, the server listens on loopback and runs the voice dataflow."""
    settings = load_settings()
    assert settings == Settings()
    assert (settings.server.host, settings.server.port) == ("127.0.0.1", 8080)
    assert settings.dora.dataflow == "voice"


def test_flags_win_over_environment_over_file(config):
    """Each layer overrides the one before it, key by key; a flag of None is not set."""
    settings = load_settings(
        config_path=config('[server]\nhost = "::1"\nport = 1\ndrain_timeout = 1\n'),
        environ={"TRIO_BRIDGE_SERVER_PORT": "2", "TRIO_BRIDGE_SERVER_DRAIN_TIMEOUT": "2.5"},
        flags={"server.drain_timeout": 4.0, "server.port": None},
    )
    assert settings.server.host == "::1"
    assert settings.server.port == 2
    assert settings.server.drain_timeout == 4.0


def test_audio_may_leave_unpaced(config):
    """`inf` is a lead, in a file and in the environment."""
    assert math.isinf(load_settings(config_path=config("[server]\nlead = inf\n")).server.lead)
    assert math.isinf(load_settings(environ={"TRIO_BRIDGE_SERVER_LEAD": "inf"}).server.lead)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[srever]\nport = 1\n", "[srever] (did you mean server?)"),
        ("[server]\nprot = 1\n", "'prot' in [server] (did you mean port?)"),
        ("port = 1\n", "unknown section [port]"),
        ("server = 1\n", "must be a table"),
        ('[server]\nport = "8080"\n', "server.port must be a number"),
        ("[server]\nport = true\n", "server.port must be a number"),
        ("[server]\nhost = 1\n", "server.host must be a str"),
        ("[server]\nport = 65536\n", "port"),
        ("[server]\nport = -1\n", "port"),
        ("[server]\ndrain_timeout = inf\n", "drain_timeout"),
        ("[server]\nlead = nan\n", "lead"),
        ("[server]\nlead = 0\n", "lead"),
        ("[dora]\nsessions = 0\n", "sessions"),
        ("[dora]\nwarm = -1\n", "warm"),
        ("[dora]\nmax_instances = 0\n", "max_instances"),
        ("[dora]\nidle_stop = nan\n", "idle_stop"),
        ("[dora]\ninstances = 2\n", "'instances' in [dora]"),
        ('[log]\nformat = "xml"\n', "xml"),
        ("[server\n", "not TOML"),
        ("#" * (MAX_FILE_BYTES + 1), "not a configuration"),
    ],
)
def test_a_mistake_in_the_file_is_named(config, text, words):
    """The message says which file, which key, and what is wrong; it is one line."""
    path = config(text)
    with pytest.raises(SettingsError) as caught:
        load_settings(config_path=path)
    assert str(path) in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    """It was asked for, so its absence is an error."""
    with pytest.raises(SettingsError, match="No such file"):
        load_settings(config_path=tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("TRIO_BRIDGE_SERVER_PROT", "1", "did you mean TRIO_BRIDGE_SERVER_PORT?"),
        ("TRIO_BRIDGE_SERVRE_PORT", "1", "did you mean TRIO_BRIDGE_SERVER_PORT?"),
        ("TRIO_BRIDGE_SERVER_PORT", "http", "server.port"),
        ("TRIO_BRIDGE_SERVER_PORT", "70000", "server.port"),
        ("TRIO_BRIDGE_LOG_LEVEL", "loud", "loud"),
        ("TRIO_BRIDGE_TTS_ENGINE", "piper", "did you mean TTS_ENGINE?"),
        ("TRIO_BRIDGE_LLM_ULR", "http://x", "did you mean TRIO_BRIDGE_LLM_URL?"),
        ("TRIO_BRIDGE_ASR_WORKER", "2", "did you mean TRIO_BRIDGE_ASR_WORKERS?"),
        ("TRIO_BRIDGE_NODE_CONTRCT", "hub", "did you mean TRIO_BRIDGE_NODE_CONTRACT?"),
        ("TRIO_BRIDGE_VAD_THRESHOLD", "1", "TRIO_BRIDGE_VAD_THRESHOLD sets nothing"),
    ],
)
def test_a_mistake_in_the_environment_is_named(name, value, words):
    """A misspelt variable would otherwise set nothing, in silence."""
    with pytest.raises(SettingsError) as caught:
        load_settings(environ={name: value})
    assert str(caught.value).startswith("environment: ")
    assert words in str(caught.value)


def test_variables_of_the_nodes_and_of_others_are_left_alone():
    """Nodes read their own; what has another prefix is nobody's here."""
    environ = dict.fromkeys(Variable, "secret") | {"PORT": "1", "ASR_ENGIN": "1"}
    settings = load_settings(environ=environ)
    assert settings == Settings()
    assert "secret" not in repr(settings)


def test_an_unknown_flag_is_refused():
    """A flag that sets nothing is a mistake of the program, and said to be one."""
    with pytest.raises(SettingsError, match=r"server\.prot"):
        load_settings(flags={"server.prot": 1})


def test_models_are_a_table_of_the_users_own(config):
    """Names and patterns, in the order of the file; the environment adds to them."""
    text = '[models]\n"gpt-4.1*" = "voice"\n"echo*" = "echo"\n'
    environ = {"TRIO_BRIDGE_MODELS": "echo*=mine.yml, loop = echo,"}
    models = load_settings(config_path=config(text), environ=environ).models
    assert list(models.items()) == [
        ("gpt-4.1*", "voice"),
        ("echo*", "mine.yml"),
        ("loop", "echo"),
    ]


def test_a_dataflow_may_have_numbers_of_its_own(config):
    """They win over the general ones, wherever those come from; the rest stays general."""
    text = """
        [dora]
        warm = 2
        [models]
        "echo*" = "echo"
        "small" = "flows/small.yml"
        [dataflows.voice]
        sessions = 20
        idle_stop = inf
        [dataflows."flows/small.yml"]
        warm = 0
        max_instances = 9
    """
    environ = {"TRIO_BRIDGE_DORA_SESSIONS": "50"}
    settings = load_settings(config_path=config(text), environ=environ)
    voice = settings.of_dataflow("voice")
    assert (voice.dataflow, voice.sessions, voice.warm) == ("voice", 20, 2)
    assert math.isinf(voice.idle_stop)
    echo = settings.of_dataflow("echo")
    assert (echo.dataflow, echo.sessions, echo.warm) == ("echo", 50, 2)
    small = settings.of_dataflow("flows/small.yml")
    assert (small.sessions, small.warm, small.max_instances) == (50, 0, 9)


def test_numbers_may_be_for_a_dataflow_that_a_flag_replaces(config):
    """A file is still good when another dataflow is tried for once."""
    path = config('[dora]\ndataflow = "voice"\n[dataflows.voice]\nsessions = 20\n')
    settings = load_settings(config_path=path, flags={"dora.dataflow": "echo"})
    assert settings.of_dataflow("echo").sessions == 200


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[dataflow.voice]\nwarm = 1\n", "did you mean dataflows?"),
        ("[dataflows]\nvoice = 1\n", "must be a table, [dataflows.voice]"),
        ("[dataflows.vioce]\nwarm = 1\n", "[dataflows.vioce] (did you mean voice?)"),
        ("[dataflows.echo]\nwarm = 1\n", "no model is answered by the dataflow of"),
        ("[dataflows.voice]\nwram = 1\n", "'wram' in [dataflows.voice] (did you mean warm?)"),
        ('[dataflows.voice]\nwarm = "1"\n', "dataflows.voice.warm must be a number"),
        ("[dataflows.voice]\nwarm = 1.5\n", "dataflows.voice.warm must be a number"),
        ("[dataflows.voice]\nwarm = -1\n", "dataflows.voice: 'warm' must be >= 0"),
        ("[dataflows.voice]\nsessions = 0\n", "dataflows.voice: 'sessions' must be >= 1"),
        ("[dataflows.voice]\nidle_stop = nan\n", "dataflows.voice: 'idle_stop'"),
    ],
)
def test_a_mistake_in_a_dataflows_numbers_is_named(config, text, words):
    with pytest.raises(SettingsError) as caught:
        load_settings(config_path=config(text))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_lists_and_switches(config):
    """A list is a list in a file, and separated by commas in the environment."""
    text = '[server]\ncors_origins = ["http://127.0.0.1:5173"]\nstrict = true\n'
    server = load_settings(config_path=config(text)).server
    assert server.cors_origins == ("http://127.0.0.1:5173",)
    assert server.strict
    environ = {
        "TRIO_BRIDGE_SERVER_CORS_ORIGINS": "https://a.example, null",
        "TRIO_BRIDGE_SERVER_STRICT": "no",
    }
    server = load_settings(config_path=config(text), environ=environ).server
    assert server.cors_origins == ("https://a.example", "null")
    assert not server.strict


def test_session_values_list_what_is_allowed(config):
    """The environment adds names and replaces lists."""
    text = '[session_values]\nlanguage = ["en", "de"]\nvoice = ["anna"]\n'
    environ = {"TRIO_BRIDGE_SESSION_VALUES": "voice=bob|anna, model=m"}
    values = load_settings(config_path=config(text), environ=environ).session_values
    assert values == {"language": ("en", "de"), "voice": ("bob", "anna"), "model": ("m",)}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[models]\nloop = 1\n", "models.loop must be a str"),
        ('[models]\nloop = ""\n', "'loop' = ''"),
        ('[session_values]\nvoice = "anna"\n', "session_values.voice must be a list of str"),
        ("[session_values]\nvoice = []\n", "voice needs at least one value"),
        ('[session_values]\nvoice = ["a b"]\n', "'a b' is no value"),
        ('[session_values]\nvoices = ["a"]\n', "did you mean voice?"),
        ("[modles]\nloop = 1\n", "did you mean models?"),
        ('[server]\ncors_origins = "*"\n', "must be a list of str"),
        ('[server]\ncors_origins = ["https://a.example/"]\n', "without a path"),
        ("[server]\nstrict = 1\n", "server.strict must be a bool"),
    ],
)
def test_a_mistake_in_models_lists_and_switches_is_named(config, text, words):
    with pytest.raises(SettingsError) as caught:
        load_settings(config_path=config(text))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("TRIO_BRIDGE_MODELS", "echo", "'echo' is not MODEL=DATAFLOW"),
        ("TRIO_BRIDGE_SESSION_VALUES", "voice", "'voice' is not NAME=VALUE|VALUE"),
        ("TRIO_BRIDGE_SESSION_VALUES", "voice=", "'' is no value"),
        ("TRIO_BRIDGE_MODELS", "=echo", "must name a model"),
        ("TRIO_BRIDGE_MODLES", "a=b", "did you mean TRIO_BRIDGE_MODELS?"),
        ("TRIO_BRIDGE_SERVER_STRICT", "perhaps", "server.strict"),
        ("TRIO_BRIDGE_SERVER_CORS_ORIGINS", "example.com", "server.cors_origins"),
    ],
)
def test_a_mistake_in_their_variables_is_named(name, value, words):
    with pytest.raises(SettingsError) as caught:
        load_settings(environ={name: value})
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_secret_is_never_shown(config):
    """Neither in the settings' own words nor in what is said of a bad one."""
    settings = load_settings(environ={"TRIO_BRIDGE_SERVER_SECRET": "correct horse battery"})
    assert settings.server.secret == "correct horse battery"  # noqa: S105
    assert "horse" not in repr(settings)
    with pytest.raises(SettingsError, match="at least 16 characters") as caught:
        load_settings(environ={"TRIO_BRIDGE_SERVER_SECRET": "horse"})
    assert "horse" not in str(caught.value)
    with pytest.raises(SettingsError, match="must be a str") as caught:
        load_settings(config_path=config("[server]\nsecret = 1234567890123456\n"))
    assert "1234" not in str(caught.value)
