// Asks Prometheus and makes data frames of its answers: first as Grafana's server would, then with the data source's own code.
import { createDataFrame, DataFrameType, FieldType } from '@grafana/data';
import type { DataFrame, InterpolateFunction, ScopedVars, TimeRange } from '@grafana/data';
import { interpolateQueryExpr } from '../node_modules/@grafana/prometheus/dist/esm/escaping.mjs';
import { transformV2 } from '../node_modules/@grafana/prometheus/dist/esm/result_transformer.mjs';
import type { Target } from './dashboard';
import type { Step } from './time';

type Labels = Record<string, string>;
type Sample = [number, string];

async function ask(path: string, parameters: Record<string, string>): Promise<any> {
  const query = new URLSearchParams(parameters);
  const response = await fetch(`/prometheus/api/v1/${path}?${query}`);
  const text = await response.text();
  let answer;
  try {
    answer = JSON.parse(text);
  } catch {
    throw new Error(`${response.status}: ${text.slice(0, 200)}`);
  }
  if (answer.status !== 'success') {
    throw new Error(`${answer.errorType}: ${answer.error}`);
  }
  return answer.data;
}

export async function queryTargets(
  targets: Target[],
  range: TimeRange,
  stepOf: (target: Target) => Step,
  interpolateFor: (step: Step) => InterpolateFunction,
  scope: ScopedVars
): Promise<DataFrame[]> {
  const asked = targets.filter((target) => !target.hide && target.expr);
  const answers = await Promise.all(
    asked.map(async (target) => {
      const step = stepOf(target);
      const expr = interpolateFor(step)(target.expr!, scope, interpolateQueryExpr);
      const legend = interpolateFor(step)(target.legendFormat ?? '', scope);
      const frames: DataFrame[] = [];
      // Without a choice it is a range query; both may be chosen.
      if (target.range || !target.instant) {
        frames.push(...(await rangeQuery(target, expr, legend, range, step.stepMs)));
      }
      if (target.instant) {
        const data = await ask('query', { query: expr, time: String(range.to.valueOf() / 1000) });
        frames.push(...toFrames(target, expr, legend, data, step.stepMs));
      }
      return frames;
    })
  );
  return transformV2({ data: answers.flat() }, { targets: asked }, {}).data;
}

async function rangeQuery(target: Target, expr: string, legend: string, range: TimeRange, stepMs: number) {
  // Grafana aligns both ends to the step, so that points do not wander from one refresh to the next.
  const align = (ms: number) => String((Math.floor(ms / stepMs) * stepMs) / 1000);
  const data = await ask('query_range', {
    query: expr,
    start: align(range.from.valueOf()),
    end: align(range.to.valueOf()),
    step: String(stepMs / 1000),
  });
  return toFrames(target, expr, legend, data, stepMs);
}

function toFrames(target: Target, expr: string, legend: string, data: any, stepMs: number): DataFrame[] {
  const series: Array<{ metric: Labels; values: Sample[] }> =
    data.resultType === 'matrix'
      ? data.result
      : data.resultType === 'vector'
        ? data.result.map((one: any) => ({ metric: one.metric, values: [one.value] }))
        : [{ metric: {}, values: [data.result] }];
  // Grafana's server answers with an empty frame, which keeps its place among those of other queries.
  if (series.length === 0) {
    const type = data.resultType === 'matrix' ? DataFrameType.TimeSeriesMulti : DataFrameType.NumericMulti;
    const meta = { type, custom: { resultType: data.resultType } };
    return [{ refId: target.refId, meta, fields: [], length: 0 } as DataFrame];
  }
  return series.map(({ metric, values }) => {
    const name = nameOf(metric, legend, expr);
    return createDataFrame({
      refId: target.refId,
      meta: {
        type: data.resultType === 'matrix' ? DataFrameType.TimeSeriesMulti : DataFrameType.NumericMulti,
        custom: { resultType: data.resultType },
        executedQueryString: `Expr: ${expr}\nStep: ${stepMs}ms`,
      },
      fields: [
        {
          name: 'Time',
          type: FieldType.time,
          config: { interval: stepMs },
          values: values.map(([seconds]) => Math.round(seconds * 1000)),
        },
        {
          name: metric.__name__ ?? 'Value',
          type: FieldType.number,
          labels: metric,
          config: name ? { displayNameFromDS: name } : {},
          values: values.map(([, value]) => parseValue(value)),
        },
      ],
    });
  });
}

function parseValue(value: string): number {
  return /Inf$/.test(value) ? (value.startsWith('-') ? -Infinity : Infinity) : Number(value);
}

function nameOf(metric: Labels, legend: string, expr: string): string {
  const { __name__ = '', ...labels } = metric;
  const pairs = Object.entries(labels).map(([key, value]) => `${key}="${value}"`);
  let name = pairs.length || !__name__ ? `${__name__}{${pairs.join(', ')}}` : __name__;
  if (legend === '__auto') {
    name = Object.keys(metric).length ? '' : name;
  } else if (legend) {
    name = legend.replace(/\{\{\s*(.+?)\s*\}\}/g, (_, label) => metric[label] ?? '');
  }
  return name === '{}' ? expr : name;
}

/** The queries that variables are made of: label_values(…), label_names(…), metrics(…) and query_result(…). */
export async function queryVariable(query: string, range: TimeRange): Promise<string[]> {
  const window = { start: String(range.from.unix()), end: String(range.to.unix()) };
  const labelValues = query.match(/^label_values\((?:(.+),\s*)?([a-zA-Z_]\w*)\)\s*$/s);
  if (labelValues) {
    const [, selector, label] = labelValues;
    return ask(`label/${label}/values`, selector ? { ...window, 'match[]': selector } : window);
  }
  const labelNames = query.match(/^label_names\((.*)\)\s*$/s);
  if (labelNames) {
    return ask('labels', labelNames[1] ? { ...window, 'match[]': labelNames[1] } : window);
  }
  const metrics = query.match(/^metrics\((.*)\)\s*$/s);
  if (metrics) {
    const names: string[] = await ask('label/__name__/values', window);
    return names.filter((name) => new RegExp(metrics[1]).test(name));
  }
  const result = query.match(/^query_result\((.*)\)\s*$/s);
  if (result) {
    const data = await ask('query', { query: result[1], time: String(range.to.valueOf() / 1000) });
    if (data.resultType !== 'vector') {
      return [String(data.result[1])];
    }
    return data.result.map(({ metric: { __name__ = '', ...labels }, value }: any) => {
      const pairs = Object.entries(labels).map(([key, text]) => `${key}="${text}"`);
      return `${__name__}{${pairs.join(',')}} ${value[1]} ${value[0] * 1000}`;
    });
  }
  throw new Error(`a variable's query that is not understood: ${query}`);
}
