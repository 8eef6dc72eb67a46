// Bundles the unit tests into one script for Node's own test runner, which does not read TSX.
import { readdirSync } from "node:fs";
import { defineConfig } from "vite";

const folder = new URL("../tests/unit/", import.meta.url).pathname;
const tests = readdirSync(folder).filter((name) => /^dashboard_.*_test\.tsx?$/.test(name));

export default defineConfig({
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  ssr: { noExternal: true },
  build: {
    ssr: true,
    outDir: "tests",
    minify: false,
    rolldownOptions: {
      input: Object.fromEntries(tests.map((name) => [name.replace(/\.tsx?$/, ""), folder + name])),
      output: { entryFileNames: "[name].mjs" },
    },
  },
});
