// Fills $name, ${name}, ${name:format} and [[name]], the variables of a dashboard and those that Grafana brings.
import { dateTime, formattedValueToString, getFieldDisplayName, urlUtil } from '@grafana/data';
import type { InterpolateFunction, ScopedVars, TimeRange } from '@grafana/data';
import { get } from 'lodash';
import type { Step } from './time';
import { formatMs } from './time';

const ALL = '$__all';

export interface Variable {
  name: string;
  label: string;
  hide: number;
  multi: boolean;
  includeAll: boolean;
  allValue?: string;
  /** Everything there is to choose, without "All". */
  options: Array<{ text: string; value: string }>;
  /** What is chosen; ["$__all"] where that is everything. */
  chosen: string[];
}

export const isAll = (variable: Variable) => variable.chosen[0] === ALL;

export const chosenValues = (variable: Variable) =>
  isAll(variable) ? variable.options.map((option) => option.value) : variable.chosen;

export function chosenText(variable: Variable): string {
  if (isAll(variable)) {
    return 'All';
  }
  const text = (value: string) => variable.options.find((option) => option.value === value)?.text ?? value;
  return variable.chosen.map(text).join(' + ');
}

type Format = string | ((value: any, variable: any, fallback?: any) => string) | undefined;

const VARIABLE = /\$\{(\w+)((?:\.[^:}]+)?)(?::([^}]+))?\}|\[\[(\w+)(?::(\w+))?\]\]|\$(\w+)/g;

export function createInterpolate(
  variables: Variable[],
  range: TimeRange,
  step?: Step,
  title = ''
): InterpolateFunction {
  return (text, scopedVars = {}, wanted) =>
    (text ?? '').replace(VARIABLE, (match, braced, path, bracedFormat, bracketed, bracketedFormat, plain) => {
      const name = braced ?? bracketed ?? plain;
      const format: Format = bracedFormat ?? bracketedFormat ?? wanted;
      const context = scopedVars.__dataContext?.value;
      const known =
        (context && fromData(name, path, context)) ??
        fromRange(name, bracedFormat, range, step, title) ??
        fromDashboardUrl(name, variables, range);
      if (known !== undefined) {
        return typeof format === 'string' &&
          /encode$/.test(format) &&
          !name.startsWith('__url') &&
          name !== '__all_variables'
          ? formatValue([known], format)
          : known;
      }
      const scoped = scopedVars[name];
      if (scoped && typeof scoped.value !== 'object') {
        return formatValue([String(scoped.value)], format, {
          name,
          text: String(scoped.text ?? scoped.value),
          multi: true,
        });
      }
      const variable = variables.find((candidate) => candidate.name === name);
      if (!variable) {
        return match;
      }
      if (isAll(variable) && variable.allValue && format !== 'text') {
        return variable.allValue;
      }
      return formatValue(chosenValues(variable), format, { ...variable, text: chosenText(variable) });
    });
}

function formatValue(values: string[], format: Format, variable: any = {}): string {
  if (typeof format === 'function') {
    const single = !variable.multi && !variable.includeAll;
    return format(single || values.length === 1 ? values[0] : values, variable);
  }
  const [name, argument] = (format ?? 'glob').split(':');
  switch (name) {
    case 'regex': {
      const escaped = values.map((value) => value.replace(/[\\^$*+?.()|[\]{}/]/g, '\\$&'));
      return escaped.length === 1 ? escaped[0] : `(${escaped.join('|')})`;
    }
    case 'text':
      return variable.text ?? values.join(' + ');
    case 'pipe':
      return values.join('|');
    case 'csv':
    case 'raw':
      return values.join(',');
    case 'join':
      return values.join(argument ?? ',');
    case 'json':
      return JSON.stringify(values.length === 1 ? values[0] : values);
    case 'singlequote':
      return values.map((value) => `'${value}'`).join(',');
    case 'doublequote':
      return values.map((value) => `"${value}"`).join(',');
    case 'queryparam':
      return values.map((value) => `var-${variable.name}=${encodeURIComponent(value)}`).join('&');
    case 'percentencode':
    case 'uriencode':
      return encodeURIComponent(values.length === 1 ? values[0] : `{${values.join(',')}}`);
    default:
      return values.length === 1 ? values[0] : `{${values.join(',')}}`;
  }
}

/** Links and display names may ask for the row and the field that they belong to. */
function fromData(name: string, path: string, context: any): string | undefined {
  const { data, frame, field, rowIndex, calculatedValue } = context;
  const row = rowIndex ?? 0;
  const show = (of: any, at: number) => formattedValueToString(of.display(of.values[at]));
  const member = path.slice(1);
  if (name === '__field') {
    const known: Record<string, unknown> = {
      name: getFieldDisplayName(field, frame, data),
      displayName: getFieldDisplayName(field, frame, data),
      labels: field.labels && Object.entries(field.labels).map(([key, value]) => `${key}="${value}"`),
    };
    return String(known[member] ?? get(field, member) ?? '');
  }
  if (name === '__series') {
    return frame.name ?? getFieldDisplayName(field, frame, data);
  }
  if (name === '__value') {
    const raw = calculatedValue ? calculatedValue.numeric : field.values[row];
    if (member === 'time') {
      return String(frame.fields.find((other: any) => other.type === 'time')?.values[row] ?? '');
    }
    if (member === 'text' || member === '') {
      return calculatedValue ? formattedValueToString(calculatedValue) : show(field, row);
    }
    return String(raw ?? '');
  }
  if (name === '__data') {
    const fields: Record<string, unknown> = {};
    frame.fields.forEach((other: any, index: number) => {
      const cell = { text: other.display ? show(other, row) : String(other.values[row]), numeric: other.values[row] };
      const known = { ...cell, toString: () => String(other.values[row] ?? '') };
      fields[index] = known;
      fields[other.name] = known;
      fields[getFieldDisplayName(other, frame, data)] = known;
    });
    return String(get({ fields, refId: frame.refId }, member) ?? '');
  }
  return undefined;
}

function fromRange(name: string, format: string | undefined, range: TimeRange, step: Step | undefined, title: string) {
  const spanMs = range.to.valueOf() - range.from.valueOf();
  const seconds = Math.max(1, Math.round(spanMs / 1000));
  switch (name) {
    case '__from':
    case '__to': {
      const at = name === '__from' ? range.from : range.to;
      const [kind, how] = (format ?? '').split(/:(.*)/);
      if (kind !== 'date') {
        return String(at.valueOf());
      }
      return how === 'seconds' ? String(at.unix()) : how && how !== 'iso' ? dateTime(at).format(how) : at.toISOString();
    }
    case '__range':
    case '__range_s':
      return name === '__range' ? `${seconds}s` : String(seconds);
    case '__range_ms':
      return String(spanMs);
    case '__interval':
      return step && formatMs(step.stepMs);
    case '__interval_ms':
      return step && String(step.stepMs);
    case '__rate_interval':
      return step && formatMs(step.rateIntervalMs);
    case '__rate_interval_ms':
      return step && String(step.rateIntervalMs);
    case '__dashboard':
      return title;
    default:
      return undefined;
  }
}

function fromDashboardUrl(name: string, variables: Variable[], range: TimeRange): string | undefined {
  if (name === '__url_time_range') {
    return urlUtil.toUrlParams({ from: String(range.raw.from), to: String(range.raw.to) });
  }
  if (name === '__all_variables') {
    return urlUtil.toUrlParams(
      Object.fromEntries(variables.map((variable) => [`var-${variable.name}`, variable.chosen]))
    );
  }
  return undefined;
}

export function repeatScope(variable: Variable, value: string): ScopedVars {
  const text = variable.options.find((option) => option.value === value)?.text ?? value;
  return { [variable.name]: { value, text } };
}
