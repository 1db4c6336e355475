// The program: reads the command line, drives Chromium from dashboard to dashboard, writes the pictures and the report.
import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { chromium, type BrowserContext } from 'playwright-core';
import type { PanelReport, RenderRequest } from './dashboard';
import { serve } from './server';

const USAGE = `usage: render-dashboards.sh PROMETHEUS_URL OUT_DIR [options]
  --dashboards 'dashboards/*.json'   which ones; may be given again
  --from now-30m  --to now           the time range; without it, the dashboard's own
  --width 1600                       of the page, in pixels
  --var name=value                   a variable's value, a,b for several, All for all; may be given again
  --theme dark|light
  --scale 1                          device pixels for each pixel
  --scrape-interval 15s              as the data source in Grafana is told
  --expand-rows                      shows what is in collapsed rows
  --panels                           one picture more for each panel, in OUT_DIR/<dashboard>/`;

const MODULES = fileURLToPath(new URL('..', import.meta.url));
const SETTLE_TIMEOUT_MS = 60_000;

const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--no-proxy-server',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      dashboards: { type: 'string', multiple: true },
      from: { type: 'string' },
      to: { type: 'string' },
      width: { type: 'string', default: '1600' },
      scale: { type: 'string', default: '1' },
      var: { type: 'string', multiple: true, default: [] },
      theme: { type: 'string', default: 'dark' },
      'scrape-interval': { type: 'string', default: '15s' },
      'expand-rows': { type: 'boolean', default: false },
      panels: { type: 'boolean', default: false },
    },
  });
  const [prometheus, out] = positionals;
  if (positionals.length !== 2) {
    throw new Error(USAGE);
  }
  const files = (await Promise.all((values.dashboards ?? ['dashboards/*.json']).map(filesOf))).flat();
  if (files.length === 0) {
    throw new Error(`there is no dashboard like ${values.dashboards}`);
  }
  await mkdir(out, { recursive: true });
  const profile = await mkdtemp(join(tmpdir(), 'render-dashboards-'));
  const { server, url } = await serve(prometheus, MODULES);
  const width = Number(values.width);
  const browser = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    headless: true,
    args: FLAGS,
    viewport: { width, height: 900 },
    deviceScaleFactor: Number(values.scale),
  });
  let failed = false;
  try {
    for (const file of files) {
      const request: RenderRequest = {
        stem: basename(file, '.json'),
        dashboard: JSON.parse(await readFile(file, 'utf8')),
        width,
        theme: values.theme === 'light' ? 'light' : 'dark',
        from: values.from,
        to: values.to,
        scrapeInterval: values['scrape-interval'],
        expandRows: values['expand-rows'],
        variables: Object.fromEntries(values.var.map((one) => one.split(/=(.*)/s).slice(0, 2))),
      };
      const reports = await photograph(browser, url, request, out, values.panels);
      for (const report of reports) {
        console.log(JSON.stringify(report));
        failed ||= report.state === 'error';
      }
    }
  } finally {
    await browser.close();
    server.close();
    await rm(profile, { recursive: true, force: true });
  }
  return failed ? 1 : 0;
}

/** A path, or one with stars in its last part. */
async function filesOf(pattern: string): Promise<string[]> {
  const name = basename(pattern);
  if (!name.includes('*')) {
    return [pattern];
  }
  const parts = name.split('*').map((part) => part.replace(/[\\^$+?.()|[\]{}]/g, '\\$&'));
  const wanted = new RegExp(`^${parts.join('.*')}$`);
  const names = await readdir(dirname(pattern)).catch(() => []);
  return names
    .filter((one) => wanted.test(one))
    .sort()
    .map((one) => join(dirname(pattern), one));
}

async function photograph(browser: BrowserContext, url: string, request: RenderRequest, out: string, panels: boolean) {
  const page = await browser.newPage();
  const say = (text: string) => console.error(`${request.stem}: ${text}`);
  page.on('pageerror', (error) => say(error.stack ?? error.message));
  page.on('console', (message) => ['error', 'warning'].includes(message.type()) && say(message.text()));
  await page.addInitScript((given) => {
    (window as any).renderRequest = given;
  }, request);
  await page.goto(url);
  await page.waitForFunction(() => (window as any).renderResult, undefined, { timeout: SETTLE_TIMEOUT_MS });
  await page.waitForLoadState('networkidle');
  const { reports, error }: { reports: PanelReport[]; error?: string } = await page.evaluate(
    () => (window as any).renderResult
  );
  if (error) {
    throw new Error(`${request.stem}: ${error}`);
  }
  // Grafana's styles give the window the scroll bars, so a full picture needs a window that is large enough.
  const height = await page.evaluate(() => document.getElementById('dashboard')!.scrollHeight);
  await page.setViewportSize({ width: request.width, height: Math.max(height, 100) });
  await page.waitForTimeout(500);
  await page.screenshot({ path: join(out, `${request.stem}.png`) });
  if (panels) {
    await mkdir(join(out, request.stem), { recursive: true });
    const places = await page.locator('[data-panel]').all();
    for (const [index, place] of places.entries()) {
      const { panel, title } = reports[index];
      const slug = title.toLowerCase().replace(/[^a-z0-9]+/g, '-');
      await place.screenshot({ path: join(out, request.stem, `${panel}-${slug}.png`) });
    }
  }
  await page.close();
  return reports;
}

main().then(
  (code) => (process.exitCode = code),
  (error) => {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 2;
  }
);
