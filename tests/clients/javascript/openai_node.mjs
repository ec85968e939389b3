/**
 * openai-node: its clients of both dialects, on the `ws` package (`OpenAIRealtimeWS`) and on the
 * platform's own WebSocket, as browsers have it (`OpenAIRealtimeWebSocket`).
 *
 *     node openai_node.mjs URL RECORDING {ga,beta} {ws,platform}
 *
 * The clients insist on wss. Where the URL is plain HTTP, `ws` is given a plain socket to use.
 */

import net from "node:net";

import OpenAI from "openai";
import { OpenAIRealtimeWebSocket as BetaRealtimeWebSocket } from "openai/beta/realtime/websocket";
import { OpenAIRealtimeWS as BetaRealtimeWS } from "openai/beta/realtime/ws";
import { OpenAIRealtimeWebSocket } from "openai/realtime/websocket";
import { OpenAIRealtimeWS } from "openai/realtime/ws";

import {
  BYTES_PER_SECOND,
  COUNT_A_LITTLE,
  COUNT_LONG,
  FORECAST,
  HEARD_BEFORE_BARGE_IN,
  QUESTION,
  Seen,
  WEATHER_TOOL,
  runAll,
  speak,
} from "./reporting.mjs";

const [url, recording, dialect, kind] = process.argv.slice(2);

const CLIENTS = {
  ga: { ws: OpenAIRealtimeWS, platform: OpenAIRealtimeWebSocket },
  beta: { ws: BetaRealtimeWS, platform: BetaRealtimeWebSocket },
};

/** A session's settings, as the dialect writes them. */
function settings(modality, tools) {
  const heard = { model: "whisper-1" };
  const turns = { type: "server_vad", silence_duration_ms: 500 };
  if (dialect === "beta") {
    return {
      modalities: modality === "text" ? ["text"] : ["text", "audio"],
      input_audio_format: "pcm16",
      output_audio_format: "pcm16",
      input_audio_transcription: heard,
      turn_detection: turns,
      tools,
    };
  }
  return {
    type: "realtime",
    output_modalities: [modality],
    audio: { input: { transcription: heard, turn_detection: turns } },
    tools,
  };
}

function gaName(type) {
  return dialect === "beta"
    ? type.replace(/^response\.(text|audio|audio_transcript)\./, "response.output_$1.")
    : type;
}

/** One connection; what it saw is in `seen`, by GA's names of the events. */
class Conversation {
  seen = new Seen();
  #realtime;

  constructor() {
    const { hostname, port, protocol } = new URL(url);
    const client = new OpenAI({
      apiKey: "unused",
      baseURL: `${url}/v1`,
      dangerouslyAllowBrowser: true,
    });
    const options =
      protocol === "http:" ? { createConnection: () => net.connect(port, hostname) } : {};
    const Client = CLIENTS[dialect][kind];
    this.#realtime = new Client({ model: "gpt-realtime", options }, client);
    this.#realtime.on("event", (event) => this.#see(event));
    this.#realtime.on("error", (error) => {
      this.seen.add("complaint", error.message);
      this.seen.end(error);
    });
    this.#realtime.socket.addEventListener("close", ({ code, reason }) => {
      this.seen.end(new Error(`closed: ${code} ${reason}`));
    });
  }

  async configured(modality, tools = []) {
    const created = await this.seen.wait("session.created");
    this.send({ type: "session.update", session: settings(modality, tools) });
    await this.seen.wait("session.updated");
    return created.session;
  }

  send(event) {
    this.#realtime.send(event);
  }

  ask(text) {
    const content = [{ type: "input_text", text }];
    this.send({
      type: "conversation.item.create",
      item: { type: "message", role: "user", content },
    });
    this.send({ type: "response.create" });
  }

  async say() {
    await speak(
      (pcm) =>
        this.send({ type: "input_audio_buffer.append", audio: pcm.toString("base64") }),
      recording,
    );
  }

  /** Audio received, in all or for one response. */
  seconds(responseId) {
    const deltas = this.seen
      .of("response.output_audio.delta")
      .filter((event) => responseId === undefined || event.response_id === responseId);
    const bytes = deltas.map((event) => Buffer.from(event.delta, "base64").length);
    return bytes.reduce((sum, one) => sum + one, 0) / BYTES_PER_SECOND;
  }

  async words() {
    const heard = await this.seen.wait("conversation.item.input_audio_transcription.completed");
    const said = this.seen.of("response.output_audio_transcript.done").at(-1);
    return { heard: heard.transcript, said: said.transcript };
  }

  /** What no scenario should see. */
  complaints() {
    return { errors: this.seen.of("complaint") };
  }

  close() {
    this.#realtime.close();
  }

  #see(event) {
    const name = gaName(event.type);
    this.seen.add(name, event);
    if (name === "response.output_audio.delta" && this.seconds() >= HEARD_BEFORE_BARGE_IN) {
      this.seen.add("enough heard");
    }
  }
}

/** A scenario: what it says of a conversation that is closed when it ends. */
function talk(scenario) {
  return async () => {
    const conversation = new Conversation();
    try {
      const facts = await scenario(conversation);
      return { ...facts, ...conversation.complaints() };
    } finally {
      conversation.close();
    }
  };
}

async function connect(conversation) {
  const session = await conversation.configured("audio");
  return { session: session.id };
}

async function textTurn(conversation) {
  await conversation.configured("text");
  conversation.ask(COUNT_A_LITTLE);
  const done = await conversation.seen.wait("response.done");
  const deltas = conversation.seen.of("response.output_text.delta");
  return {
    said: deltas.map((event) => event.delta).join(""),
    status: done.response.status,
  };
}

async function voiceTurn(conversation) {
  await conversation.configured("audio");
  await conversation.say();
  const done = await conversation.seen.wait("response.done");
  return {
    status: done.response.status,
    seconds: conversation.seconds(done.response.id),
    ...(await conversation.words()),
  };
}

async function functionCall(conversation) {
  await conversation.configured("text", [WEATHER_TOOL]);
  conversation.ask(QUESTION);
  const done = await conversation.seen.wait("response.done");
  const [call] = done.response.output;
  conversation.send({
    type: "conversation.item.create",
    item: { type: "function_call_output", call_id: call.call_id, output: FORECAST },
  });
  conversation.send({ type: "response.create" });
  await conversation.seen.wait("response.done", 2);
  return {
    tool: call.name,
    arguments: JSON.parse(call.arguments),
    said: conversation.seen.of("response.output_text.done").at(-1).text,
  };
}

async function bargeIn(conversation) {
  await conversation.configured("audio");
  conversation.ask(COUNT_LONG);
  await conversation.seen.wait("enough heard");
  const saying = conversation.say();
  const cut = await conversation.seen.wait("response.done");
  const [first] = conversation.seen.of("response.output_audio.delta");
  conversation.send({
    type: "conversation.item.truncate",
    item_id: first.item_id,
    content_index: 0,
    audio_end_ms: 1000,
  });
  const truncated = await conversation.seen.wait("conversation.item.truncated");
  await saying;
  const done = await conversation.seen.wait("response.done", 2);
  return {
    cut: {
      status: cut.response.status,
      reason: cut.response.status_details.reason,
      seconds: conversation.seconds(cut.response.id),
    },
    truncated_ms: truncated.audio_end_ms,
    status: done.response.status,
    ...(await conversation.words()),
  };
}

await runAll({
  connect: talk(connect),
  text_turn: talk(textTurn),
  voice_turn: talk(voiceTurn),
  function_call: talk(functionCall),
  barge_in: talk(bargeIn),
});
