/**
 * Makes `dist`: one HTML document and assets whose names have a hash of what is in them, so that the same sources make the same
 * files to the byte. Nothing is inline, as the page's Content-Security-Policy wants it.
 */

import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { build } from 'esbuild';

const here = dirname(fileURLToPath(import.meta.url));
const out = join(here, 'dist');

const built = await build({
  absWorkingDir: here,
  entryPoints: { main: 'src/main.ts', style: 'src/style.css' },
  outdir: 'dist/assets',
  entryNames: '[name]-[hash]',
  chunkNames: '[name]-[hash]',
  bundle: true,
  splitting: true,
  format: 'esm',
  target: ['chrome116', 'firefox124', 'safari17.4'],
  minify: true,
  legalComments: 'eof',
  charset: 'utf8',
  metafile: true,
  write: false,
  logLevel: 'warning',
});

rmSync(out, { recursive: true, force: true });
mkdirSync(join(out, 'assets'), { recursive: true });
for (const { path, contents } of built.outputFiles) writeFileSync(join(out, 'assets', basename(path)), contents);

/** The name of what an entry became. */
function nameOf(entry, extension) {
  const found = Object.entries(built.metafile.outputs).find(
    ([path, output]) => output.entryPoint === entry && extname(path) === extension,
  );
  if (!found) throw new Error(`${entry} became nothing`);
  return basename(found[0]);
}

const icon = readFileSync(join(here, 'src/icon.svg'));
const iconName = `icon-${createHash('sha256').update(icon).digest('hex').slice(0, 8)}.svg`;
writeFileSync(join(out, 'assets', iconName), icon);

const names = {
  '/assets/main.js': nameOf('src/main.ts', '.js'),
  '/assets/main.css': nameOf('src/style.css', '.css'),
  '/assets/icon.svg': iconName,
};
const page = readFileSync(join(here, 'src/index.html'), 'utf8');
writeFileSync(
  join(out, 'index.html'),
  page.replace(/\/assets\/[a-z.]+/g, (name) => `/assets/${names[name] ?? name}`),
);
