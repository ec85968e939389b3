"""Who is next at a recogniser, and who is refused: no processes, time is a number."""

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_bridge.nodes import turns as turns_module
from trio_bridge.nodes.turns import BYTES_PER_SECOND, HURRY, WEIGHED, Turns, Utterance


def come(
    turns: Turns, who: str, seconds: float, now: float = 0.0, *, ended: bool = True
) -> Utterance:
    """A session sends an utterance in one go."""
    utterance = turns.begin(who, f"{who} at {now}", {})
    turns.add(utterance, bytes(int(seconds * BYTES_PER_SECOND)), now)
    if ended:
        turns.end(utterance, now)
    return utterance


def speak(turns: Turns, utterance: Utterance, begin: float, end: float) -> None:
    """Audio comes as it is spoken."""
    for tenth in range(int(begin * 10) + 1, int(end * 10) + 1):
        turns.add(utterance, bytes(BYTES_PER_SECOND // 10), tenth / 10)


def hear(turns: Turns, now: float = 0.0) -> Utterance | None:
    """A recogniser takes the next utterance, and has done with it."""
    utterance = turns.next(now)
    if utterance is not None:
        turns.take(utterance, utterance.size)
        turns.done(utterance)
    return utterance


def order(turns: Turns, now: float = 0.0) -> str:
    """Whose utterances are heard one after another."""
    heard = []
    while (utterance := hear(turns, now)) is not None:
        heard.append(utterance.session_id)
    return "".join(heard)


def test_sessions_take_turns_and_each_keeps_its_order() -> None:
    turns = Turns(1)
    mine = [come(turns, "a", 1.0) for _ in range(3)]
    for who in "bbcc":
        come(turns, who, 1.0)
    heard = []
    while (utterance := hear(turns)) is not None:
        heard.append(utterance)
    assert "".join(u.session_id for u in heard) == "abcabca"
    assert [u for u in heard if u.session_id == "a"] == mine


def test_turns_are_counted_in_seconds() -> None:
    turns = Turns(1)
    for _ in range(2):
        come(turns, "a", 6.0)
    for _ in range(6):
        come(turns, "b", 2.0)
    assert order(turns) == "babbabbb"


def test_who_says_little_is_next_however_much_waits() -> None:
    turns = Turns(1)
    for who in "abc":
        for _ in range(5):
            come(turns, who, 10.0)
    hear(turns)
    come(turns, "d", 0.4, 1.0)
    assert order(turns)[0] == "d"


@given(st.integers(1, 20), st.integers(1, 60), st.integers(1, 40))
def test_a_speaker_is_next_after_any_uploads(uploads: int, heard: int, tenths: int) -> None:
    """However far their turns are, and however long one has had to wait for the recogniser."""
    turns = Turns(1)
    for n in range(uploads):
        for _ in range(4):
            come(turns, f"a{n}", 10.0)
    for _ in range(min(heard, 4 * uploads)):
        hear(turns)
    speaker = turns.begin("b", "u1", {})
    speak(turns, speaker, 0.0, tenths / 10)
    assert turns.next(tenths / 10) is speaker


def test_sessions_that_come_with_a_word_and_go_are_not_first_for_ever() -> None:
    turns = Turns(1)
    upload = come(turns, "a", 10.0)
    for n in range(100):
        come(turns, f"b{n}", 0.1)
        utterance = hear(turns)
        turns.close(f"b{n}")
        if utterance is upload:
            break
    assert utterance is upload


def test_what_was_had_alone_is_not_held_against_a_session() -> None:
    turns = Turns(1)
    for _ in range(20):
        come(turns, "a", 10.0)
        hear(turns)
    for who in "ab":
        for _ in range(3):
            come(turns, who, 10.0, 100.0)
    # Its latest still counts, the nineteen before do not.
    assert order(turns, 100.0) == "bababa"


def test_uploads_leave_half_of_the_recognisers_to_those_who_speak() -> None:
    turns = Turns(4)
    for who in "abcd":
        for _ in range(2):
            come(turns, who, 10.0)
    uploads = [turns.next(0.0), turns.next(0.0)]
    assert None not in uploads
    assert turns.next(0.0) is None
    assert turns.queued == 0
    speaker = come(turns, "e", 0.1, ended=False)
    assert turns.queued == 1
    assert turns.next(0.0) is speaker
    assert turns.next(0.0) is None
    for upload in uploads[:1]:
        turns.done(upload)  # type: ignore[arg-type]
    assert turns.next(0.0) is not None


@pytest.mark.parametrize(("workers", "most"), [(1, 1), (2, 1), (3, 2), (4, 2), (16, 8)])
def test_uploads_always_get_some(workers: int, most: int) -> None:
    assert Turns(workers).for_hurried == most


def test_a_voice_is_in_no_hurry_however_long_it_speaks() -> None:
    turns = Turns(4)
    voice = turns.begin("a", "u1", {})
    speak(turns, voice, 0.0, 60.0)
    assert not voice.hurried
    late = turns.begin("a", "u2", {})
    turns.add(late, bytes(2 * BYTES_PER_SECOND), 62.0)
    assert not late.hurried


def test_an_upload_in_pieces_is_in_a_hurry_and_so_is_the_next() -> None:
    turns = Turns(4)
    first = turns.begin("a", "u1", {})
    hurries = []
    for seconds in (1, 3):
        turns.add(first, bytes(seconds * BYTES_PER_SECOND), 0.1)
        hurries.append(first.hurried)
    assert hurries == [False, True]
    assert come(turns, "a", 0.1, 0.3).hurried
    assert not come(turns, "a", 0.1, 0.3 + 4.0 + HURRY).hurried


@pytest.mark.parametrize("how", ["ends", "is long"])
def test_an_upload_that_is_still_coming_is_last(how: str) -> None:
    turns = Turns(1)
    coming = come(turns, "a", 9.9, ended=False)
    others = [come(turns, who, 9.9, 1.0) for who in "bc"]
    assert hear(turns, 1.0) is others[0]
    if how == "ends":
        turns.end(coming, 2.0)
    else:
        turns.add(coming, bytes(BYTES_PER_SECOND), 2.0)
    assert turns.next(2.0) is coming
    assert coming.waited == 2.0


def test_an_upload_that_is_still_coming_need_not_wait_for_nobody() -> None:
    turns = Turns(1)
    coming = come(turns, "a", 5.0, ended=False)
    assert turns.next(0.0) is coming


def test_an_utterance_without_audio_has_its_turn_when_it_ends() -> None:
    turns = Turns(1)
    utterance = turns.begin("a", "u1", {})
    assert turns.next(0.0) is None
    assert turns.end(utterance, 1.0)
    assert turns.next(1.5) is utterance
    assert utterance.waited == 0.5


def test_whom_a_dead_recogniser_did_not_hear_is_next_again() -> None:
    turns = Turns(1)
    first = come(turns, "a", 2.0)
    come(turns, "b", 2.0)
    assert turns.next(0.0) is first
    turns.put_back(first)
    assert turns.next(0.0) is first


def test_the_session_with_most_waiting_loses_its_latest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turns_module, "WAITING_ALL", 10 * BYTES_PER_SECOND)
    turns = Turns(1)
    come(turns, "a", 3.0)
    latest = come(turns, "a", 3.0)
    come(turns, "b", 4.0)
    newcomer = turns.begin("c", "u1", {})
    assert turns.refused(newcomer, BYTES_PER_SECOND) is latest
    turns.drop(latest)
    assert turns.refused(newcomer, BYTES_PER_SECOND) is None
    assert turns.refused(newcomer, 6 * BYTES_PER_SECOND) is newcomer


def test_a_session_that_ends_is_forgotten() -> None:
    turns = Turns(1)
    heard, waiting = come(turns, "a", 3.0), come(turns, "a", 3.0)
    assert turns.next(0.0) is heard
    for utterance in turns.close("a"):
        turns.drop(utterance)
    turns.done(heard)
    assert turns.waiting == 0
    assert turns.next(0.0) is None
    assert waiting.pending == b""
    assert turns.close("a") == []


LENGTHS = st.sampled_from((0.1, 0.4, 1.0, 3.0, 10.0))


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.lists(LENGTHS, min_size=1, max_size=12)),
    st.integers(1, 5),
)
def test_those_who_wait_get_the_same(said: dict[str, list[float]], workers: int) -> None:
    """While two sessions wait, what they have been given differs by an utterance at most, and
    by what of an utterance is weighed."""
    turns = Turns(workers)
    for who, lengths in said.items():
        for length in lengths:
            come(turns, who, length)
    got: dict[str, float] = defaultdict(float)
    left = {who: len(lengths) for who, lengths in said.items()}
    longest = max((max(lengths) for lengths in said.values()), default=0.0)
    while True:
        waiting = [who for who, count in left.items() if count]
        shares = [got[who] for who in waiting]
        if shares:
            assert max(shares) - min(shares) <= longest + 2 * WEIGHED + 1e-6
        utterance = hear(turns)
        if utterance is None:
            break
        got[utterance.session_id] += utterance.seconds
        left[utterance.session_id] -= 1
    assert not any(left.values())


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), LENGTHS), max_size=60),
    st.integers(0, 60),
    st.sampled_from((0.1, 0.4, 1.0)),
)
def test_one_short_utterance_waits_for_one_of_each_at_most(
    others: list[tuple[str, float]], before: int, length: float
) -> None:
    """With a single recogniser, and whatever waits already, and however much was heard."""
    turns = Turns(1)
    for who, seconds in others:
        come(turns, who, seconds)
    for _ in range(before):
        hear(turns)
    mine = come(turns, "me", length)
    heard: dict[str, float] = defaultdict(float)
    while (utterance := hear(turns)) is not mine:
        assert utterance is not None
        # Before its last utterance, a session can have had little more than was asked for.
        assert heard[utterance.session_id] <= length + 3 * WEIGHED
        heard[utterance.session_id] += utterance.seconds


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), LENGTHS, st.booleans()), max_size=60),
)
def test_what_waits_is_counted_and_bounded(
    said: list[tuple[str, float, bool]],
) -> None:
    turns = Turns(2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(turns_module, "WAITING_ALL", 12 * BYTES_PER_SECOND)
        everything = []
        for now, (who, seconds, hear_one) in enumerate(said):
            size = int(seconds * BYTES_PER_SECOND)
            utterance = turns.begin(who, f"u{now}", {})
            while (refused := turns.refused(utterance, size)) not in (None, utterance):
                assert refused is not None
                turns.drop(refused)
            if refused is None:
                turns.add(utterance, bytes(size), now)
                turns.end(utterance, now)
                everything.append(utterance)
            else:
                turns.drop(utterance)
            if hear_one:
                hear(turns, now)
            assert turns.waiting == sum(len(u.pending) for u in everything)
            assert turns.waiting <= 12 * BYTES_PER_SECOND
