// The page that Chromium opens: one dashboard, drawn once everything is known.
import { createTheme, locationUtil, rangeUtil, ThemeContext, type GrafanaTheme2 } from '@grafana/data';
import { initPluginTranslations } from '@grafana/i18n';
import { GlobalStyles, Icon } from '@grafana/ui';
import { createRoot } from 'react-dom/client';
import type { Dashboard, PanelReport, RenderRequest } from './dashboard';
import { chosenText, type Variable } from './interpolate';
import { layOut } from './layout';
import { describe, PanelFrame, type PlacedPanel } from './panel';
import { loadPanel, type PanelData } from './pipeline';
import { resolveRange } from './time';
import { resolveVariables } from './variables';

const PADDING = 16;

declare global {
  interface Window {
    renderRequest: RenderRequest;
    renderResult?: { reports: PanelReport[]; error?: string };
  }
}

interface Shown {
  placed: PlacedPanel;
  data: PanelData;
  report: PanelReport;
}

async function draw(request: RenderRequest): Promise<PanelReport[]> {
  const { dashboard, stem } = request;
  if (!dashboard.panels) {
    throw new Error('only dashboards in the classic schema, with "panels", can be drawn');
  }
  await initPluginTranslations('grafana');
  const theme = createTheme({ colors: { mode: request.theme } });
  const range = resolveRange({
    from: request.from ?? dashboard.time?.from ?? 'now-6h',
    to: request.to ?? dashboard.time?.to ?? 'now',
  });
  const timeZone = dashboard.timezone || 'browser';
  const variables = await resolveVariables(dashboard.templating?.list ?? [], range, request.variables);
  locationUtil.initialize({
    config: { appSubUrl: '' } as any,
    getTimeRangeForUrl: () => range.raw,
    getVariablesUrlParams: () => Object.fromEntries(variables.map(({ name, chosen }) => [`var-${name}`, chosen])),
  });
  const { title } = dashboard;
  const context = {
    variables,
    range,
    theme,
    timeZone,
    title,
    scrapeInterval: request.scrapeInterval,
    panels: dashboard.panels,
  };
  const placed = layOut(dashboard.panels, variables, request.width - 2 * PADDING, request.expandRows);
  // Texts are measured while they are drawn, so their fonts must be there before.
  const shown = await Promise.all(
    placed.map(async (one): Promise<Shown> => {
      const data = await loadPanel(one.panel, one.scope, Math.floor(one.width), context);
      return { placed: one, data, report: describe(stem, one, data) };
    })
  );
  const timeText = rangeUtil.describeTimeRange(range.raw);
  await rendered(
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
    </ThemeContext.Provider>,
    'styles'
  );
  await Promise.all(
    ['400 14px Inter', '500 14px Inter', '400 14px "Roboto Mono"'].map((font) => document.fonts.load(font))
  );
  await rendered(
    <ThemeContext.Provider value={theme}>
      <Page {...{ dashboard, variables, shown, theme, timeZone, timeText }} />
    </ThemeContext.Provider>,
    'dashboard'
  );
  noteScrolling(shown);
  return shown.filter(({ report }) => report.type !== 'row').map(({ report }) => report);
}

/** A picture does not tell what is cut off. */
function noteScrolling(shown: Shown[]) {
  for (const element of document.querySelectorAll<HTMLElement>('[data-index]')) {
    const inside = [...element.querySelectorAll<HTMLElement>('*')].filter((one) =>
      /auto|scroll/.test(getComputedStyle(one).overflow)
    );
    const directions = [
      inside.some((one) => one.scrollWidth > one.clientWidth + 1) && 'sideways',
      inside.some((one) => one.scrollHeight > one.clientHeight + 1) && 'down',
    ];
    shown[Number(element.dataset.index)].report.scrolls = directions.filter(Boolean).join(' and ') || undefined;
  }
}

/** What React and uPlot put off until the next frame is then there too. */
function rendered(content: React.ReactNode, id: string): Promise<void> {
  createRoot(document.getElementById(id)!).render(content);
  return new Promise((resolve) => setTimeout(() => requestAnimationFrame(() => resolve()), 300));
}

interface PageProps {
  dashboard: Dashboard;
  variables: Variable[];
  shown: Shown[];
  theme: GrafanaTheme2;
  timeZone: string;
  timeText: string;
}

function Page({ dashboard, variables, shown, theme, timeZone, timeText }: PageProps) {
  const height = Math.max(0, ...shown.map(({ placed }) => placed.y + placed.height));
  return (
    <div style={{ padding: PADDING, background: theme.colors.background.canvas }}>
      <Header {...{ dashboard, variables, theme, timeText }} />
      <div style={{ position: 'relative', height }}>
        {shown.map(({ placed, data, report }, index) => (
          <div
            key={index}
            data-index={index}
            data-panel={placed.panel.type === 'row' ? undefined : placed.panel.id}
            style={{ position: 'absolute', left: placed.x, top: placed.y, width: placed.width, height: placed.height }}
          >
            {placed.panel.type === 'row' ? (
              <Row placed={placed} data={data} theme={theme} />
            ) : (
              <PanelFrame {...{ placed, data, report, theme, timeZone }} />
            )}
          </div>
        ))}
      </div>
    </div>
  );
}

function Header({ dashboard, variables, theme, timeText }: Omit<PageProps, 'shown' | 'timeZone'>) {
  const box = {
    display: 'inline-flex',
    alignItems: 'center',
    gap: 6,
    height: 32,
    padding: '0 8px',
    border: `1px solid ${theme.colors.border.medium}`,
    borderRadius: theme.shape.radius.default,
    background: theme.colors.background.primary,
  };
  return (
    <div style={{ display: 'flex', flexWrap: 'wrap', gap: 8, alignItems: 'center', marginBottom: PADDING }}>
      <h1 style={{ ...theme.typography.h4, margin: 0, flexBasis: '100%' }}>{dashboard.title}</h1>
      {variables
        .filter(({ hide }) => hide !== 2)
        .map((variable) => (
          <span key={variable.name} style={box}>
            {variable.hide !== 1 && <span style={{ color: theme.colors.text.secondary }}>{variable.label}</span>}
            {chosenText(variable) || 'None'} <Icon name="angle-down" />
          </span>
        ))}
      <span style={{ flexGrow: 1 }} />
      {(dashboard.links ?? []).map((link, index) => (
        <span key={index} style={box}>
          <Icon name={link.type === 'dashboards' ? 'apps' : 'external-link-alt'} />{' '}
          {link.title || link.tags?.join(', ')}
        </span>
      ))}
      <span style={box}>
        <Icon name="clock-nine" /> {timeText}
      </span>
    </div>
  );
}

function Row({ placed, data, theme }: { placed: PlacedPanel; data: PanelData; theme: GrafanaTheme2 }) {
  const { collapsed, panels = [], title = '' } = placed.panel;
  return (
    <div style={{ ...theme.typography.h5, display: 'flex', gap: 8, alignItems: 'center', height: '100%', margin: 0 }}>
      <Icon name={collapsed ? 'angle-right' : 'angle-down'} />
      {data.interpolate(title, {}, 'text')}
      {collapsed && <span style={{ color: theme.colors.text.secondary }}>({panels.length} panels)</span>}
    </div>
  );
}

draw(window.renderRequest).then(
  (reports) => (window.renderResult = { reports }),
  (error) => (window.renderResult = { reports: [], error: String(error?.stack ?? error) })
);
