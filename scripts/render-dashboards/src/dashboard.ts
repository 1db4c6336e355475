// The parts of the classic dashboard JSON that are read here.
import type { DataTransformerConfig, FieldConfigSource } from '@grafana/data';

export interface Target {
  refId: string;
  expr?: string;
  hide?: boolean;
  instant?: boolean;
  range?: boolean;
  format?: string;
  interval?: string;
  intervalFactor?: number;
  legendFormat?: string;
  datasource?: DatasourceRef;
  /** Of another panel, whose queries are to be used. */
  panelId?: number;
}

export type DatasourceRef = string | { type?: string; uid?: string } | null;

export interface DashboardLink {
  title: string;
  type: 'link' | 'dashboards';
  url?: string;
  tags?: string[];
  icon?: string;
}

export interface Panel {
  id: number;
  type: string;
  title?: string;
  description?: string;
  transparent?: boolean;
  gridPos: { x: number; y: number; w: number; h: number };
  datasource?: DatasourceRef;
  targets?: Target[];
  transformations?: DataTransformerConfig[];
  fieldConfig?: FieldConfigSource;
  options?: Record<string, any>;
  interval?: string;
  maxDataPoints?: number;
  timeFrom?: string;
  timeShift?: string;
  links?: Array<{ title: string; url: string }>;
  repeat?: string;
  repeatDirection?: 'h' | 'v';
  maxPerRow?: number;
  collapsed?: boolean;
  panels?: Panel[];
}

export interface VariableModel {
  name: string;
  type: string;
  label?: string;
  /** 0 shows label and value, 1 the value alone, 2 nothing. */
  hide?: number;
  query?: any;
  definition?: string;
  regex?: string;
  sort?: number;
  multi?: boolean;
  includeAll?: boolean;
  allValue?: string | null;
  current?: { text?: string | string[]; value?: string | string[] };
  options?: Array<{ text: string; value: string }>;
}

export interface Dashboard {
  title: string;
  uid?: string;
  description?: string;
  timezone?: string;
  time?: { from: string; to: string };
  panels?: Panel[];
  links?: DashboardLink[];
  templating?: { list: VariableModel[] };
}

/** What the command line asks for. */
export interface RenderRequest {
  stem: string;
  dashboard: Dashboard;
  width: number;
  theme: 'dark' | 'light';
  from?: string;
  to?: string;
  scrapeInterval: string;
  expandRows: boolean;
  variables: Record<string, string>;
}

export interface PanelReport {
  dashboard: string;
  panel: number;
  title: string;
  type: string;
  state: 'data' | 'no data' | 'error';
  frames: number;
  rows: number;
  /** Where more is in it than it shows, so that a reader would have to scroll. */
  scrolls?: string;
  message?: string;
}
