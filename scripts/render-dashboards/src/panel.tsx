// One panel: Grafana's frame around what its type draws.
import { textUtil, renderMarkdown, type GrafanaTheme2, type ScopedVars } from '@grafana/data';
import { Icon, PanelChrome } from '@grafana/ui';
import { Component, type ComponentType, type ReactNode } from 'react';
import type { Panel, PanelReport } from './dashboard';
import { BarGaugePanel } from './panels/bar-gauge';
import { GaugePanel } from './panels/gauge';
import { HeatmapPanel } from './panels/heatmap';
import { StatPanel } from './panels/stat';
import { TablePanel } from './panels/table';
import { TextPanel } from './panels/text';
import { TimeSeriesPanel } from './panels/time-series';
import { TimelinePanel } from './panels/timeline';
import type { PanelData } from './pipeline';

export interface PanelProps {
  panel: Panel;
  data: PanelData;
  options: Record<string, any>;
  width: number;
  height: number;
  theme: GrafanaTheme2;
  timeZone: string;
}

const TYPES: Record<string, ComponentType<PanelProps>> = {
  stat: StatPanel,
  gauge: GaugePanel,
  bargauge: BarGaugePanel,
  table: TablePanel,
  timeseries: TimeSeriesPanel,
  'state-timeline': TimelinePanel,
  'status-history': TimelinePanel,
  heatmap: HeatmapPanel,
  text: TextPanel,
};

/** These show that there is no value by themselves; the others get "No data" in their place. */
const SHOW_NO_DATA = ['stat', 'gauge', 'bargauge', 'text'];

export interface PlacedPanel {
  panel: Panel;
  scope: ScopedVars;
  x: number;
  y: number;
  width: number;
  height: number;
}

interface FrameProps {
  placed: PlacedPanel;
  data: PanelData;
  report: PanelReport;
  theme: GrafanaTheme2;
  timeZone: string;
}

export function PanelFrame({ placed, data, report, theme, timeZone }: FrameProps) {
  const { panel, width, height } = placed;
  const Type = TYPES[panel.type];
  const description = data.interpolate(panel.description ?? '');
  const content = (innerWidth: number, innerHeight: number) => {
    if (data.error || !Type) {
      // Grafana keeps the reason behind the sign in the corner, where no picture shows it.
      return <Message text={report.message ?? ''} color={theme.colors.error.text} />;
    }
    if (report.rows === 0 && !SHOW_NO_DATA.includes(panel.type)) {
      return <Message text={data.fieldConfig.defaults.noValue || 'No data'} />;
    }
    return (
      <ErrorBoundary report={report}>
        <Type {...{ panel, data, theme, timeZone }} options={data.options} width={innerWidth} height={innerHeight} />
      </ErrorBoundary>
    );
  };
  return (
    <PanelChrome
      width={width}
      height={height}
      title={data.interpolate(panel.title ?? '', {}, 'text')}
      description={description && (() => renderMarkdown(description))}
      titleItems={<TitleItems panel={panel} theme={theme} />}
      displayMode={panel.transparent ? 'transparent' : 'default'}
      statusMessage={report.state === 'error' ? report.message : undefined}
      hoverHeader={!panel.title}
    >
      {content}
    </PanelChrome>
  );
}

function TitleItems({ panel, theme }: { panel: Panel; theme: GrafanaTheme2 }) {
  const time = [panel.timeFrom && `Last ${panel.timeFrom}`, panel.timeShift && `shifted by ${panel.timeShift}`];
  return (
    <span style={{ display: 'flex', gap: 8, alignItems: 'center', color: theme.colors.text.secondary, fontSize: 12 }}>
      {(panel.links ?? []).length > 0 && <Icon name="external-link-alt" size="sm" />}
      {time.filter(Boolean).join(', ')}
    </span>
  );
}

function Message({ text, color }: { text: string; color?: string }) {
  return (
    <div
      style={{ display: 'flex', height: '100%', alignItems: 'center', justifyContent: 'center', fontSize: 16, color }}
    >
      {text}
    </div>
  );
}

/** What a type cannot draw is told and reported, and leaves the other panels alone. */
class ErrorBoundary extends Component<{ report: PanelReport; children: ReactNode }, { message?: string }> {
  state: { message?: string } = {};

  static getDerivedStateFromError(error: unknown) {
    return { message: error instanceof Error ? error.message : String(error) };
  }

  componentDidCatch(error: unknown) {
    this.props.report.state = 'error';
    this.props.report.message = String(error instanceof Error ? error.stack : error);
  }

  render() {
    return this.state.message === undefined ? this.props.children : <Message text={this.state.message} />;
  }
}

export function describe(stem: string, { panel }: PlacedPanel, data: PanelData): PanelReport {
  const rows = data.frames.reduce((sum, frame) => sum + frame.length, 0);
  const message = data.error ?? (TYPES[panel.type] ? undefined : `panels of type ${panel.type} are not drawn here`);
  const empty = rows === 0 && panel.type !== 'text';
  return {
    dashboard: stem,
    panel: panel.id,
    title: textUtil.sanitize(data.interpolate(panel.title ?? '', {}, 'text')),
    type: panel.type,
    state: message ? 'error' : empty ? 'no data' : 'data',
    frames: data.frames.length,
    rows,
    message,
  };
}
