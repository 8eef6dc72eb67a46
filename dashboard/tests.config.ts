// Bundles the unit tests into one script for Node's own test runner, which does not read TSX.
import { globSync } from "node:fs";
import { defineConfig } from "vite";

const folder = new URL("../tests/unit/", import.meta.url).pathname;
const tests = globSync("dashboard_*_test.ts*", { cwd: folder });

export default defineConfig({
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
