import os
import socket

from trio_bridge.bench.usage import Usage, listener, tree


def test_this_process_is_found_with_what_it_uses():
    """By its pid, as the root of the tree."""
    here = tree(os.getpid())[os.getpid()]
    assert here.name == "bridge"
    assert here.cpu > 0
    assert here.resident_mb > 1
    assert Usage.now(os.getpid()).busy > here.cpu


def test_a_process_that_is_not_there_has_no_tree():
    """Servers end, too."""
    assert tree(2**22 + 1) == {}


def test_who_listens_on_a_port_is_found():
    """So that a server that runs already can be measured."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert listener(port) == os.getpid()
    assert listener(port) is None
