/**
 * What a client's program shares with the others: what it saw, how it speaks, what it reports.
 * The same as `tests/clients/reporting.py`, for JavaScript.
 */

import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";

const FRAME_SECONDS = 0.04;
const SCENARIO_TIMEOUT = 60.0;
export const BYTES_PER_SECOND = 48_000; // 24 kHz, PCM16, mono

export const QUESTION = "What is the weather in Paris?";
export const FORECAST = '{"sky": "sunny"}';
export const COUNT_A_LITTLE = "Count to five.";
export const COUNT_LONG = "Count to sixty.";
/** Seconds of an answer that are heard before the user speaks into it. */
export const HEARD_BEFORE_BARGE_IN = 1.0;

export const WEATHER_TOOL = {
  type: "function",
  name: "get_weather",
  description: "The weather in a city.",
  parameters: {
    type: "object",
    properties: { city: { type: "string" } },
    required: ["city"],
  },
};

/** What a client has seen, by kind, in the order it came. */
export class Seen {
  #byKind = new Map();
  #waiting = new Set();
  #end = null;

  add(kind, what = null) {
    if (!this.#byKind.has(kind)) this.#byKind.set(kind, []);
    this.#byKind.get(kind).push(what);
    this.#wake();
  }

  /** Nothing more will come: whoever waits is told why. */
  end(why) {
    this.#end ??= why;
    this.#wake();
  }

  of(kind) {
    return this.#byKind.get(kind) ?? [];
  }

  /** The `count`-th thing of a kind. */
  async wait(kind, count = 1) {
    while (this.of(kind).length < count) {
      if (this.#end !== null) throw this.#end;
      await new Promise((resolve) => this.#waiting.add(resolve));
    }
    return this.of(kind)[count - 1];
  }

  #wake() {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const resolve of waiting) resolve();
  }
}

/** Send a recording (24 kHz PCM16) frame by frame, at real-time pace. */
export async function speak(send, recording) {
  const pcm = await readFile(recording);
  const size = FRAME_SECONDS * BYTES_PER_SECOND;
  const began = performance.now();
  for (let number = 0; number * size < pcm.length; number += 1) {
    await sleep(Math.max(0, began + number * FRAME_SECONDS * 1000 - performance.now()));
    send(pcm.subarray(number * size, (number + 1) * size));
  }
}

/** Run the scenarios side by side; each prints its line when it ends. */
export async function runAll(scenarios) {
  await Promise.all(Object.entries(scenarios).map(([name, scenario]) => run(name, scenario)));
}

async function run(name, scenario) {
  const late = new AbortController();
  let facts;
  try {
    facts = await Promise.race([scenario(), tooLate(late.signal)]);
  } catch (error) {
    facts = { failure: error.stack ?? String(error) };
  }
  late.abort();
  console.log(JSON.stringify({ scenario: name, ...facts }));
}

async function tooLate(signal) {
  try {
    await sleep(SCENARIO_TIMEOUT * 1000, undefined, { signal });
  } catch {
    return;
  }
  throw new Error(`not done after ${SCENARIO_TIMEOUT} s`);
}
