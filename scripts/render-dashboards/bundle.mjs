// Bundles the page that Chromium opens and the program that drives it into node_modules/.build/.
import { build } from 'esbuild';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));

const common = {
  absWorkingDir: here,
  bundle: true,
  format: 'esm',
  logLevel: 'warning',
  define: { 'process.env.NODE_ENV': '"production"' },
};

await Promise.all([
  build({
    ...common,
    entryPoints: { page: 'src/page.tsx' },
    outdir: 'node_modules/.build',
    // The code editor and the maps are loaded on demand; in chunks of their own they stay out of the way.
    splitting: true,
    platform: 'browser',
    jsx: 'automatic',
    alias: { '@grafana/runtime': './src/grafana-runtime.ts' },
    loader: { '.ttf': 'empty', '.svg': 'dataurl' },
  }),
  build({
    ...common,
    entryPoints: { render: 'src/render.ts' },
    outdir: 'node_modules/.build',
    outExtension: { '.js': '.mjs' },
    platform: 'node',
    target: 'node18',
    packages: 'external',
  }),
]);
