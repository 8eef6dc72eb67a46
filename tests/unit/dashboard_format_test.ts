import assert from "node:assert/strict";
import { test } from "node:test";
import * as format from "../../dashboard/src/format";

const cases: readonly (readonly [string, string, string])[] = [
  ["zero", format.count(0), "0"],
  ["thousands are grouped", format.count(12_345), "12,345"],
  ["just below a million", format.count(999_999), "999,999"],
  ["millions", format.count(1_234_567), "1.23 M"],
  ["milliards", format.count(4_560_000_000), "4.56 G"],
  ["no number", format.count(Number.NaN), "–"],
  ["small rates keep a digit", format.rate(0.75), "0.8"],
  ["rates", format.rate(143.25), "143"],
  ["no rate", format.rate(0), "0"],
  ["a share", format.share(0.625), "62.5 %"],
  ["nothing of it", format.share(0), "0 %"],
  ["all of it", format.share(1), "100 %"],
  ["nearly all is not all", format.share(0.9999), "99.9 %"],
  ["a little is not nothing", format.share(0.0002), "< 0.1 %"],
  ["a short time is not none", format.latency(0.001), "< 0.01 ms"],
  ["bytes", format.bytes(512), "512 B"],
  ["small units keep a digit", format.bytes(9.2 * 1024 ** 2), "9.2 MiB"],
  ["large ones do not", format.bytes(211 * 1024 ** 2), "211 MiB"],
  ["the border of a unit", format.bytes(1023.6 * 1024), "1.0 MiB"],
  ["no bytes known", format.bytes(-1), "–"],
  ["short latency", format.latency(0.5), "0.50 ms"],
  ["latency", format.latency(61.25), "61.3 ms"],
  ["long latency", format.latency(1480), "1,480 ms"],
  ["very long latency", format.latency(12_345), "12.3 s"],
  ["nothing measured", format.latency(0), "–"],
  ["seconds", format.duration(4_200), "4 s"],
  ["minutes", format.duration(200_000), "3 min 20 s"],
  ["hours", format.duration(18_120_000), "5 h 2 min"],
  ["days", format.duration(273_600_000), "3 d 4 h"],
  ["no time", format.duration(Number.NaN), "–"],
  ["a digest is short", format.digest("a1b2c3d4e5f60718293a"), "a1b2c3d4e5f6"],
  ["no digest", format.digest(""), "–"],
  ["one", format.plural(1, "node"), "1 node"],
  ["many", format.plural(0, "process", "processes"), "0 processes"],
];

for (const [name, got, wanted] of cases) {
  test(`format: ${name}`, () => assert.equal(got, wanted));
}

test("format: the clock has two digits a part", () => {
  assert.equal(format.clock(new Date(2026, 0, 2, 3, 4, 5).getTime()), "03:04:05");
});
