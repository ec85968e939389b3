/**
 * @openai/agents-realtime: `RealtimeSession` over its WebSocket transport.
 *
 *     node openai_agents.mjs URL RECORDING
 *
 * The transport passes over an event that does not fit its schema without a word; such events
 * are reported as misfits.
 */

import {
  OpenAIRealtimeWebSocket,
  RealtimeAgent,
  RealtimeSession,
  tool,
} from "@openai/agents-realtime";
import { z } from "zod";

import {
  BYTES_PER_SECOND,
  COUNT_A_LITTLE,
  COUNT_LONG,
  FORECAST,
  HEARD_BEFORE_BARGE_IN,
  QUESTION,
  Seen,
  runAll,
  speak,
} from "./reporting.mjs";

const [url, recording] = process.argv.slice(2);
const endpoint = `${url.replace(/^http/, "ws")}/v1/realtime?model=gpt-realtime`;

/** One session; what it saw is in `seen`: server events by type, the session's own by name. */
class Conversation {
  seen = new Seen();
  session;
  #received = new Map();
  #understood = new Map();
  #seconds = 0;

  constructor() {
    const weather = tool({
      name: "get_weather",
      description: "The weather in a city.",
      parameters: z.object({ city: z.string() }),
      execute: async (given) => {
        this.seen.add("call", given);
        return FORECAST;
      },
    });
    const agent = new RealtimeAgent({
      name: "Guide",
      instructions: "Be brief.",
      tools: [weather],
    });
    const transport = new OpenAIRealtimeWebSocket();
    this.session = new RealtimeSession(agent, { transport });
    transport.on("*", (event) => this.#see(transport, event));
    this.session.on("error", ({ error }) => {
      this.seen.add("complaint", describe(error));
      this.seen.end(new Error(describe(error)));
    });
    this.session.on("audio_interrupted", () => this.seen.add("interrupted", this.#seconds));
    this.session.on("audio", ({ data }) => {
      this.#seconds += data.byteLength / BYTES_PER_SECOND;
      if (this.#seconds >= HEARD_BEFORE_BARGE_IN) this.seen.add("enough heard");
    });
    transport.on("connection_change", (status) => {
      if (status === "disconnected") this.seen.end(new Error("disconnected"));
    });
  }

  async connected() {
    await this.session.connect({ apiKey: "unused", url: endpoint });
    return (await this.seen.wait("session.created")).session;
  }

  get seconds() {
    return this.#seconds;
  }

  async say() {
    const send = (pcm) => this.session.sendAudio(new Uint8Array(pcm).buffer);
    await speak(send, recording);
  }

  /** The transcripts that the session itself holds, once each has one. */
  async history(role, count) {
    for (;;) {
      const transcripts = this.session.history
        .filter((item) => item.type === "message" && item.role === role)
        .map((item) => item.content[0]?.transcript ?? item.content[0]?.text);
      if (transcripts.length >= count && transcripts.at(-1)) return transcripts;
      const events = this.seen.of("conversation.item.retrieved").length;
      await this.seen.wait("conversation.item.retrieved", events + 1);
    }
  }

  /** What no scenario should see. */
  complaints() {
    const misfits = [...this.#received]
      .filter(([type, count]) => count !== this.#understood.get(type))
      .map(([type, count]) => `${type}: ${this.#understood.get(type) ?? 0} of ${count}`);
    return { errors: this.seen.of("complaint"), misfits };
  }

  close() {
    this.session.close();
  }

  #see(transport, event) {
    if (!this.#received.has(event.type)) {
      // In time: the transport emits the event under its own name right after this.
      transport.on(event.type, () => {
        this.#understood.set(event.type, (this.#understood.get(event.type) ?? 0) + 1);
      });
    }
    this.#received.set(event.type, (this.#received.get(event.type) ?? 0) + 1);
    this.seen.add(event.type, event);
  }
}

function describe(error) {
  return error instanceof Error ? error.stack : JSON.stringify(error);
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
  const session = await conversation.connected();
  await conversation.seen.wait("session.updated");
  return { session: session.id };
}

async function textTurn(conversation) {
  await conversation.connected();
  conversation.session.sendMessage(COUNT_A_LITTLE);
  const done = await conversation.seen.wait("response.done");
  const said = conversation.seen.of("response.output_audio_transcript.done").at(-1);
  return { said: said.transcript, status: done.response.status };
}

async function voiceTurn(conversation) {
  await conversation.connected();
  await conversation.say();
  const done = await conversation.seen.wait("response.done");
  const [heard] = await conversation.history("user", 1);
  const [said] = await conversation.history("assistant", 1);
  return {
    status: done.response.status,
    seconds: conversation.seconds,
    heard,
    said,
  };
}

async function functionCall(conversation) {
  await conversation.connected();
  conversation.session.sendMessage(QUESTION);
  const given = await conversation.seen.wait("call");
  await conversation.seen.wait("response.done", 2);
  const said = conversation.seen.of("response.output_audio_transcript.done").at(-1);
  return {
    tool: "get_weather",
    arguments: given,
    said: said.transcript,
  };
}

async function bargeIn(conversation) {
  await conversation.connected();
  conversation.session.sendMessage(COUNT_LONG);
  await conversation.seen.wait("enough heard");
  const saying = conversation.say();
  const heardOfIt = await conversation.seen.wait("interrupted");
  const cut = await conversation.seen.wait("response.done");
  const truncated = await conversation.seen.wait("conversation.item.truncated");
  await saying;
  const done = await conversation.seen.wait("response.done", 2);
  const heard = (await conversation.history("user", 2)).at(-1);
  const said = conversation.seen.of("response.output_audio_transcript.done").at(-1);
  return {
    cut: {
      status: cut.response.status,
      reason: cut.response.status_details.reason,
      seconds: heardOfIt,
    },
    truncated_ms: truncated.audio_end_ms,
    status: done.response.status,
    heard,
    said: said.transcript,
  };
}

await runAll({
  connect: talk(connect),
  text_turn: talk(textTurn),
  voice_turn: talk(voiceTurn),
  function_call: talk(functionCall),
  barge_in: talk(bargeIn),
});
