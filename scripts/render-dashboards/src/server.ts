// Serves the page, its fonts and icons on loopback, and hands on what it asks of Prometheus.
import { readFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join, normalize } from 'node:path';

const PAGE = `<!doctype html><html lang="en"><head><meta charset="utf-8"><link rel="icon" href="data:,">
<link rel="stylesheet" href="/build/page.css"></head>
<body><div id="styles"></div><div id="dashboard"></div><script type="module" src="/build/page.js"></script></body></html>`;

const TYPES: Record<string, string> = {
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.svg': 'image/svg+xml',
  '.woff2': 'font/woff2',
};

/** Where Grafana's server has them, and where the packages have them. */
const PLACES: Array<[prefix: string, folder: string]> = [
  ['/build/', '.build'],
  ['/public/build/img/', '@grafana/ui/dist/public/img'],
  ['/public/fonts/inter/', 'inter-ui/web'],
];
const ROBOTO_MONO = '@fontsource/roboto-mono/files/roboto-mono-latin-400-normal.woff2';

export async function serve(prometheus: string, modules: string): Promise<{ server: Server; url: string }> {
  const server = createServer((request, response) => {
    answer(request, response, prometheus, modules).catch((error) => {
      response.writeHead(502, { 'content-type': 'text/plain' });
      response.end(String(error.cause ?? error));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/` };
}

async function answer(request: IncomingMessage, response: ServerResponse, prometheus: string, modules: string) {
  const { pathname, search } = new URL(request.url ?? '/', 'http://loopback');
  if (pathname === '/') {
    response.writeHead(200, { 'content-type': 'text/html' });
    response.end(PAGE);
    return;
  }
  if (pathname.startsWith('/prometheus/')) {
    const upstream = await fetch(prometheus.replace(/\/$/, '') + pathname.slice('/prometheus'.length) + search);
    response.writeHead(upstream.status, { 'content-type': upstream.headers.get('content-type') ?? 'text/plain' });
    response.end(Buffer.from(await upstream.arrayBuffer()));
    return;
  }
  const place = PLACES.find(([prefix]) => pathname.startsWith(prefix));
  const file = pathname.startsWith('/public/fonts/roboto/')
    ? ROBOTO_MONO
    : place && join(place[1], normalize('/' + decodeURIComponent(pathname.slice(place[0].length))));
  const content = file && (await readFile(join(modules, file)).catch(() => undefined));
  response.writeHead(content ? 200 : 404, { 'content-type': TYPES[extname(file || '')] ?? 'text/plain' });
  response.end(content || 'not found');
}
