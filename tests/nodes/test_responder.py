"""The built-in responder: what is said → what is answered."""

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_bridge.messages import ResponseRequest
from trio_bridge.nodes.answering import Text, ToolDelta, ToolDone, parse_request
from trio_bridge.nodes.number_words import find_numbers, say_number
from trio_bridge.nodes.responder import INTRODUCTION, NOT_HEARD, Responder, respond

NOW = datetime(2026, 3, 4, 15, 7, tzinfo=UTC)
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "parameters": {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            "days": {"type": "integer", "minimum": 1, "maximum": 7},
            "note": {"type": "string"},
        },
        "required": ["city", "unit", "days"],
    },
}
TIMER = {"type": "function", "name": "startTimer"}
EARLIER = {"type": "message", "role": "assistant", "content": []}


def user(text):
    content = [{"type": "input_audio", "transcript": text}]
    return {"type": "message", "role": "user", "content": content}


def answer(*items, **fields):
    pieces = list(respond(ResponseRequest(items, **fields), NOW))
    return "".join(piece.text for piece in pieces if isinstance(piece, Text)), pieces


@pytest.mark.parametrize(
    ("said", "answered"),
    [
        ("what time is it", "It is 3:07 PM."),
        ("tell me the date please", "Today is Wednesday, 4 March 2026."),
        ("what day is it today", "Today is Wednesday, 4 March 2026."),
        ("count to five", "One, two, three, four, five."),
        ("count from 8 to 12", "Eight, nine, ten, eleven, twelve."),
        ("count down from three to one", "Three, two, one."),
        ("count backwards from three", "Three, two, one."),
        ("Hello there", "Hello! What can I do for you?"),
        ("go forward ten meters.", "You said: go forward ten meters."),
        ("", NOT_HEARD),
        (" ... ", NOT_HEARD),
        (None, NOT_HEARD),
    ],
)
def test_answers_from_what_it_heard(said, answered):
    """Short and natural, from the last thing the user said."""
    assert answer(EARLIER, user("nothing of this"), user(said))[0] == answered


def test_long_counts_breathe():
    """Twenty numbers are two sentences, so that there is something to interrupt."""
    text, _ = answer(EARLIER, user("count to twenty"))
    assert text.startswith("One, two, ")
    assert "ten. Eleven" in text
    assert text.endswith("twenty.")
    assert len(answer(EARLIER, user("count to 999999"))[0].split(", ")) < 250


def test_the_first_answer_says_how_to_plug_in_a_model():
    """And no later one does."""
    assert answer(user("hello"))[0].endswith(INTRODUCTION)
    assert "TRIO_BRIDGE_LLM_URL" in INTRODUCTION
    assert INTRODUCTION not in answer(user("hello"), EARLIER, user("hello"))[0]
    assert answer()[0].startswith("Hello!")


def call_of(*items, **fields):
    text, pieces = answer(*items, **fields)
    assert text == ""
    delta, done = pieces
    assert isinstance(delta, ToolDelta)
    assert isinstance(done, ToolDone)
    assert (delta.call_id, delta.name, delta.arguments) == (
        done.call_id,
        done.name,
        done.arguments,
    )
    return done.name, orjson.loads(done.arguments)


def test_calls_the_tool_that_is_named():
    """By the words of its name; required arguments come from what was said."""
    name, arguments = call_of(
        user("What is the weather for three days in Paris?"), tools=(TIMER, WEATHER)
    )
    assert name == "get_weather"
    assert arguments == {"city": "Paris", "unit": "celsius", "days": 3}
    assert call_of(user("please start a timer"), tools=(TIMER, WEATHER)) == ("startTimer", {})


def test_calls_the_tool_that_is_forced():
    """`required` takes any, a name takes that one, `none` takes none."""
    tools = (TIMER, WEATHER)
    forced = {"type": "function", "name": "get_weather"}
    assert call_of(user("hm"), tools=tools, tool_choice="required")[0] == "startTimer"
    assert call_of(user("weather"), tools=tools, tool_choice="required")[0] == "get_weather"
    assert call_of(user("forty two"), tools=tools, tool_choice=forced)[1]["days"] == 7
    assert answer(user("the weather"), tools=tools, tool_choice="none")[0]


CLOCK = {
    "type": "function",
    "name": "get_time",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}
BOTH = user("Tell me the time in Tokyo, and the weather for two days in Paris")


def calls_of(*items, **fields):
    text, pieces = answer(*items, **fields)
    assert text == ""
    done = [piece for piece in pieces if isinstance(piece, ToolDone)]
    assert len({piece.call_id for piece in done}) == len(done) == len(pieces) // 2
    return [(piece.name, orjson.loads(piece.arguments)) for piece in done]


def test_calls_all_tools_that_are_named():
    """In the order in which they were, each with what was said about it."""
    tools = (TIMER, WEATHER, CLOCK)
    assert calls_of(BOTH, tools=tools) == [
        ("get_time", {"city": "Tokyo"}),
        ("get_weather", {"city": "Paris", "unit": "celsius", "days": 2}),
    ]
    assert len(calls_of(BOTH, tools=tools, tool_choice="required")) == 2
    forced = {"type": "function", "name": "get_weather"}
    assert [name for name, _ in calls_of(BOTH, tools=tools, tool_choice=forced)] == [
        "get_weather"
    ]


def test_the_most_exact_name_is_meant():
    """Of names within names the longest, of names alike the one of which more was said."""
    named = [
        {"type": "function", "name": name}
        for name in ("get_timer", "setTimer", "set_timer_volume", "timer")
    ]
    assert calls_of(user("set the timer volume"), tools=named) == [("set_timer_volume", {})]
    assert calls_of(user("please set a timer"), tools=named) == [("setTimer", {})]
    assert calls_of(user("get the timer"), tools=named) == [("get_timer", {})]


def called(name):
    return {"type": "function_call", "call_id": f"c-{name}", "name": name, "arguments": "{}"}


def output(name, text):
    return {"type": "function_call_output", "call_id": f"c-{name}", "output": text}


@pytest.mark.parametrize("swapped", [False, True])
def test_says_what_all_tools_answered(swapped):
    """Each by its name, in the order of the calls."""
    outputs = [output("get_time", "noon"), output("get_weather", '{"sky": "clear"}')]
    items = [BOTH, called("get_time"), called("get_weather"), *outputs[:: -1 if swapped else 1]]
    text, _ = answer(EARLIER, *items, tools=(WEATHER, CLOCK), tool_choice="required")
    assert text == "For time, the answer is: noon. For weather, the answer is: sky clear."


def test_without_parallel_calls_one_comes_after_the_other():
    """The second when the first was answered, and then both answers are said."""
    fields = {"tools": (WEATHER, CLOCK), "parallel_tool_calls": False}
    items = [EARLIER, BOTH]
    for name in ("get_time", "get_weather"):
        assert [found for found, _ in calls_of(*items, **fields)] == [name]
        items += [called(name), output(name, "fine")]
    assert answer(*items, **fields)[0].count("fine") == 2


def test_a_new_turn_calls_anew():
    """What was called for an earlier one does not count."""
    earlier = [BOTH, called("get_time"), output("get_time", "noon")]
    assert calls_of(*earlier, user("the time in Rome"), tools=(CLOCK,)) == [
        ("get_time", {"city": "Rome"})
    ]


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (
            '{"temperature": 21, "wind_speed": [3, 4], "rain": false}',
            "temperature 21, wind speed 3, 4, rain no",
        ),
        ("sunny.", "sunny"),
        ("", "nothing"),
        (None, "nothing"),
        ("null", "nothing"),
    ],
)
def test_says_what_a_tool_answered(output, said):
    """Even where a tool is required: it has been called."""
    item = {"type": "function_call_output", "call_id": "c", "output": output}
    text, _ = answer(user("weather"), EARLIER, item, tools=(WEATHER,), tool_choice="required")
    assert text == f"The answer is: {said}."


async def test_the_output_limit_ends_an_answer():
    """A word is taken for a token."""
    given: list[Any] = []
    request = ResponseRequest((user("count to ten"),), max_output_tokens=3)
    finish = await Responder(lambda: NOW).answer(request, given.append)
    assert "".join(piece.text for piece in given) == "One, two, three,"
    assert (finish.status, finish.reason) == ("incomplete", "max_output_tokens")
    assert finish.usage.input_tokens > 0
    assert finish.usage.output_tokens > 0


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("one two three", [1, 2, 3]),
        ("forty two and one hundred and five", [42, 105]),
        ("two thousand and six, 1,234.5 or 3,5", [2006, 1234.5, 3.5]),
        ("twenty to thirty five", [20, 35]),
        ("a hundred", [100]),
        ("nothing and " + "9" * 500, []),
    ],
)
def test_finds_numbers(text, numbers):
    """In digits and in words."""
    assert find_numbers(text) == numbers


@given(st.integers(0, 999))
def test_numbers_said_are_found(number):
    """What it says it understands."""
    assert find_numbers(say_number(number)) == [number]


JSONISH = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "properties",
                    "required",
                    "items",
                    "enum",
                    "anyOf",
                    "$ref",
                    "a",
                    "default",
                ]
            ),
            inner | st.sampled_from(["object", "array", "string", "integer", "#", "#/a"]),
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSONISH, st.text(max_size=20))
def test_any_schema_gives_an_object(schema, said):
    """Clients write the schemas: whatever they say, arguments are a JSON object."""
    tool = {"type": "function", "name": "f", "parameters": schema}
    _, arguments = call_of(user(said), tools=(tool,), tool_choice="required")
    assert isinstance(arguments, dict)


def test_arguments_fit_nested_schemas():
    """Arrays, alternatives, references, constants and dates."""
    parameters = {
        "$defs": {
            "point": {
                "type": "object",
                "properties": {"x": {"type": "number"}},
                "required": ["x"],
            }
        },
        "type": "object",
        "properties": {
            "points": {"type": "array", "items": {"$ref": "#/$defs/point"}, "minItems": 2},
            "maybe": {"anyOf": [{"type": "null"}, {"type": "boolean"}]},
            "kind": {"const": "k"},
            "day": {"type": "string", "format": "date"},
            "either": {"type": ["null", "integer"], "exclusiveMinimum": 4},
        },
        "required": ["points", "maybe", "kind", "day", "either"],
    }
    tool = {"type": "function", "name": "plot", "parameters": parameters}
    assert call_of(user("plot one and 2.5, but not now"), tools=(tool,)) == (
        "plot",
        {
            "points": [{"x": 1.0}, {"x": 2.5}],
            "maybe": False,
            "kind": "k",
            "day": "2026-03-04",
            "either": 5,
        },
    )


def test_requests_are_read_from_json():
    """Unknown fields are passed over; what is not a request is refused."""
    data = orjson.dumps({"items": [user("hi")], "voice": "echo", "tools": None, "new": 1})
    request = parse_request(data.decode())
    assert request.items == (user("hi"),)
    assert request.voice == "echo"
    for wrong in ("[]", '{"items": 5}', '{"items": [1]}'):
        with pytest.raises(ValueError, match=r"is not (an|a list of) object"):
            parse_request(wrong)
