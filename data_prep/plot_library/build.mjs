// Bundle the used parts of Observable Plot into the page's template, with the licences of all
// packages that they come from.
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const folder = "../../robustbench_aa/report/template";
const { metafile } = await build({
  entryPoints: ["entry.js"],
  outfile: `${folder}/observable_plot.js`,
  bundle: true,
  minify: true,
  format: "iife",
  globalName: "Plot",
  legalComments: "none",
  charset: "utf8",
  metafile: true,
});
const used = Object.values(metafile.outputs)[0].inputs;
const packages = new Set(
  Object.keys(used)
    .filter((path) => used[path].bytesInOutput > 0)
    .map((path) => path.match(/node_modules\/((?:@[^/]+\/)?[^/]+)/)?.[1])
    .filter(Boolean),
);
const texts = [...packages].sort().map((name) => {
  const place = `node_modules/${name}`;
  const { version, license } = JSON.parse(readFileSync(`${place}/package.json`));
  const file = readdirSync(place).find((each) => /^licen[cs]e/i.test(each));
  const text = file ? readFileSync(`${place}/${file}`, "utf8").trim() : `Licence: ${license}`;
  return `${name} ${version}\n\n${text}\n`;
});
writeFileSync(`${folder}/observable_plot.LICENSE.txt`, texts.join(`\n${"-".repeat(72)}\n\n`));
