/** Makes `dist`: the bench as one script for Node.js, and noVNC's page. */

import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { build } from 'esbuild';

const absWorkingDir = dirname(fileURLToPath(import.meta.url));
rmSync(join(absWorkingDir, 'dist'), { recursive: true, force: true });
const shared = { absWorkingDir, bundle: true, format: 'esm', logLevel: 'warning' };
// What Node.js loads by itself; the tests' modules are bundled, with their own place in the tree told to them.
await build({
  ...shared, entryPoints: ['src/bench.ts'], outfile: 'dist/bench.js', platform: 'node', external: ['playwright-core', 'ws'],
  define: { 'import.meta.url': JSON.stringify(new URL('../../../console-proxy/viewer/tests/browser/guest.ts', import.meta.url).href) },
});
await build({ ...shared, entryPoints: ['src/novnc/page.ts'], outfile: 'dist/novnc/page.js', minify: true, target: ['chrome116'] });
mkdirSync(join(absWorkingDir, 'dist/novnc'), { recursive: true });
const style = 'html,body,#screen{margin:0;height:100%;background:#000}';
const page = `<!doctype html><meta charset="utf-8"><title>noVNC</title><style>${style}</style><div id="screen"></div><script type="module" src="page.js"></script>`;
writeFileSync(join(absWorkingDir, 'dist/novnc/index.html'), page);
