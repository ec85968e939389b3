import io
import json

from trio_bridge.client.report import JsonLines, Lines

TURN = {
    "spoken": True,
    "heard": "hello there",
    "answer": "hi",
    "status": "completed",
    "latency_ms": {"heard": 512.4, "first_text": 530.0, "first_audio": 541.0, "done": 2000.0},
}
SUMMARY = {"connect_ms": 3.0, "turns": [TURN], "audio_seconds": 1.25, "saved": "r.wav"}


def show(report):
    report.connected(3.2)
    report.heard("hello")
    report.heard(" there")
    report.heard_all("hello there")
    report.answered("hi")
    report.turn(TURN)
    report.end(SUMMARY)


def test_lines_for_people():
    """Words as they come, one line per speaker, latencies after the turn."""
    out = io.StringIO()
    show(Lines(out))
    assert out.getvalue() == (
        "connected in 3 ms\n"
        "heard:  hello there\n"
        "answer: hi\n"
        "        after the end of the speech: heard 512 ms, first text 530 ms, "
        "first audio 541 ms, done 2000 ms\n"
        "saved 1.2 s of speech in r.wav\n"
    )


def test_second_thoughts_are_shown_on_a_line_of_their_own():
    """What was printed cannot be taken back; the final words stand below it."""
    out = io.StringIO()
    report = Lines(out)
    report.heard("go for")
    report.heard_all("go forward")
    report.answered("yes")
    assert out.getvalue() == "heard:  go for\nheard:  go forward\nanswer: yes"


def test_json_for_programs():
    """One object per line, the summary last."""
    out = io.StringIO()
    show(JsonLines(out))
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["event"] for line in lines] == [
        "connected",
        "hearing",
        "hearing",
        "heard",
        "answering",
        "turn",
        "summary",
    ]
    assert lines[-1]["turns"] == [TURN]
