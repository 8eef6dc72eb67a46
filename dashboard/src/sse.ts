// Server-sent events, cut out of a stream of text: whole frames only, whatever the chunks are.

export interface Frame {
  readonly event: string;
  readonly id: string;
  readonly data: string;
}

/** No frame of ours comes near this; beyond it the stream is not what we asked for. */
export const frameCharsMax = 8 * 1024 * 1024;

export class FrameError extends Error {
  override name = "FrameError";
}

export class FrameReader {
  private rest = "";

  push(chunk: string): Frame[] {
    const text = this.rest + chunk;
    // A CR at the very end may be half of CRLF: it waits.
    const held = text.endsWith("\r") ? 1 : 0;
    const blocks = text
      .slice(0, text.length - held)
      .replace(/\r\n?/g, "\n")
      .split("\n\n");
    this.rest = (blocks.pop() ?? "") + (held > 0 ? "\r" : "");
    if (this.rest.length > frameCharsMax) throw new FrameError("a frame without an end");
    return blocks.map(parseFrame).filter((frame) => frame.data !== "");
  }
}

function parseFrame(block: string): Frame {
  let event = "message";
  let id = "";
  const data: string[] = [];
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    if (colon === 0) continue;
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "event") event = value;
    else if (name === "id") id = value;
    else if (name === "data") data.push(value);
  }
  return { event, id, data: data.join("\n") };
}
